"""Settings of a data set of human ratings."""

from typing import Literal

from pydantic import Field

from artquant.config.section import Section


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
