"""`python jobs/describe.py key=value ...`: the describe job with the settings of describe.yaml beside this file."""

import sys
from pathlib import Path

from artquant.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["describe", f"config={Path(__file__).with_suffix('.yaml')}", *sys.argv[1:]]))
