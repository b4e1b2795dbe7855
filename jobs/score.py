"""`python jobs/score.py key=value ...`: the score job with the settings of score.yaml beside this file."""

import sys
from pathlib import Path

from artquant.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["score", f"config={Path(__file__).with_suffix('.yaml')}", *sys.argv[1:]]))
