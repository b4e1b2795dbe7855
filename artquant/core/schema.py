"""Every column that the product reads or writes is named here, once, with its Arrow type.

`pyarrow` is imported inside the functions: this module is read by rooms that must import without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1

LEVELS = ("excellent", "good", "fair", "poor", "bad")  # best first; the order of every probability vector
PROBABILITY_COLUMNS = tuple(f"p_{level}" for level in LEVELS)
CRITIQUE_PARTS = ("perception", "cognition", "emotion")
TEXT_PARTS = (*CRITIQUE_PARTS, "comment")  # of annotations

# Columns that several rooms name.
ARTWORK_ID, URI, ETAG, SIZE_BYTES = "artwork_id", "uri", "etag", "size_bytes"
REASON, RUN_ID = "reason", "run_id"
REJECT_CLASS, MESSAGE, ATTEMPTS = "reject_class", "message", "attempts"
SCORE, SCORE_STD, LEVEL, CRITIQUE_STATUS = "score", "score_std", "level", "critique_status"
WIDTH, HEIGHT, OPEN_SET_MASS, ENTROPY = "width", "height", "open_set_mass", "entropy"
DOMAIN_DISTANCE, NEEDS_REVIEW = "domain_distance", "needs_review"
MODEL_ID, MODEL_DIGEST, PROMPT_DIGEST, PREPROCESSING_DIGEST = "model_id", "model_digest", "prompt_digest", "preprocessing_digest"
DTYPE = "dtype"
HUMAN_SCORE, HUMAN_STD, NUM_RATERS = "human_score", "human_std", "num_raters"
PREDICTED_SCORE, FITTED_SCORE = "predicted_score", "fitted_score"
VOTES, SPLIT, GROUP, FILE_SPLIT = "votes", "split", "group", "file_split"  # of annotations
SCORED_AT, REJECTED_AT, DESCRIBED_AT = "scored_at", "rejected_at", "described_at"
GIVEN, STATE, VERDICT = "given", "state", "verdict"  # of the describe job: what a generator was told; how far a description is
NUM_ROUNDS, VERDICTS, LANGUAGE = "num_rounds", "verdicts", "language"
INPUT_TOKENS, OUTPUT_TOKENS, COST = "input_tokens", "output_tokens", "cost"
GENERATOR_DIGEST, JUDGE_DIGEST, TEMPLATE_DIGEST, EXAM_DIGEST = "generator_digest", "judge_digest", "template_digest", "exam_digest"
SHARD, PIXELS, AT = "shard", "pixels", "at"  # between stages only: a decoded picture; when the row was made


class CritiqueStatus(StrEnum):
    """What became of a critique, by `artquant.engines.critique_checks`."""

    OK = "ok"
    EMPTY = "empty"  # a part has no word
    LOOPING = "looping"  # a phrase again and again
    TRUNCATED = "truncated"  # the longest text that is allowed ended it
    WRONG_LANGUAGE = "wrong_language"  # not that of the prompt
    COPIED_PROMPT = "copied_prompt"  # the question instead of an answer
    CONTRADICTS_SCORE = "contradicts_score"  # praise of a bad score, or blame of a good one
    NOT_REQUESTED = "not_requested"


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
    NOT_AGREED = "not_agreed"  # the judge refused every description
    REFUSED = "refused"  # the generator's or the judge's provider would not answer
    CUT_OFF = "cut_off"  # an answer ended at the most tokens that it may have
    UNPARSED = "unparsed"  # an answer is not what was asked for; the raw one is in the message
    WRONG_LANGUAGE = "wrong_language"
    UNANSWERED = "unanswered"  # the provider failed, again and again
    BUDGET = "budget"  # what may be spent was spent

    @property
    def is_transient(self) -> bool:
        """True where the next run should try again although neither the object nor the model did change."""
        return self in _TRANSIENT


_TRANSIENT = frozenset(
    {
        RejectClass.MISSING,
        RejectClass.DENIED,
        RejectClass.THROTTLED,
        RejectClass.TIMEOUT,
        RejectClass.UNANSWERED,
        RejectClass.BUDGET,
    }
)


class Reason(StrEnum):
    """Why an artwork is in tonight's plan."""

    NEW = "new"
    CHANGED = "changed"  # another content under the same id
    MODEL = "model"  # scored before, by another model
    PROMPT = "prompt"
    PREPROCESSING = "preprocessing"
    DTYPE = "dtype"
    RETRY = "retry"  # rejected before, for trouble that passes
    FORCED = "forced"  # nothing but the command's force=true
    CRITIQUE = "critique"  # scored before, without the texts that are asked for


