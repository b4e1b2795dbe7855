"""Settings of a data set of human ratings."""

from typing import Literal

from pydantic import Field

from artquant.config.section import Section


class AnnotationSpec(Section):
    """A data set of human ratings: where it is, and what its scores mean."""

    uri: str | None = Field(None, description="a file, or a folder or prefix of files: Parquet, CSV, JSON lines; none: the sample's")
    images: str | None = Field(None, description="where the pictures are: artwork ids are keys below it; none: the sample's")
    layout: Literal["table", "conversations", "apdd", "baid", "vaps"] = Field(
        "table", description="what the files look like; table: one row an artwork or a rating, columns by their names"
    )
    scale_low: float = Field(0.0, description="the lowest score that a rater may give")
    scale_high: float = Field(10.0, description="the highest")
    level_values: tuple[float, ...] = Field((10.0, 7.5, 5.0, 3.5, 1.0), description="values of excellent, good, fair, poor, bad")
    max_rejected_fraction: float = Field(0.05, ge=0, le=1, description="more refused rows than this end the job")
    split_seed: int = Field(0, description="another number draws other splits")
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="share of the artworks that choose the best step")
    test_fraction: float = Field(0.1, ge=0, lt=1, description="share of the artworks that are held out to measure the model")


class ResolvedAnnotationSpec(AnnotationSpec):
    """With whole addresses."""

    uri: str
    images: str
