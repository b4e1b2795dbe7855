"""From score rows and people's ratings to the facts of an evaluation. Does not use Ray."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.agreement import evaluation, held_out, information, metrics
from artquant.agreement.records import Miss, Theory
from artquant.annotations.rows import annotation_schema
from artquant.annotations.votes import level_shares
from artquant.config import EvaluateSpec
from artquant.core.scale import Scale, score_statistics
from artquant.core.schema import (
    ARTWORK_ID,
    CRITIQUE_PARTS,
    FITTED_SCORE,
    HUMAN_SCORE,
    HUMAN_STD,
    NUM_RATERS,
    OPEN_SET_MASS,
    PREDICTED_SCORE,
    PROBABILITY_COLUMNS,
    REJECT_CLASS,
    SCORE,
    SCORE_STD,
    VOTES,
    evaluation_schema,
)

MIN_THEORY = 10  # artworks: fewer say nothing
Terms = Mapping[str, Mapping[str, float]]  # artwork_id -> the theory's terms of it


def other_columns(annotations: pa.Table) -> list[str]:
    """List the columns that annotators gave beside scores and texts: candidates for subgroups."""
    return [name for name in annotations.column_names if name not in annotation_schema().names]


@dataclass(frozen=True)
class Compared:
    """N scored artworks, the model and people side by side, by artwork_id. All scores are on the annotations' `scale`."""

    scores: pa.Table  # rows of `score_schema()`
    people: pa.Table  # their annotations, in the same order
    scale: Scale

    @classmethod
    def join(cls, scores: pa.Table, annotations: pa.Table, scale: Scale) -> "Compared":
        """Join scores and annotations, without artworks that have no score. Raises KeyError for a score of an artwork that nobody rated."""
        scores = scores.sort_by(ARTWORK_ID)
        row_of = {artwork_id: row for row, artwork_id in enumerate(annotations.column(ARTWORK_ID).to_pylist())}
        rows = [row_of[artwork_id] for artwork_id in scores.column(ARTWORK_ID).to_pylist()]
        return cls(scores, annotations.take(pa.array(rows, pa.int64())), scale)

    @cached_property
    def ids(self) -> list[str]:
        return cast(list[str], self.scores.column(ARTWORK_ID).to_pylist())

    @cached_property
    def probabilities(self) -> np.ndarray:
        return np.stack([self.scores.column(name).to_numpy() for name in PROBABILITY_COLUMNS], axis=1)

    @cached_property
    def statistics(self) -> dict[str, np.ndarray]:
        return score_statistics(self.probabilities, self.scale)

    @property
    def predicted(self) -> np.ndarray:
        return self.statistics[SCORE]

    @cached_property
    def human(self) -> np.ndarray:
        return cast(np.ndarray, self.people.column(SCORE).to_numpy())

    @cached_property
    def raters_std(self) -> np.ndarray:
        """(N,), nan where it is not known."""
        return cast(np.ndarray, pc.fill_null(self.people.column("sigma").cast(pa.float64()), math.nan).to_numpy())

    @cached_property
    def ratings(self) -> np.ndarray:
        """(N, 5): how many single ratings of each level, best first; zeros where they are not known or are shares alone."""
        found = np.zeros((len(self.ids), len(PROBABILITY_COLUMNS)))
        for row, votes in enumerate(self.people.column(VOTES).to_pylist()):
            if votes and all(vote["count"] == int(vote["count"]) for vote in votes):
                found[row] = level_shares(votes, self.scale) * sum(vote["count"] for vote in votes)
        return found

    def columns(self, chosen: tuple[str, ...] | None) -> dict[str, list[Any]]:
        """Return the columns to look at separately: the chosen ones, else all text columns with few values."""
        if chosen is None:
            types = {name: self.people.schema.field(name).type for name in other_columns(self.people)}
            texts = [name for name, kind in types.items() if pa.types.is_string(kind) or pa.types.is_large_string(kind)]
            chosen = tuple(evaluation.telling_columns({name: self.people.column(name).to_pylist() for name in texts}))
        return {name: self.people.column(name).to_pylist() for name in chosen}

    def table(self, fitted: Sequence[float], terms: Terms) -> pa.Table:
        """Return a table of `evaluation_schema()`."""
        row_terms = [terms.get(artwork_id, {}) for artwork_id in self.ids]
        added = {
            HUMAN_SCORE: self.human,
            HUMAN_STD: self.people.column("sigma"),
            "human_level": self.scale.level(self.human).tolist(),
            NUM_RATERS: self.people.column(NUM_RATERS),
            PREDICTED_SCORE: self.predicted,
            "predicted_level": self.scale.level(self.predicted).tolist(),
            FITTED_SCORE: pa.array(fitted, pa.float64(), from_pandas=True),
            "description_nll": [row.get("description_nll") for row in row_terms],
            "other_description_nll": pa.array([row.get("other_description_nll") for row in row_terms], pa.float64(), from_pandas=True),
            "num_description_tokens": [int(row["num_description_tokens"]) if row else None for row in row_terms],
        }
        table = pa.table({**{name: self.scores.column(name) for name in self.scores.column_names}, **added})
        return table.select(evaluation_schema().names).cast(evaluation_schema())


