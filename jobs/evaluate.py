"""`python jobs/evaluate.py key=value ...`: the evaluate job with the settings of evaluate.yaml beside this file."""

import sys
from pathlib import Path

from artquant.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", f"config={Path(__file__).with_suffix('.yaml')}", *sys.argv[1:]]))
