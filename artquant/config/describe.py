"""Settings of the describe job."""

from datetime import UTC, date, datetime
from typing import Literal

from pydantic import Field, field_validator

from artquant.config.annotations import AnnotationSpec, ResolvedAnnotationSpec
from artquant.config.score import FetchSpec, StallMinutes
from artquant.config.section import Section, checked_name
from artquant.config.watch import HookSpec
from artquant.core.schema import RejectClass


class PlayerSpec(Section):
    """A model that generates or judges."""

    engine: Literal["auto", "torch", "vllm", "openai"] = Field(
        "auto", description="openai: any OpenAI-compatible endpoint; auto: that where base_url is set, else torch"
    )
    model: str | None = Field(None, description="a checkpoint, or the endpoint's name for it; none: artquant-tiny")
    base_url: str | None = Field(None, description="of the endpoint, as in https://api.openai.com/v1")
    environment_variable: str = Field("OPENAI_API_KEY", description="the environment variable that holds the endpoint's key")
    family: str | None = Field(None, description="by whom the model is trained, where its name does not say so")
    max_tokens: int = Field(600, ge=8, description="that an answer may have")
    temperature: float = Field(0.0, ge=0, le=2, description="of the first round; later ones have 0.5 at the least")
    concurrency: int = Field(8, ge=1, le=512, description="requests to the endpoint at a time, of each worker")
    attempts: int = Field(5, ge=1, le=20, description="tries for a request to the endpoint, while the trouble is of a kind that passes")
    timeout_seconds: float = Field(120.0, gt=0, description="of one attempt")
    requests_per_minute: float | None = Field(None, gt=0, description="to the endpoint, of all workers together")
    tokens_per_minute: float | None = Field(None, gt=0, description="to and from the endpoint, of all workers together")
    input_price: float = Field(0.0, ge=0, description="of a million tokens to the model")
    output_price: float = Field(0.0, ge=0, description="of a million tokens from the model")
    picture_tokens: int = Field(2000, ge=0, description="that a picture takes at the most, reserved before each request")


class ExamSpec(Section):
    """What a judge must know before it may judge."""

    size: int = Field(24, ge=4, description="artworks of the exam; each is asked eight times, and once only for each judge")
    false_accepts: float = Field(0.1, ge=0, lt=1, description="the share of wrong descriptions that may be accepted; it sets the threshold")
    false_refusals: float = Field(0.3, ge=0, lt=1, description="the share of right descriptions that may then be refused")


class DescribeWorkers(Section):
    """Processes that generate and judge."""

    num_workers: int = Field(1, ge=1, description="processes, each with both models")
    num_gpus: float = Field(0, ge=0, description="GPUs of each worker")
    num_cpus: float = Field(0.5, gt=0, description="CPUs that the scheduler sets aside for each worker")
    shard_rows: int = Field(32, ge=1, description="artworks that a worker has in hand at a time: what a kill loses at the most")
    wave_rows: int = Field(4096, ge=1, description="artworks of any round that are planned together")


class DescribeSpec(Section):
    """`make submit JOB=describe`: scored artworks in, judged descriptions out."""

    annotations: AnnotationSpec = AnnotationSpec()
    scores: str | None = Field(None, description="instead of annotations: the output of a score job, whose scores are taken for people's")
    output: str | None = Field(None, description="where the descriptions go: s3://bucket/prefix or a folder; none: the embedded store")
    sample_size: int = Field(200, ge=10, description="generated paintings, where no collection is given")
    generator: PlayerSpec = PlayerSpec()
    judge: PlayerSpec = PlayerSpec(max_tokens=120)
    exam: ExamSpec = ExamSpec()
    workers: DescribeWorkers = DescribeWorkers()
    templates: str | None = Field(None, description="a folder with levels.txt, generator.txt and judge.txt; none: those of the code")
    language: str = Field("English", description="of the texts")
    statistics: bool = Field(True, description="tell what a score means in this collection, where the templates have a place for it")
    max_rounds: int = Field(3, ge=1, le=10, description="descriptions that the judge may see of an artwork before it is set aside")
    stop_without_gain: bool = Field(True, description="make no further round after one whose texts tell a reader no more of the score")
    claims: int = Field(40, ge=0, description="kept descriptions whose sentences the judge is asked one by one, for the page; 0: none")
    budget_tokens: int | None = Field(None, ge=1, description="that this output's descriptions may take in all; none: no limit")
    budget_money: float | None = Field(None, ge=0, description="that they may cost in all, in the prices' currency; none: no limit")
    allow_external: bool = Field(False, description="pictures and comments may go to an endpoint outside this machine")
    picture_size: int = Field(512, ge=28, le=4096, description="pixels a side of a picture for an endpoint or vLLM, without metadata")
    max_duplicates: float = Field(0.2, gt=0, le=1, description="a larger share of nearly equal descriptions holds the run")
    limit: int | None = Field(None, ge=1, description="describe the first so many artworks that are due only")
    retry: tuple[RejectClass, ...] = Field((), description="classes of what was set aside to try again")
    force: bool = Field(False, description="describe again what is described")
    accept_rolled_back: bool = Field(False, description="describe though these models' first run was taken back")
    run_id: str = Field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ"), description="the run's name")
    run_date: date = Field(default_factory=lambda: datetime.now(UTC).date(), description="the partition of the rows")
    rows_per_file: int = Field(200_000, ge=1, description="rows that a Parquet file holds, about")
    stale_seconds: float = Field(60.0, gt=0, description="a run on another host that showed no sign of life for so long is taken over")
    stall_minutes: float = StallMinutes
    watch: HookSpec = HookSpec()
    fetch: FetchSpec = FetchSpec()

    @field_validator("run_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        return checked_name(value)


class ResolvedDescribeSpec(DescribeSpec):
    """With whole addresses: either the annotations are named, or the scores."""

    annotations: ResolvedAnnotationSpec | AnnotationSpec = AnnotationSpec()
    output: str
