"""What a picture and a description tell of the score, and a picture of its description: measured on artworks that are held out, so that it
could be nothing.

The usable information of X about Y (Xu et al., arXiv 2002.10689) is how much lower the cross-entropy of Y is for a reader that sees X than
for one that sees nothing; in nats an artwork. Y is what people said, as shares of the five levels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from artquant.agreement import metrics
from artquant.agreement.metrics import Interval

_LEAST = 1e-4  # a reader is never surer than this that a level is wrong
_FOLDS = 5
_PENALTY = 3.0  # of the ridge regression
_PERMUTATIONS = 200
_CHANCE = 0.975  # of the permutations lie below what is said to be chance


@dataclass(frozen=True)
class Information:
    """The mean over artworks with its interval, and what it reaches `by_chance`: with the pairs broken up, in 97.5 % of the draws."""

    nats: Interval
    by_chance: float


def of_predictions(labels: np.ndarray, predicted: np.ndarray, rounds: int) -> Information:
    """Return what a model's distributions (N, 5) tell of the labels (N, 5). By chance: of another artwork each."""
    costs = -labels @ np.log(np.clip(predicted, _LEAST, None)).T  # (N, N): each label under each prediction
    before = _without_any(labels)
    rng, rows = np.random.default_rng(0), np.arange(len(labels))
    drawn = [float((before - costs[rows, rng.permutation(len(labels))]).mean()) for _ in range(_PERMUTATIONS)]
    return Information(_mean(before - np.diagonal(costs), rounds), float(np.quantile(drawn, _CHANCE)))


def of_texts(labels: np.ndarray, features: np.ndarray, rounds: int) -> Information:
    """Return what texts, as features (N, F), tell of the labels (N, 5) to a reader that has learnt from the texts of the other folds. By
    chance: to one whose texts are of other artworks."""
    rng = np.random.default_rng(0)
    orders = [np.arange(len(labels)), *(rng.permutation(len(labels)) for _ in range(_PERMUTATIONS))]
    said = np.stack([labels[order] for order in orders], axis=1)  # (N, 1 + permutations, 5)
    read = _cross_fitted(features, said)
    costs = -(said * np.log(read)).sum(-1)
    before = _without_any(labels)
    gains = np.stack([before[order] for order in orders], axis=1) - costs
    return Information(_mean(gains[:, 0], rounds), float(np.quantile(gains[:, 1:].mean(0), _CHANCE)))


def of_pictures_about_texts(own: np.ndarray, other: np.ndarray, rounds: int) -> Information:
    """Return how much likelier texts are under their own picture than under another, from both negative log-likelihoods (N,). By chance:
    where nobody knows which of the two is the own one."""
    gains = other - own
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (_PERMUTATIONS, len(gains)))
    return Information(_mean(gains, rounds), float(np.quantile((signs * gains).mean(1), _CHANCE)))


def _without_any(labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy (N,) of each label for who knows the others' mean alone."""
    others = (labels.sum(0) - labels) / max(1, len(labels) - 1)
    return np.asarray(-(labels * np.log(np.clip(others, _LEAST, None))).sum(1))


def _cross_fitted(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what ridge regression reads from features (N, F) of labels (N, R, 5), each artwork by those of the other folds; as shares."""
    fold = np.random.default_rng(1).permutation(len(labels)) % _FOLDS
    read = np.empty_like(labels)
    for number in range(_FOLDS):
        known, asked = fold != number, fold == number
        mean = labels[known].mean(0)
        centred = features - features[known].mean(0)
        kernel = centred[known] @ centred[known].T + _PENALTY * np.eye(int(known.sum()))
        weights = np.linalg.solve(kernel, (labels[known] - mean).reshape(int(known.sum()), -1))
        read[asked] = mean + (centred[asked] @ centred[known].T @ weights).reshape(-1, *labels.shape[1:])
    read = np.clip(read, 0.01, None)
    return np.asarray(read / read.sum(-1, keepdims=True))


def _mean(values: np.ndarray, rounds: int) -> Interval:
    return metrics.bootstrap(lambda x, _: float(x.mean()), values, values, rounds=rounds)
