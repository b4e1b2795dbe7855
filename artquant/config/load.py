"""From YAML and `key=value` overrides to a spec; what does not fit is refused with a sentence."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from artquant.config.section import Section
from artquant.config.values import is_odd_number
from artquant.core.errors import UserError

SpecT = TypeVar("SpecT", bound=Section)

_TAKES = {  # pydantic's kind of error -> what a person reads
    "int_parsing": "it takes a whole number",
    "int_type": "it takes a whole number",
    "int_from_float": "it takes a whole number",
    "float_parsing": "it takes a number",
    "float_type": "it takes a number",
    "finite_number": "it takes a finite number",
    "bool_parsing": "it takes true or false",
    "bool_type": "it takes true or false",
    "date_parsing": "it takes a date, as in 2026-11-21",
    "date_from_datetime_parsing": "it takes a date, as in 2026-11-21",
    "date_type": "it takes a date, as in 2026-11-21",
    "tuple_type": "it takes a list, as in [a,b]",
    "string_type": "it takes text",
    "dict_type": "it takes a mapping, as in {{score: MOS}}",
    "greater_than_equal": "it takes {ge} or more",
    "less_than_equal": "it takes {le} or less",
    "greater_than": "it takes more than {gt}",
    "less_than": "it takes less than {lt}",
    "literal_error": "it takes {expected}",
    "model_type": "it holds settings of its own, as in {name}.{first}=...",
}


class Setting(NamedTuple):
    """One setting of a job: `key` as it is typed, `engine.batch_size`."""

    key: str
    field: FieldInfo
    default: Any


def settings_of(kind: type[Section], prefix: str = "", default: Any = None) -> Iterator[Setting]:
    """List every setting of a spec, in order, with the spec's default."""
    default = default or kind.model_construct()
    for name, field in kind.model_fields.items():
        value = None if field.default_factory else getattr(default, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from settings_of(field.annotation, f"{prefix}{name}.", value)
        else:
            yield Setting(prefix + name, field, value)


def load_spec(kind: type[SpecT], path: str | Path | None, overrides: list[str]) -> SpecT:
    """Load the spec in a YAML file with `key=value` overrides (`engine.batch_size=8`); the last override of a key wins.

    Raises UserError naming the key and what it takes.
    """
    document = read_document(path) if path is not None else {}
    for override in overrides:
        _apply(kind, document, override)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(kind, error)) from error


def read_document(path: str | Path) -> dict[str, Any]:
    """Read the mapping in a YAML file; {} if there are only comments. Raises UserError."""
    try:
        document = yaml.safe_load(Path(path).read_text()) or {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"Cannot read the configuration {path}: {' '.join(str(error).split())}.") from error
    if not isinstance(document, dict):
        raise UserError(f"The configuration {path} must be a mapping of keys to values.")
    return document


def _apply(kind: type[Section], document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"{override!r} is no setting: write it as key=value, as in engine.batch_size=8.")
    *parents, last = key.split(".")
    mapping = document
    for parent in parents:
        mapping = mapping.setdefault(parent, {})
        if not isinstance(mapping, dict):
            raise UserError(f"{parent!r} in {key!r} holds a value, not keys.")
    section = _section(kind, ".".join(parents))
    field = section.model_fields.get(last) if section else None
    if field is None:
        raise UserError(_unknown(kind, key))
    if not text.strip():
        raise UserError(f"{key}= is empty: give it a value, or leave it out (a variable that is not set looks like this).")
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section) and "name" in field.annotation.model_fields:
        mapping, last = mapping.setdefault(last, {}), "name"  # engine=vllm
    if field.annotation in (str, str | None, str | tuple[str, ...] | None) and text != "null":
        mapping[last] = text  # run_id=20261121 is a name, not a number
        return
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if is_odd_number(value, text):
        raise UserError(f"{key} cannot be {text!r}: write a number in decimals, without zeros in front.")
    mapping[last] = value


def _sentence(kind: type[Section], error: ValidationError) -> str:
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    while len(loc) > 1 and loc[-1].isdigit():  # an element of a list: the list is what a person typed
        loc.pop()
    key = ".".join(loc)
    if first["type"] == "extra_forbidden":
        return _unknown(kind, key)
    section, name = _section(kind, key.rpartition(".")[0]), loc[-1]
    field = section.model_fields.get(name) if section else None
    context = {name: f"{value:g}" if isinstance(value, float) else value for name, value in first.get("ctx", {}).items()}
    if first["type"] == "model_type":
        context |= {"name": key, "first": next(iter((_section(kind, key) or kind).model_fields))}
    takes_what = _TAKES.get(first["type"])
    what = takes_what.format(**context) if takes_what else first["msg"].removeprefix("Value error, ")
    about = field.description if field else None
    return f"{key} cannot be {str(first['input'])[:100]!r}: {what[0].lower() + what[1:]}{f' ({about})' if about else ''}."


_RENAMED = {
    "max_failed_fraction": "max_rejected_fraction",
    "fit.accumulate": "fit.gradient_accumulation_steps",
    "fit.warm_up": "fit.warmup_ratio",
    "fit.checkpoint_every": "fit.checkpoint_interval",
    "sight": "vision_warmup",
    "sight.steps": "vision_warmup.steps",
    "sight.columns": "vision_warmup.columns",
}


def _unknown(kind: type[Section], key: str) -> str:
    """Suggest the settings that were most likely meant: a new name, one of the same name in another section, or a similar spelling."""
    keys = [setting.key for setting in settings_of(kind)]
    if (new := _RENAMED.get(key)) in {*keys, *kind.model_fields}:
        return f"{key} is called {new} now: rename it."
    parent, _, last = key.rpartition(".")
    section = _section(kind, parent)
    meant = [other for other in keys if other.rpartition(".")[2] == last]
    meant = meant or get_close_matches(key, [*keys, *kind.model_fields], n=1, cutoff=0.75)
    if section and not meant:
        meant = [f"{parent}.{other}".lstrip(".") for other in get_close_matches(last, section.model_fields, n=1, cutoff=0.6)]
    if meant:
        return f"There is no setting {key!r}: did you mean {' or '.join(meant[:3])}?"
    where = f" in {parent}" if section and parent else ""
    return f"There is no setting {key!r}: the settings{where} are {', '.join((section or kind).model_fields)}."


def _section(kind: type[Section], path: str) -> type[Section] | None:
    """Return the section that `engine.vllm` names, or None if there is no such section."""
    for part in filter(None, path.split(".")):
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return None
        kind = annotation
    return kind


def takes(field: FieldInfo) -> str:
    """Describe briefly what a setting takes: `auto|cpu|cuda`, `whole number`, `text`."""
    annotation = field.annotation
    choices = [choice for choice in get_args(annotation) if isinstance(choice, str)]
    if choices:
        return "|".join(choices)
    names = {"int": "whole number", "float": "number", "bool": "true|false", "str": "text", "date": "date"}
    kinds = [part for part in (annotation, *get_args(annotation)) if isinstance(part, type) and part.__name__ in names]
    if "dict" in str(annotation):
        return "mapping"
    if "tuple" in str(annotation):
        return "text or list" if str in get_args(annotation) else "list"
    return names[kinds[0].__name__]


def spec_yaml(spec: Section) -> str:
    import yaml

    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
