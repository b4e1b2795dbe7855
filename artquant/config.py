"""What a job takes: one pydantic model a job, from its YAML and `key=value` overrides; what does not fit is refused with a sentence."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from artquant.errors import UserError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class FetchSpec(Section):
    """Workers that read objects and decode pictures."""

    num_workers: int = Field(0, ge=0, description="processes that fetch and decode; 0: by the cluster's CPUs")
    threads: int = Field(16, ge=1, le=256, description="objects in flight in each worker")
    attempts: int = Field(4, ge=1, le=20, description="tries for an object while the trouble is transient")
    timeout_seconds: float = Field(30.0, gt=0, description="of one attempt")
    max_pixels: int = Field(200_000_000, ge=1, description="a picture with more is rejected before it is decoded")
    full_decode: bool = Field(False, description="decode JPEGs at full size: slower, exactly the published preprocessing")


class EngineSpec(Section):
    """Workers that score."""

    name: Literal["torch"] = "torch"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    num_workers: int = Field(1, ge=1, description="engines, one process and one device each")
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(0.5, gt=0, description="CPUs that the scheduler sets aside for each worker")
    batch_size: int = Field(32, ge=1, description="images in one call of the engine")
    critique: bool = Field(True, description="write the three texts too")


class ReviewSpec(Section):
    """When a score asks for a person's eye (`needs_review`)."""

    min_open_set_mass: float = Field(0.5, ge=0, le=1, description="below it the model did not want to answer with a level")
    max_score_std: float = Field(2.5, gt=0, description="above it the model hesitates between far levels")


class ScoreSpec(Section):
    """`make submit JOB=score`: a collection in, partitioned Parquet out."""

    input: str | None = Field(None, description="where the pictures are: s3://bucket/prefix or a folder; none: the sample collection")
    output: str | None = Field(None, description="where the results go: s3://bucket/prefix or a folder; none: the embedded store")
    model: str | None = Field(None, description="a checkpoint: s3://bucket/prefix, a folder or a hub name; none: artquant-tiny")
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    exclude: tuple[str, ...] = Field((), description="patterns of keys that are no artworks, as in *.tsv")
    limit: int | None = Field(None, ge=1, description="score the first so many artworks only")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    run_date: date = Field(default_factory=lambda: datetime.now(UTC).date(), description="the partition of the rows")
    max_failed_fraction: float = Field(0.5, ge=0, le=1, description="more rejects than this fail the run")
    rows_per_file: int = Field(200_000, ge=1, description="rows that a Parquet file holds, about")
    fetch: FetchSpec = FetchSpec()
    engine: EngineSpec = EngineSpec()
    review: ReviewSpec = ReviewSpec()

    @field_validator("exclude", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            raise ValueError("takes letters, digits, dots, dashes and underscores")
        return value


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
