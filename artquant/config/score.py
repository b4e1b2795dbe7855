"""Settings of the score job, and of the workers that other jobs share with it."""

from datetime import UTC, date, datetime
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from artquant.config.section import Section, checked_name
from artquant.config.values import Addresses, Columns, Patterns
from artquant.config.watch import LogFormat, WatchSpec
from artquant.core.moments import moment
from artquant.core.schema import RejectClass

StallMinutes: Any = Field(
    15.0,
    gt=0,
    description="a worker that is at one batch, one picture or its start for longer is ended, and what it held is tried again",
)


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
    max_requests_per_second: float | None = Field(
        None, gt=0, description="S3 requests of all processes of the run together; none: as many as the store takes without complaint"
    )
    decode_memory_mb: int = Field(4096, ge=1, description="memory that the pictures of a worker may take together while they are decoded")
    max_pixels: int = Field(200_000_000, ge=1, description="a picture with more is rejected before it is decoded")
    full_decode: bool = Field(False, description="decode JPEGs at full size: slower, exactly the published preprocessing")


class VllmSpec(Section):
    """The vLLM engine. The defaults are for collections in which each image is seen once."""

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
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where num_gpus is set, else cpu")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: bfloat16 on a GPU, float32 on a CPU")
    num_workers: int = Field(1, ge=1, description="engines, one process and one device each; on a cluster the most that there will be")
    min_workers: int = Field(1, ge=1, description="engines that a cluster must have room for before the run starts")
    node_minutes: float = Field(15.0, ge=0, description="how long a cluster may take to bring the nodes for them")
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(0.5, gt=0, description="CPUs that the scheduler sets aside for each worker")
    batch_size: int | None = Field(None, ge=1, description="images in one call of the engine; none: 32 for torch, 128 for vLLM")
    critique: bool = Field(True, description="write the three texts too")
    vllm: VllmSpec = VllmSpec()

    @field_validator("min_workers")
    @classmethod
    def _is_in_range(cls, value: int, info: ValidationInfo) -> int:
        if value > (most := info.data.get("num_workers", value)):
            raise ValueError(f"engine.num_workers={most} is the most that there will be")
        return value


class MeasuredEngineSpec(EngineSpec):
    """Workers that score what is to be compared with people's ratings."""

    critique: bool = Field(False, description="write the three texts too")


class ReviewSpec(Section):
    """When a score asks for a person's eye (`needs_review`)."""

    min_open_set_mass: float = Field(0.5, ge=0, le=1, description="below it the model did not want to answer with a level")
    max_score_std: float = Field(2.5, gt=0, description="above it the model hesitates between far levels")
    max_domain_distance: float = Field(
        1.0, gt=0, description="above it the picture is of another kind than those that the model learnt from"
    )


class GateSpec(Section):
    """When a finished run is held for a person to look at: an effect beyond these and beyond chance, against the model's last run."""

    enabled: bool = Field(True, description="hold such a run; false: report only")
    min_count: int = Field(200, ge=2, description="with fewer artworks on a side, a difference is reported only")
    max_psi: float = Field(0.25, gt=0, description="population stability index of the scores")
    max_level_shift: float = Field(0.1, gt=0, le=1, description="by how much the share of a level may move")
    max_mass_shift: float = Field(0.1, gt=0, le=1, description="by how much the mean open-set mass may move")
    max_reject_rise: float = Field(0.1, gt=0, le=1, description="by how much the rejected share may rise")
    max_gone_fraction: float = Field(
        0.3, gt=0, le=1, description="the share of the collection's artworks that may be gone since the last run"
    )


class ScoreSpec(Section):
    """`make submit JOB=score`: a collection in, partitioned Parquet out."""

    input: Addresses = Field(
        None, description="where the pictures are: s3://bucket/prefix or a folder, or a list of them; none: the sample collection"
    )
    manifest: str | None = Field(None, description="instead: a Parquet, CSV or JSON-lines file with an id and a URI a row, etag and size")
    inventory: str | None = Field(None, description="instead: the manifest.json of an S3 Inventory")
    output: str | None = Field(None, description="where the results go: s3://bucket/prefix or a folder; none: the embedded store")
    model: str | None = Field(
        None,
        description="a checkpoint: s3://bucket/prefix, a folder, a hub name, `current`, or `tiny`: the demonstration model",
    )
    base: str | None = Field(None, description="the base checkpoint where `model` is an adapter that names none")
    registry: str | None = Field(None, description="where model=current is looked up: s3://bucket/models; none: <output>/models")
    carry: Columns = Field((), description="further columns of the manifest that travel to the scores, as in title,artist")
    exclude: Patterns = Field((), description="patterns of keys that are no artworks, as in *.tsv")
    limit: int | None = Field(None, ge=1, description="score the first so many artworks that are due only")
    retry: tuple[RejectClass, ...] = Field((), description="reject classes to try again though only another object would change them")
    force: bool = Field(False, description="score again what is scored, or rejected for good, and put the new rows in place of the old")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    run_date: date = Field(default_factory=lambda: datetime.now(UTC).date(), description="the partition of the rows")
    max_rejected_fraction: float = Field(0.5, ge=0, le=1, description="more rejects than this fail the run")
    min_rejected: int = Field(10, ge=1, description="fewer rejects than this fail no run: a night of three artworks is no sample")
    rows_per_file: int = Field(200_000, ge=1, description="rows that a Parquet file holds, about")
    stall_minutes: float = StallMinutes
    accept_rolled_back: bool = Field(False, description="score though the model's first run was taken back")
    price_per_hour: float | None = Field(None, ge=0, description="what an hour of the machines costs, for artquant plan and max_cost")
    deadline: str | None = Field(
        None,
        description="when it is to be published, as 06:00, 06:00 Europe/Berlin or 2026-11-28T06:00: scores first, then texts",
    )
    max_cost: float | None = Field(None, gt=0, description="what the run may cost at price_per_hour; as a deadline when that is spent")
    single_writer: bool = Field(
        False, description="use a store without create-if-absent: right only while one command at a time writes to the output"
    )
    stale_seconds: float = Field(60.0, gt=0, description="a run on another host that showed no sign of life for so long is taken over")
    fetch: FetchSpec = FetchSpec()
    engine: EngineSpec = EngineSpec()
    review: ReviewSpec = ReviewSpec()
    gates: GateSpec = GateSpec()
    log_format: LogFormat = Field("text", description="json: each line that the run says is a JSON object with the run's id")
    watch: WatchSpec = WatchSpec()

    @field_validator("deadline", "max_cost")
    @classmethod
    def _can_end(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None:
            return None
        if info.data.get("force"):
            raise ValueError("force=true would score again piece after piece: leave one of the two out")
        if info.field_name == "max_cost" and not info.data.get("price_per_hour"):
            raise ValueError("it needs price_per_hour, what an hour of the machines costs")
        if info.field_name == "deadline":
            moment(value, datetime.now(UTC))
        return value

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.input,) if isinstance(self.input, str) else self.input or ()

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return checked_name(value)


class ResolvedScoreSpec(ScoreSpec):
    """With whole addresses: a worker may stand in another folder. One of input, manifest and inventory is there."""

    output: str

    @property
    def collection(self) -> tuple[Literal["input", "manifest", "inventory"], tuple[str, ...]]:
        """Which of the three it is, and its addresses: there may be several inputs."""
        if self.manifest:
            return "manifest", (self.manifest,)
        return ("inventory", (self.inventory,)) if self.inventory else ("input", self.inputs)
