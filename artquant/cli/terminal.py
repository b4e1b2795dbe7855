"""Lines on the terminal."""

import sys


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