def theory_of(
    compared: Compared, terms: Terms, rounds: int, labels: np.ndarray, features: Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
) -> tuple[Theory, dict[str, Any]] | None:
    """Return the facts for the page and the entry for metrics.json, or None if fewer than `MIN_THEORY` artworks have the terms.

    labels (N, 5): what people said, as shares of the levels; features: of texts, whole and without what names a level.
    """
    rows = [
        row
        for row, artwork_id in enumerate(compared.ids)
        if not math.isnan(terms.get(artwork_id, {}).get("other_description_nll", math.nan))
    ]
    if len(rows) < MIN_THEORY:
        return None
    of = [terms[compared.ids[row]] for row in rows]
    names = ("description_nll", "other_description_nll", "num_description_tokens")
    own, other, tokens = (np.array([term[name] for term in of]) for name in names)
    texts = compared.people.select(CRITIQUE_PARTS).take(pa.array(rows)).to_pylist()
    whole, masked = features([" ".join(row[part].strip() for part in CRITIQUE_PARTS) for row in texts])
    theory = Theory(
        num=len(rows),
        picture=information.of_predictions(labels[rows], compared.probabilities[rows], rounds),
        texts=information.of_texts(labels[rows], whole, rounds),
        masked_texts=information.of_texts(labels[rows], masked, rounds),
        generation=information.of_pictures_about_texts(own, other, rounds),
        generation_per_token=metrics.bootstrap(lambda gain, num: float(gain.sum() / num.sum()), other - own, tokens, rounds=rounds),
    )
    return theory, to_jsonable(theory)


def report_fields(compared: Compared, spec: EvaluateSpec) -> dict[str, Any]:
    """Compute the parts of an `EvaluationReport` that follow from the numbers alone."""
    agreed, fitted = evaluation.agreement(compared.predicted, compared.human, compared.scale, spec.bootstrap_rounds)
    std, raters = compared.statistics[SCORE_STD], compared.raters_std
    return {
        "metrics": agreed,
        "human": compared.human.tolist(),
        "predicted": compared.predicted.tolist(),
        "fitted": fitted.tolist(),
        "calibration": evaluation.calibration(compared.predicted, compared.human, std, raters),
        "errors": held_out.error_intervals(compared.predicted, compared.human),
        "pit": held_out.pit(compared.probabilities, compared.ratings),
        "spread": [(float(s), float(r)) for s, r in zip(std, raters, strict=True) if math.isfinite(r)],
        OPEN_SET_MASS: compared.scores.column(OPEN_SET_MASS).to_pylist(),
        "subgroups": evaluation.subgroups(compared.columns(spec.subgroups), compared.predicted, compared.human, spec.bootstrap_rounds),
    }


def worst_predictions(compared: Compared, num: int, picture: Callable[[str], bytes | None]) -> list[Miss]:
    """Return the `num` worst predictions with their pictures."""
    rows = evaluation.worst(compared.predicted, compared.human, num).tolist()
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(picture, [compared.ids[row] for row in rows]))
    return [
        Miss(compared.ids[row], float(compared.human[row]), float(compared.predicted[row]), thumbnail)
        for row, thumbnail in zip(rows, pictures, strict=True)
    ]


def metrics_document(compared: Compared, facts: Mapping[str, Any], rejects: pa.Table) -> dict[str, Any]:
    """Return the report's figures in machine-readable form."""
    mass = np.array(facts[OPEN_SET_MASS])
    spread = evaluation.spread(compared.statistics[SCORE_STD], compared.raters_std)
    return {
        "num_artworks": len(compared.ids),
        "num_rejected": rejects.num_rows,
        "rejects_by_class": dict(Counter(rejects.column(REJECT_CLASS).to_pylist())),
        "metrics": to_jsonable(facts["metrics"]),
        "errors": to_jsonable(facts["errors"]),
        "pit": to_jsonable(facts["pit"]),
        "calibration": to_jsonable(facts["calibration"]),
        "spread": to_jsonable(spread),
        OPEN_SET_MASS: {"mean": float(mass.mean()), "least": float(mass.min()), "share_below_half": float((mass < 0.5).mean())},
        "subgroups": to_jsonable(facts["subgroups"]),
    }


def to_jsonable(value: Any) -> Any:
    """Convert records to dicts and nan to None, so that the value can be written as JSON."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): to_jsonable(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_jsonable(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value
