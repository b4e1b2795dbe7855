"""Settings of a data set of human ratings."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from artquant.config.section import Section

COLUMNS = (
    *("artwork_id", "score", "sigma", "num_raters", "rater", "ratings", "votes", "split", "group"),
    *("perception", "cognition", "emotion", "comment"),
)
_SCALES = {"koniq": (1, 5), "ava": (1, 10), "spaq": (0, 100), "para": (1, 5), "eva": (0, 10), "aadb": (0, 1), "vaps": (1, 7)}


class AnnotationSpec(Section):
    """A data set of human ratings: where it is, and what its scores mean."""

    uri: str | None = Field(None, description="a file, or a folder or prefix of files: Parquet, CSV, JSON lines; none: the sample's")
    images: str | None = Field(None, description="where the pictures are: artwork ids are keys below it; none: the sample's")
    layout: Literal["table", "conversations", "apdd", "baid", "tad66k", "koniq", "ava", "spaq", "para", "eva", "aadb", "vaps"] = Field(
        "table", description="what the files look like; table: one row an artwork or a rating, columns by their names"
    )
    columns: dict[str, str] = Field({}, description="which of your columns is what: {artwork_id: img, score: Beauty, group: artist}")
    skip_other_files: bool = Field(False, description="leave out files of a folder that are no annotations; each is named")
    scale_low: float = Field(0.0, description="the lowest score that a rater may give")
    scale_high: float = Field(10.0, description="the highest")
    level_values: tuple[float, ...] = Field((10.0, 7.5, 5.0, 3.5, 1.0), description="values of excellent, good, fair, poor, bad")
    max_rejected_fraction: float = Field(0.05, ge=0, le=1, description="more refused rows than this end the job")
    split: Literal["auto", "column", "file", "content"] = Field(
        "auto", description="who is held out: as a column or the files' names say, or drawn by content; auto: theirs where there is one"
    )
    near_copies: bool = Field(True, description="one picture saved twice is one picture: look at all pictures, not only at their bytes")
    split_seed: int = Field(0, description="another number draws other splits")
    validation_fraction: float = Field(0.1, ge=0, lt=1, description="share of the artworks that choose the best step")
    test_fraction: float = Field(0.1, ge=0, lt=1, description="share of the artworks that are held out to measure the model")

    @model_validator(mode="before")
    @classmethod
    def _takes_the_layouts_scale(cls, data: Any) -> Any:
        """Where the scale is not given, take the one on which the layout's scores were published, with levels in even steps on it."""
        if isinstance(data, dict) and (scale := _SCALES.get(str(data.get("layout")))):
            low, high = (data.get(name, end) for name, end in zip(("scale_low", "scale_high"), scale, strict=True))
            even = {"level_values": tuple(low + (high - low) * step / 4 for step in (4, 3, 2, 1, 0))} if _are_numbers(low, high) else {}
            return {"scale_low": low, "scale_high": high} | even | data
        return data

    @field_validator("columns")
    @classmethod
    def _names_columns(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := [name for name in value if name not in COLUMNS]:
            raise ValueError(f"{unknown[0]!r} is none of {', '.join(COLUMNS)}")
        return value


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) for value in values)


class ResolvedAnnotationSpec(AnnotationSpec):
    """With whole addresses."""

    uri: str
    images: str
