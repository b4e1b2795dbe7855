"""The engine's answers as columns."""

from typing import Any

import numpy as np

from artquant.config import ReviewSpec
from artquant.core.scale import Scale, score_statistics
from artquant.core.schema import (
    CRITIQUE_PARTS,
    CRITIQUE_STATUS,
    DOMAIN_DISTANCE,
    NEEDS_REVIEW,
    OPEN_SET_MASS,
    PROBABILITY_COLUMNS,
    SCORE_STD,
)
from artquant.engines import Assessment


def score_columns(assessments: list[tuple[Assessment, int]], scale: Scale, review: ReviewSpec) -> dict[str, list[Any]]:
    """Convert (assessment, row in it) of N artworks to the columns that depend on the engine's answer, N values each."""
    probabilities = np.array([assessment.probabilities[row] for assessment, row in assessments]).reshape(-1, len(PROBABILITY_COLUMNS))
    mass = np.array([assessment.open_set_mass[row] for assessment, row in assessments])
    statistics = score_statistics(probabilities, scale)
    distances = [None if given.domain_distance is None else float(given.domain_distance[row]) for given, row in assessments]
    is_foreign = np.array([distance is not None and distance > review.max_domain_distance for distance in distances], bool)
    needs_review = (mass < review.min_open_set_mass) | (statistics[SCORE_STD] > review.max_score_std) | is_foreign
    columns = {name: values.tolist() for name, values in statistics.items()}
    columns |= {name: probabilities[:, i].tolist() for i, name in enumerate(PROBABILITY_COLUMNS)}
    columns |= {OPEN_SET_MASS: mass.tolist(), DOMAIN_DISTANCE: distances, NEEDS_REVIEW: needs_review.tolist()}
    critiques = [assessment.critiques[row] or {} for assessment, row in assessments]
    columns |= {part: [critique.get(part) for critique in critiques] for part in CRITIQUE_PARTS}
    return columns | {CRITIQUE_STATUS: [assessment.critique_statuses[row] for assessment, row in assessments]}
