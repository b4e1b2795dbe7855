"""What a job takes: one pydantic model a job, from its YAML and `key=value` overrides; what does not fit is refused with a sentence."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from artquant.config_values import Patterns, is_odd_number, meant
from artquant.errors import UserError


def checked_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("takes letters, digits, dots, dashes and underscores")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _is_meant(cls, value: Any, info: ValidationInfo) -> Any:
        return meant(value, cls.model_fields[info.field_name or ""].annotation)


class FetchSpec(Section):
    """Workers that read objects and decode pictures."""

    num_workers: int | None = Field(
        None, ge=0, description="processes that fetch and decode; 0: the engines' own; none: 0 without GPUs, else one for every two CPUs"
    )
    threads: int = Field(16, ge=1, le=256, description="objects in flight in each worker")
    decode_threads: int = Field(2, ge=1, le=64, description="pictures that each worker decodes at a time")
    attempts: int = Field(4, ge=1, le=20, description="tries for an object at the least, while the trouble is of a kind that passes")
    patience_seconds: float = Field(120.0, ge=0, description="how long such trouble is waited for, per object; 0: by attempts alone")
    timeout_seconds: float = Field(30.0, gt=0, description="of one attempt")
    max_pixels: int = Field(200_000_000, ge=1, description="a picture with more is rejected before it is decoded")
    full_decode: bool = Field(False, description="decode JPEGs at full size: slower, exactly the published preprocessing")


class VllmSpec(Section):
    """The vLLM engine. The defaults are for collections of which each image is seen once."""

    max_num_seqs: int = Field(
        256, ge=1, description="requests that are computed at a time; an artwork is one, and three more for its critique"
    )
    max_num_batched_tokens: int = Field(8192, ge=128, description="tokens of one step; an image is 65 of them at full size")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of the GPU's memory for weights and keys and values")
    kv_cache_gb: int = Field(1, ge=1, description="memory for keys and values on a CPU, GiB")
    mm_processor_cache_gb: float = Field(
        0.0, ge=0, description="prepared images that are kept for later requests, GiB; nobody asks for one again"
    )
    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share one model")
    quantization: str | None = Field(None, description="as vLLM names it, as in fp8; none: as the checkpoint says")
    enforce_eager: bool = Field(False, description="no CUDA graphs; always so on a CPU")


class EngineSpec(Section):
    """Workers that score."""

    name: Literal["auto", "torch", "vllm"] = Field("auto", description="auto: vLLM where it is installed and there is a GPU, else torch")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    num_workers: int = Field(1, ge=1, description="engines, one process and one device each")
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(0.5, gt=0, description="CPUs that the scheduler sets aside for each worker")
    batch_size: int | None = Field(None, ge=1, description="images in one call of the engine; none: 32 for torch, 128 for vLLM")
    critique: bool = Field(True, description="write the three texts too")
    vllm: VllmSpec = VllmSpec()


class ReviewSpec(Section):
    """When a score asks for a person's eye (`needs_review`)."""

    min_open_set_mass: float = Field(0.5, ge=0, le=1, description="below it the model did not want to answer with a level")
    max_score_std: float = Field(2.5, gt=0, description="above it the model hesitates between far levels")


class ScoreSpec(Section):
    """`make submit JOB=score`: a collection in, partitioned Parquet out."""

    input: str | None = Field(None, description="where the pictures are: s3://bucket/prefix or a folder; none: the sample collection")
    output: str | None = Field(None, description="where the results go: s3://bucket/prefix or a folder; none: the embedded store")
    model: str | None = Field(None, description="a checkpoint: s3://bucket/prefix, a folder, a hub name, or `current`; none: artquant-tiny")
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    registry: str | None = Field(None, description="where model=current is looked up: s3://bucket/models; none: <output>/models")
    exclude: Patterns = Field((), description="patterns of keys that are no artworks, as in *.tsv")
    limit: int | None = Field(None, ge=1, description="score the first so many artworks only")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    run_date: date = Field(default_factory=lambda: datetime.now(UTC).date(), description="the partition of the rows")
    max_failed_fraction: float = Field(0.5, ge=0, le=1, description="more rejects than this fail the run")
    rows_per_file: int = Field(200_000, ge=1, description="rows that a Parquet file holds, about")
    fetch: FetchSpec = FetchSpec()
    engine: EngineSpec = EngineSpec()
    review: ReviewSpec = ReviewSpec()

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return checked_name(value)


class AnnotationSpec(Section):
    """A data set of human ratings: where it is, and what its scores mean."""

    uri: str | None = Field(None, description="a file, or a folder or prefix of files: Parquet, CSV, JSON lines; none: the sample's")
    images: str | None = Field(None, description="where the pictures are: artwork ids are keys below it")
    layout: Literal["table", "conversations", "apdd", "baid", "vaps"] = "table"
    scale_low: float = Field(0.0, description="the lowest score that a rater may give")
    scale_high: float = Field(10.0, description="the highest")
    level_values: tuple[float, ...] = Field((10.0, 7.5, 5.0, 3.5, 1.0), description="values of excellent, good, fair, poor, bad")
    max_rejected_fraction: float = Field(0.05, ge=0, le=1, description="more refused rows than this end the job")
    split_seed: int = 0
    validation_fraction: float = Field(0.1, ge=0, lt=1)
    test_fraction: float = Field(0.1, ge=0, lt=1)


