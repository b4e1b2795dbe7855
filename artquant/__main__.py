"""`python -m artquant`: the command `artquant`, where its script is not on the path."""

from artquant.cli.main import command

if __name__ == "__main__":
    command()
