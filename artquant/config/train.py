"""Settings of the train job."""

from typing import Literal

from pydantic import Field, field_validator

from artquant.config.annotations import AnnotationSpec, ResolvedAnnotationSpec
from artquant.config.score import EngineSpec, FetchSpec, MeasuredEngineSpec, StallMinutes
from artquant.config.section import Section, checked_name
from artquant.config.watch import HookSpec


class LossSpec(Section):
    """What training minimises: the weighted sum of the tasks' losses."""

    description: float = Field(1.0, ge=0, description="weight of the descriptions' cross-entropy")
    score: float = Field(0.05, ge=0, description="weight of the score task: cross-entropy of the answer and divergence of the levels")
    rank: float = Field(0.0, ge=0, description="weight of the fidelity loss between the artworks of a forward pass; 0: none")
    parts: tuple[Literal["perception", "cognition", "emotion", "comment"], ...] | None = Field(
        None, description="which texts are learnt; none: all that there are; [] for scores alone"
    )
    sigma: float = Field(4 / 9, gt=0, description="spread of the soft labels where the raters' own is not known, in gaps between levels")
    soft_labels: Literal["auto", "estimated"] = Field(
        "auto", description="auto: the votes themselves where there are 20 or more; estimated: from score and spread"
    )
    roles: float = Field(
        0.0, ge=0, description="weight of verdicts on descriptions: teaches artquant-tiny the describe job's two parts; 0: neither of them"
    )


class LoraSpec(Section):
    """The published recipe; rank 0 trains all parameters."""

    rank: int = Field(0, ge=0, description="0: all parameters; the published recipe: 128")
    alpha: int = Field(256, gt=0, description="scale of the adapters' update: alpha / rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="of the adapters' input")


class VisionWarmupSpec(Section):
    """Vision warm-up when training from scratch: predict the other annotation columns before language training."""

    steps: int = Field(0, ge=0, description="warm-up steps before the others; 0: none")
    columns: tuple[str, ...] = Field((), description="columns to learn, numbers or names")


class FitSpec(Section):
    """The training loop."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; none: by epochs")
    epochs: float = Field(3.0, gt=0, description="passes over the training artworks, where steps is not set")
    batch_size: int = Field(4, ge=1, description="artworks in one forward pass of a worker")
    gradient_accumulation_steps: int = Field(4, ge=1, description="forward passes in one optimizer step")
    learning_rate: float = Field(2e-5, gt=0, description="at its highest, after the warm-up")
    warmup_ratio: float = Field(0.03, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(0.0, ge=0, description="of AdamW")
    beta2: float = Field(0.999, gt=0, lt=1, description="of AdamW")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are scaled down to this norm")
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="of the products (autocast); auto: bfloat16 on a GPU")
    gradient_checkpointing: bool = Field(False, description="compute activations again in the backward pass: less memory, slower")
    strategy: Literal["ddp", "fsdp"] = Field("ddp", description="fsdp: parameters and optimizer are spread over the workers")
    checkpoint_interval: int = Field(100, ge=1, description="steps between two checkpoints, each with a validation")
    validation_limit: int = Field(256, ge=1, description="artworks that a validation looks at")
    keep_in_memory_mb: int = Field(1024, ge=0, description="decoded pictures of a smaller collection are kept by each worker")
    num_workers: int = Field(1, ge=1, description="training processes, one device each")
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(1, gt=0, description="CPUs that the scheduler sets aside for each worker")
    max_failures: int = Field(3, ge=0, description="workers' deaths that a run survives")
    seed: int = Field(0, description="of weights from nothing and of the order of the artworks")


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
    vision_warmup: VisionWarmupSpec = VisionWarmupSpec()
    fit: FitSpec = FitSpec()
    fetch: FetchSpec = FetchSpec()
    engine: MeasuredEngineSpec = Field(
        MeasuredEngineSpec(), description="workers that score the held-out artworks; num_gpus: as fit.num_gpus"
    )
    stall_minutes: float = StallMinutes
    watch: HookSpec = HookSpec()

    @property
    def judging_engine(self) -> EngineSpec:
        """`engine`; where its GPUs are not said, with as many as a training worker has."""
        return self.engine if "num_gpus" in self.engine.model_fields_set else self.engine.model_copy(update={"num_gpus": self.fit.num_gpus})

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        return value if value is None else checked_name(value)


class PlacedTrainSpec(TrainSpec):
    """With whole addresses."""

    annotations: ResolvedAnnotationSpec
    output: str
    registry: str


class ResolvedTrainSpec(PlacedTrainSpec):
    """With the run's name, which depends on what is trained on."""

    run_id: str
