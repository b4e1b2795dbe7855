"""Does a night look like the one before it? Effect sizes with bounds that their counts decide; no store and no cluster is asked here.

A check is beyond its bound only where the effect is both large (its limit) and no accident (at `CONFIDENCE`, shared by the checks of one
kind): a million artworks do not hold a run for nothing, nor do forty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from artquant.core.schema import LEVEL, LEVELS, OPEN_SET_MASS, SCORE

NUM_BINS = 10  # of the scores, over the scale
CONFIDENCE = 0.999  # of one kind of check: a false alarm in a thousand nights of no drift
Outcome = Literal["ok", "beyond", "reported"]


@dataclass(frozen=True)
class Tally:
    """A night in counts. `levels`: scores by level, best first; `bins`: scores in NUM_BINS equal steps over the scale; `mass`,
    `mass_squares`: sums of the open-set mass and of its squares; `num_tried`: new and changed artworks, `num_rejected` of them."""

    levels: tuple[int, ...] = (0,) * len(LEVELS)
    bins: tuple[int, ...] = (0,) * NUM_BINS
    mass: float = 0.0
    mass_squares: float = 0.0
    num_tried: int = 0
    num_rejected: int = 0

    @property
    def num_scored(self) -> int:
        return sum(self.levels)

    def with_scores(self, columns: Mapping[str, Any], level_values: Sequence[float]) -> Tally:
        """Return the tally with rows of `score_schema()` added; `level_values`: best first."""
        edges = np.linspace(min(level_values), max(level_values), NUM_BINS + 1)
        scores = np.clip(np.asarray(columns[SCORE], np.float64), edges[0], edges[-1])
        mass = np.asarray(columns[OPEN_SET_MASS], np.float64)
        levels = np.bincount([LEVELS.index(level) for level in columns[LEVEL]], minlength=len(LEVELS))
        return Tally(
            levels=_sum(self.levels, levels),
            bins=_sum(self.bins, np.histogram(scores, edges)[0]),
            mass=self.mass + float(mass.sum()),
            mass_squares=self.mass_squares + float(np.dot(mass, mass)),
            num_tried=self.num_tried,
            num_rejected=self.num_rejected,
        )

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            _sum(self.levels, other.levels),
            _sum(self.bins, other.bins),
            self.mass + other.mass,
            self.mass_squares + other.mass_squares,
            self.num_tried + other.num_tried,
            self.num_rejected + other.num_rejected,
        )

    def to_document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Tally:
        return cls(**{**document, "levels": tuple(document["levels"]), "bins": tuple(document["bins"])})


@dataclass(frozen=True)
class Limits:
    """How large an effect may be, and from how many artworks on a side it decides anything."""

    psi: float
    level_shift: float
    mass_shift: float
    reject_rise: float
    gone_fraction: float
    min_count: int


@dataclass(frozen=True)
class Check:
    """One comparison: `value` against `bound`, in the unit of its name; `outcome`: reported where too few artworks decide nothing."""

    name: str
    value: float
    bound: float
    num: int  # tonight's artworks behind it
    num_before: int
    outcome: Outcome


def compare(tonight: Tally, before: Tally | None, num_gone: int, num_known: int, limits: Limits) -> list[Check]:
    """Compare a night with an earlier one by the same scorer; `num_gone` of `num_known` artworks of the collection were lost since then."""
    checks = []
    if before is not None and tonight.num_scored and before.num_scored:
        num, num_before = tonight.num_scored, before.num_scored
        decides = min(num, num_before) >= limits.min_count
        checks.append(
            _check(
                "score distribution (PSI)", psi(tonight.bins, before.bins), psi_bound(num, num_before, limits.psi), num, num_before, decides
            )
        )
        z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / len(LEVELS))
        for level, count, count_before in zip(LEVELS, tonight.levels, before.levels, strict=True):
            noise = z * _share_error(count, num, count_before, num_before)
            shift = abs(count / num - count_before / num_before)
            checks.append(_check(f"share of {level}", shift, max(limits.level_shift, noise), num, num_before, decides))
        z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
        noise = z * float(np.sqrt(_variance(tonight) / num + _variance(before) / num_before))
        shift = abs(tonight.mass / num - before.mass / num_before)
        checks.append(_check("mean open-set mass", shift, max(limits.mass_shift, noise), num, num_before, decides))
    if before is not None and tonight.num_tried and before.num_tried:
        num, num_before = tonight.num_tried, before.num_tried
        z = NormalDist().inv_cdf(CONFIDENCE)
        rise = tonight.num_rejected / num - before.num_rejected / num_before
        noise = z * _share_error(tonight.num_rejected, num, before.num_rejected, num_before)
        checks.append(
            _check("rejected share", rise, max(limits.reject_rise, noise), num, num_before, min(num, num_before) >= limits.min_count)
        )
    if num_known:
        checks.append(
            _check("artworks gone", num_gone / num_known, limits.gone_fraction, num_gone, num_known, num_known >= limits.min_count)
        )
    return checks


def against_training(tonight: Tally, shares: Sequence[float] | None) -> list[Check]:
    """Return how far the levels lie from those of the training's labels, (5,) shares; reported only: a collection is no sample of them."""
    if shares is None or not tonight.num_scored:
        return []
    expected = [round(share * 10_000) for share in shares]
    return [Check("levels against training (PSI)", psi(tonight.levels, expected), float("nan"), tonight.num_scored, 0, "reported")]


def psi(counts: Sequence[int], before: Sequence[int]) -> float:
    """Return the population stability index of two histograms, half a count added to each bin so that an empty one has a finite share."""
    p, q = (np.asarray(one, np.float64) + 0.5 for one in (counts, before))
    p, q = p / p.sum(), q / q.sum()
    return float(((p - q) * np.log(p / q)).sum())


def psi_bound(num: int, num_before: int, limit: float) -> float:
    """Return the larger of the limit and what chance gives: without drift, PSI is about chi-square(bins - 1) times (1/n + 1/m)."""
    from scipy.special import chdtri  # scipy.stats would cost each process of a run 0.7 s

    return max(limit, float(chdtri(NUM_BINS - 1, 1 - CONFIDENCE)) * (1 / num + 1 / num_before))


def _check(name: str, value: float, bound: float, num: int, num_before: int, decides: bool) -> Check:
    outcome: Outcome = "reported" if not decides else "beyond" if value > bound else "ok"
    return Check(name, value, bound, num, num_before, outcome)


def _share_error(count: int, num: int, count_before: int, num_before: int) -> float:
    """Return the standard error of the difference of two shares, by their pooled share."""
    share = (count + count_before) / (num + num_before)
    return float(np.sqrt(share * (1 - share) * (1 / num + 1 / num_before)))


def _variance(tally: Tally) -> float:
    mean = tally.mass / tally.num_scored
    return max(0.0, tally.mass_squares / tally.num_scored - mean**2)


def _sum(first: Sequence[int], second: Any) -> tuple[int, ...]:
    return tuple(int(a + b) for a, b in zip(first, second, strict=True))