class LossSpec(Section):
    """What training minimises: the weighted sum of the tasks' losses."""

    description: float = Field(1.0, ge=0, description="weight of the descriptions' cross-entropy")
    score: float = Field(0.05, ge=0, description="weight of the score task: cross-entropy of the answer and divergence of the levels")
    parts: tuple[Literal["perception", "cognition", "emotion"], ...] = Field(
        ("perception", "cognition", "emotion"), description="which texts are learnt; () for scores alone"
    )
    sigma: float = Field(1.0, gt=0, description="spread of the soft labels where the raters' own is not known")


class LoraSpec(Section):
    """The published recipe; rank 0 trains all parameters."""

    rank: int = Field(0, ge=0, description="0: all parameters; the published recipe: 128")
    alpha: int = Field(256, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)


class SightSpec(Section):
    """First school of a network that starts from nothing: its visual parts learn the annotations' other columns before it speaks."""

    steps: int = Field(0, ge=0, description="steps of sight before the others; 0: none")
    columns: tuple[str, ...] = Field((), description="columns to learn, numbers or names")


class FitSpec(Section):
    """The training loop."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; none: by epochs")
    epochs: float = Field(3.0, gt=0)
    batch_size: int = Field(4, ge=1, description="artworks in one forward pass of a worker")
    accumulate: int = Field(4, ge=1, description="forward passes in one optimizer step")
    learning_rate: float = Field(2e-5, gt=0)
    warm_up: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(0.0, ge=0)
    beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of the products (autocast); auto: bfloat16 on a GPU")
    gradient_checkpointing: bool = False
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp: parameters and optimizer are spread over the workers")
    checkpoint_every: int = Field(100, ge=1, description="steps between two checkpoints, each with a validation")
    validation_limit: int = Field(256, ge=1, description="artworks that a validation looks at")
    keep_in_memory_mb: int = Field(1024, ge=0, description="decoded pictures of a smaller collection are kept by each worker")
    num_workers: int = Field(1, ge=1)
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(1, gt=0, description="CPUs that the scheduler sets aside for each worker")
    max_failures: int = Field(3, ge=0, description="workers' deaths that a run survives")
    seed: int = 0


class TrainSpec(Section):
    """`make submit JOB=train`: annotations in, a model in the registry out."""

    annotations: AnnotationSpec = AnnotationSpec()
    output: str | None = Field(None, description="where runs and their checkpoints go; none: the embedded store")
    registry: str | None = Field(None, description="where models are published: s3://bucket/models; none: <output>/models")
    model: str | None = Field(None, description="what to go on from: a checkpoint or `current`; none: a small network from nothing")
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    run_id: str | None = Field(None, description="the run's name; none: made from what is trained on, so that the same command resumes")
    promote: Literal["better", "always", "never"] = Field("better", description="when the new model becomes current")
    sample_size: int = Field(3000, ge=100, le=1_000_000, description="generated paintings, where no annotations are given")
    margin: float = Field(0.0, description="promoted when the paired interval of the SRCC's difference lies above this")
    loss: LossSpec = LossSpec()
    lora: LoraSpec = LoraSpec()
    sight: SightSpec = SightSpec()
    fit: FitSpec = FitSpec()
    fetch: FetchSpec = FetchSpec()

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        return value if value is None else checked_name(value)


class EvaluateSpec(Section):
    """`make submit JOB=evaluate`: annotations and a model in, how well it agrees with people out."""

    annotations: AnnotationSpec = AnnotationSpec()
    split: Literal["test", "validation", "train", "all"] = Field("test", description="which of the annotated artworks")
    output: str | None = Field(None, description="where evaluations/<run_id>/ goes; none: the embedded store")
    model: str | None = Field(None, description="a checkpoint or `current`; none: the registry's current one, else artquant-tiny")
    registry: str | None = Field(None, description="where models are published: s3://bucket/models; none: <output>/models")
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    limit: int | None = Field(None, ge=1, description="so many artworks of the split, drawn by their content")
    sample_size: int = Field(3000, ge=1, description="paintings of the sample annotations, where none are given")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    subgroups: tuple[str, ...] | None = Field(None, description="columns to look at apart; none: all texts of at most twelve values")
    theory: bool = Field(True, description="estimate H(Y|Z), H(Y|D) and H(D|Z) where the split has the three texts")
    theory_limit: int = Field(200, ge=1, description="artworks that this looks at, at most")
    bootstrap_rounds: int = Field(1000, ge=1, le=100_000, description="resamples behind each interval")
    num_misses: int = Field(12, ge=0, le=100, description="worst misses that the page shows")
    max_failed_fraction: float = Field(0.5, ge=0, le=1, description="more rejects than this fail the run")
    fetch: FetchSpec = FetchSpec()
    engine: EngineSpec = EngineSpec(critique=False)

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return checked_name(value)

    @field_validator("subgroups", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


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
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if is_odd_number(value, text):
        raise UserError(f"{key} cannot be {text!r}: write a number in decimals, without zeros in front.")
    place[last] = value


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
