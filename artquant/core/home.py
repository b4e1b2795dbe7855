"""The folder in which a job without configuration keeps its files."""

import os
from pathlib import Path


def home() -> Path:
    """Return ARTQUANT_HOME, read at each call; else `.artquant` below the current folder."""
    return Path(os.environ.get("ARTQUANT_HOME", ".artquant"))
