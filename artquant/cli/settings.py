"""From a command's arguments to a spec: `config=FILE` and `key=value` settings."""

from pathlib import Path
from typing import TypeVar

from artquant.config import Section, load_spec, read_document
from artquant.core.errors import UserError

SpecT = TypeVar("SpecT", bound=Section)
CONFIG, OLD_NAME = "config=", "recipe="


def split_config(overrides: list[str]) -> tuple[Path | None, list[str]]:
    """Split the overrides into the file of the last `config=FILE` and the settings.

    Raises UserError if the file is not named, or is given under its old name.
    """
    if old := next((override for override in overrides if override.startswith(OLD_NAME)), None):
        raise UserError(f"{OLD_NAME}FILE is called {CONFIG}FILE now: say {CONFIG}{old.removeprefix(OLD_NAME)}.")
    names = [override.removeprefix(CONFIG) for override in overrides if override.startswith(CONFIG)]
    if "" in names:
        raise UserError(f"{CONFIG} is empty: name a YAML file, or leave it out.")
    return (Path(names[-1]) if names else None), [override for override in overrides if not override.startswith(CONFIG)]


def load_job_spec(kind: type[SpecT], overrides: list[str], otherwise: Path | None = None) -> SpecT:
    """Load the spec of `config=FILE` with the settings over it; of the file `otherwise` if that one is not named or is empty."""
    path, settings = split_config(overrides)
    if path is None or (otherwise and not read_document(path)):
        path = otherwise
    return load_spec(kind, path, settings)
