"""`python -m artquant`: the command `artquant`, where its script is not on the path."""

import sys

from artquant.cli.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
