"""The versions that results rest on, and whether a machine has them."""

import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

HELD = ("ray", "torch", "transformers")  # another version of these may give other scores, or no run at all
LOCK = Path(__file__).resolve().parents[2] / "constraints.txt"  # beside the package in a checkout, and in what is sent to a cluster


def locked(text: str) -> dict[str, str]:
    """Read the versions of `HELD` from lines such as `torch==2.13.0`."""
    pins = re.findall(r"^([\w.-]+)==([\w.+!]+)", text, re.MULTILINE)
    return {name: version.partition("+")[0] for name, version in pins if name in HELD}


def versions_here() -> dict[str, str]:
    """Return this process's Python, as in `3.11`, and its versions of `HELD` without what a build adds (`+cpu`); '' for what is missing."""
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in HELD:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def lock_here() -> dict[str, str]:
    """Return the versions that every machine of a run must have: this process's, and the lock's where there is one."""
    return versions_here() | (locked(LOCK.read_text()) if LOCK.exists() else {})


def differences(nodes: Mapping[str, Mapping[str, str]], lock: Mapping[str, str]) -> str | None:
    """Return one sentence on the first node, by name, that differs from the lock, and on how many more do; None where all agree."""
    differing = {
        node: [
            f"{name} {found.get(name) or 'missing'} instead of {version}" for name, version in lock.items() if found.get(name) != version
        ]
        for node, found in sorted(nodes.items())
    }
    differing = {node: what for node, what in differing.items() if what}
    if not differing:
        return None
    first, what = next(iter(differing.items()))
    more = f" ({len(differing) - 1} more differ too)" if len(differing) > 1 else ""
    return (
        f"The node {first} has {', '.join(what)}{more}: build its image from this version's constraints.txt, or submit the version "
        "that the image was built for."
    )
