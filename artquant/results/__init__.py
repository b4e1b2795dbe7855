"""From a collection to published rows, night by night: decisions are plain functions, apart from the file work.

`open_snapshot`, `latest_rows` and `filesystem` are for who reads the rows in Python.
"""

from typing import Any

__all__ = ["filesystem", "latest_rows", "open_snapshot"]


def __getattr__(name: str) -> Any:
    """Import the readers when they are asked for: writing needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from artquant.results import readers

    return getattr(readers, name)
