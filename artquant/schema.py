"""Every column that the product reads or writes is named here, once, with its Arrow type.

`pyarrow` is imported inside the functions: this module is read by rooms that must import without it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1

LEVELS = ("excellent", "good", "fair", "poor", "bad")  # best first; the order of every probability vector
PROBABILITY_COLUMNS = tuple(f"p_{level}" for level in LEVELS)
CRITIQUE_PARTS = ("perception", "cognition", "emotion")


class RejectClass(StrEnum):
    MISSING = "missing"  # the object is not there any more
    DENIED = "denied"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    EMPTY = "empty"  # no bytes, or an image of zero width or height
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"  # an image, of a kind or variant that is not decoded
    POISON = "poison"  # the engine, or its whole process, fails on this artwork alone
    BAD_SCORES = "bad_scores"  # the engine answered with non-finite numbers

    @property
    def is_transient(self) -> bool:
        """True where the next run should try again although neither the object nor the model did change."""
        return self in _TRANSIENT


_TRANSIENT = frozenset({RejectClass.MISSING, RejectClass.DENIED, RejectClass.THROTTLED, RejectClass.TIMEOUT})


class Reason(StrEnum):
    """Why an artwork is in tonight's plan."""

    NEW = "new"
    CHANGED = "changed"
    MODEL = "model"
    RETRY = "retry"
    FORCED = "forced"


def plan_schema() -> pa.Schema:
    """One row an artwork that is due; a row group is one shard."""
    import pyarrow as pa

    return pa.schema(
        [("artwork_id", pa.string()), ("uri", pa.string()), ("etag", pa.string()), ("size_bytes", pa.int64()), ("reason", pa.string())]
    )


def score_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("artwork_id", pa.string()),
            ("uri", pa.string()),
            ("etag", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("score", pa.float64()),
            ("score_std", pa.float64()),
            ("level", pa.string()),
            *[(name, pa.float64()) for name in PROBABILITY_COLUMNS],
            ("open_set_mass", pa.float64()),
            ("entropy", pa.float64()),
            ("needs_review", pa.bool_()),
            *[(part, pa.string()) for part in CRITIQUE_PARTS],
            ("critique_status", pa.string()),
            ("model_id", pa.string()),
            ("model_digest", pa.string()),
            ("prompt_digest", pa.string()),
            ("preprocessing_digest", pa.string()),
            ("dtype", pa.string()),
            ("reason", pa.string()),
            ("run_id", pa.string()),
            ("scored_at", pa.timestamp("us", tz="UTC")),
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )


def reject_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("artwork_id", pa.string()),
            ("uri", pa.string()),
            ("etag", pa.string()),
            ("reject_class", pa.string()),
            ("message", pa.string()),
            ("attempts", pa.int32()),
            ("model_id", pa.string()),
            ("reason", pa.string()),
            ("run_id", pa.string()),
            ("rejected_at", pa.timestamp("us", tz="UTC")),
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )


def evaluation_schema() -> pa.Schema:
    """A score row beside what people said. The scores of both, and the fitted one, are on the annotations' scale."""
    import pyarrow as pa

    return pa.schema(
        [
            *score_schema(),
            ("human_score", pa.float64()),
            ("human_std", pa.float64()),  # of the artwork's raters
            ("human_level", pa.string()),  # by the hard rule (`Scale.level`), as predicted_level; `level` is the likeliest one
            ("num_raters", pa.int64()),
            ("predicted_score", pa.float64()),
            ("predicted_level", pa.string()),
            ("fitted_score", pa.float64()),
            ("entropy_given_text", pa.float64()),  # H(Y|D), nats; null where the theory was not looked at
            ("description_nll", pa.float64()),  # H(D|Z), nats
            ("num_description_tokens", pa.int64()),
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )
