"""Settings of the evaluate job."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import Field, field_validator

from artquant.config.annotations import AnnotationSpec, ResolvedAnnotationSpec
from artquant.config.score import FetchSpec, MeasuredEngineSpec, StallMinutes
from artquant.config.section import Section, checked_name
from artquant.config.watch import HookSpec


class EvaluateSpec(Section):
    """`make submit JOB=evaluate`: annotations and a model in, how well it agrees with people out."""

    annotations: AnnotationSpec = AnnotationSpec()
    split: Literal["test", "validation", "train", "all"] = Field("test", description="which of the annotated artworks")
    output: str | None = Field(None, description="where evaluations/<run_id>/ goes; none: the embedded store")
    model: str | None = Field(None, description="a checkpoint, `current` or `tiny`; none: the registry's current one, else artquant-tiny")
    registry: str | None = Field(None, description="where models are published: s3://bucket/models; none: <output>/models")
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    limit: int | None = Field(None, ge=1, description="so many artworks of the split, drawn by their content")
    sample_size: int = Field(3000, ge=1, description="paintings of the sample annotations, where none are given")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    subgroups: tuple[str, ...] | None = Field(None, description="columns to look at apart; none: all texts of at most twelve values")
    theory: bool = Field(True, description="measure what pictures and texts tell, where the split has the three texts")
    theory_limit: int = Field(200, ge=10, description="artworks that this looks at, at most")
    bootstrap_rounds: int = Field(1000, ge=1, le=100_000, description="resamples behind each interval")
    stall_minutes: float = StallMinutes
    watch: HookSpec = HookSpec()
    num_misses: int = Field(12, ge=0, le=100, description="worst misses that the page shows")
    max_rejected_fraction: float = Field(0.5, ge=0, le=1, description="more rejects than this fail the run")
    fetch: FetchSpec = FetchSpec()
    engine: MeasuredEngineSpec = MeasuredEngineSpec()

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return checked_name(value)

    @field_validator("subgroups", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class ResolvedEvaluateSpec(EvaluateSpec):
    """With whole addresses, and the model that is meant."""

    annotations: ResolvedAnnotationSpec
    output: str
    registry: str
