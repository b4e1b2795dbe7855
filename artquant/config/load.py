"""From YAML and `key=value` overrides to a spec; what does not fit is refused with a sentence."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from artquant.config.section import Section
from artquant.errors import UserError

SpecT = TypeVar("SpecT", bound=Section)


def load_spec(kind: type[SpecT], path: str | Path | None, overrides: list[str]) -> SpecT:
    """The spec in a YAML file with `key=value` overrides (`engine.batch_size=8`). Raises UserError naming the key and what it takes."""
    document: dict[str, Any] = {}
    if path is not None:
        try:
            document = yaml.safe_load(Path(path).read_text()) or {}
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"Cannot read the configuration {path}: {' '.join(str(error).split())}.") from error
        if not isinstance(document, dict):
            raise UserError(f"The configuration {path} must be a mapping of keys to values.")
    for override in overrides:
        _apply(kind, document, override)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(kind, error)) from error


def _apply(kind: type[Section], document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r} is no setting: write it as key=value, as in engine.batch_size=8.")
    *parents, last = key.split(".")
    place = document
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise UserError(f"{parent!r} in {key!r} holds a value, not keys.")
    field = _fields(kind, ".".join(parents)).get(last)
    if (
        field is not None
        and isinstance(field.annotation, type)
        and issubclass(field.annotation, Section)
        and "name" in field.annotation.model_fields
    ):
        place, last = place.setdefault(last, {}), "name"  # engine=vllm
    if field is not None and field.annotation in (str, str | None) and text not in ("", "null"):
        place[last] = text  # run_id=20261121 is a name, not a number
        return
    try:
        place[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        place[last] = text


def _sentence(kind: type[Section], error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    section, _, name = key.rpartition(".")
    known = _fields(kind, section)
    if first["type"] == "extra_forbidden":
        where = f" in {section}" if section else ""
        return f"There is no setting {key!r}: the settings{where} are {', '.join(known)}."
    what = first["msg"].removeprefix("Value error, ")
    about = known[name].description if name in known and known[name].description else None
    return f"{key} cannot be {first['input']!r}: {what[0].lower() + what[1:]}{f' ({about})' if about else ''}."


def _fields(kind: type[Section], section: str):
    for part in filter(None, section.split(".")):
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            break
        kind = annotation
    return kind.model_fields
