"""`python jobs/train.py key=value ...`: the train job with the settings of train.yaml beside this file."""

import sys
from pathlib import Path

from artquant.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", f"config={Path(__file__).with_suffix('.yaml')}", *sys.argv[1:]]))