def plan_schema(carry: Sequence[str] = ()) -> pa.Schema:
    """One row an artwork that is due; a row group is one shard. `carry`: further columns of the collection."""
    import pyarrow as pa

    names = {ARTWORK_ID: pa.string(), URI: pa.string(), ETAG: pa.string(), SIZE_BYTES: pa.int64(), REASON: pa.string()}
    return pa.schema([*names.items(), *((name, pa.string()) for name in carry)])


def score_schema(carry: Sequence[str] = ()) -> pa.Schema:
    """`carry`: further columns of the collection, as texts."""
    import pyarrow as pa

    return pa.schema(
        [
            (ARTWORK_ID, pa.string()),
            (URI, pa.string()),
            (ETAG, pa.string()),
            (WIDTH, pa.int32()),
            (HEIGHT, pa.int32()),
            (SCORE, pa.float64()),
            (SCORE_STD, pa.float64()),
            (LEVEL, pa.string()),
            *[(name, pa.float64()) for name in PROBABILITY_COLUMNS],
            (OPEN_SET_MASS, pa.float64()),
            (ENTROPY, pa.float64()),
            (DOMAIN_DISTANCE, pa.float64()),
            (NEEDS_REVIEW, pa.bool_()),
            *[(part, pa.string()) for part in CRITIQUE_PARTS],
            (CRITIQUE_STATUS, pa.string()),
            (MODEL_ID, pa.string()),
            (MODEL_DIGEST, pa.string()),
            (PROMPT_DIGEST, pa.string()),
            (PREPROCESSING_DIGEST, pa.string()),
            (DTYPE, pa.string()),
            (REASON, pa.string()),
            (RUN_ID, pa.string()),
            (SCORED_AT, pa.timestamp("us", tz="UTC")),
            *[(name, pa.string()) for name in carry],
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )


def description_schema(carry: Sequence[str] = ()) -> pa.Schema:
    """Name the columns of a described artwork: an annotation, as `JOB=train` reads it, and how it came to be.

    `verdicts`: a JSON list with a round, whether it was agreed, the probability and the reason each; `cost` in the setting's currency.
    """
    import pyarrow as pa

    texts = (*CRITIQUE_PARTS, VERDICTS, LANGUAGE, GENERATOR_DIGEST, JUDGE_DIGEST, TEMPLATE_DIGEST, EXAM_DIGEST)
    identity = (MODEL_ID, MODEL_DIGEST, PROMPT_DIGEST, PREPROCESSING_DIGEST, DTYPE)
    return pa.schema(
        [
            (ARTWORK_ID, pa.string()),
            (URI, pa.string()),
            (ETAG, pa.string()),
            (SCORE, pa.float64()),
            (SCORE_STD, pa.float64()),
            (NUM_RATERS, pa.int64()),
            *[(name, pa.string()) for name in texts],
            (NUM_ROUNDS, pa.int32()),
            (INPUT_TOKENS, pa.int64()),
            (OUTPUT_TOKENS, pa.int64()),
            (COST, pa.float64()),
            *[(name, pa.string()) for name in identity],
            (REASON, pa.string()),
            (RUN_ID, pa.string()),
            (DESCRIBED_AT, pa.timestamp("us", tz="UTC")),
            *[(name, pa.string()) for name in carry],
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )


def reject_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            (ARTWORK_ID, pa.string()),
            (URI, pa.string()),
            (ETAG, pa.string()),
            (REJECT_CLASS, pa.string()),
            (MESSAGE, pa.string()),
            (ATTEMPTS, pa.int32()),
            (MODEL_ID, pa.string()),
            (REASON, pa.string()),
            (RUN_ID, pa.string()),
            (REJECTED_AT, pa.timestamp("us", tz="UTC")),
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )


def evaluation_schema() -> pa.Schema:
    """Name the columns of a score row beside what people said. The scores of both, and the fitted one, are on the annotations' scale."""
    import pyarrow as pa

    return pa.schema(
        [
            *score_schema(),
            (HUMAN_SCORE, pa.float64()),
            (HUMAN_STD, pa.float64()),  # of the artwork's raters
            ("human_level", pa.string()),  # by the hard rule (`Scale.level`), as predicted_level; `level` is the likeliest one
            (NUM_RATERS, pa.int64()),
            (PREDICTED_SCORE, pa.float64()),
            ("predicted_level", pa.string()),
            (FITTED_SCORE, pa.float64()),
            ("description_nll", pa.float64()),  # of people's description under its picture, nats; null where that was not looked at
            ("other_description_nll", pa.float64()),  # under another picture
            ("num_description_tokens", pa.int64()),
        ],
        metadata={b"artquant.schema_version": str(SCHEMA_VERSION).encode()},
    )
