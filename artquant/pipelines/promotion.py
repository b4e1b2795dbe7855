"""Whether a candidate becomes current: both models judged on the held-out artworks, and the page that shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from artquant.agreement import metrics
from artquant.annotations.split import Splits
from artquant.config import ResolvedTrainSpec
from artquant.core.errors import Reject
from artquant.core.schema import ARTWORK_ID, PROBABILITY_COLUMNS, SCORE
from artquant.engines.golden import MAX_PICTURES, MIN_PICTURES, GoldenSet, precision_of
from artquant.engines.recipe import EngineRecipe
from artquant.images import square
from artquant.pipelines.run import ScoringRun, predict
from artquant.progress.stages import start_counter
from artquant.records.training import Flip, ShadowReport, Verdict
from artquant.registry import Registry
from artquant.results.thumbnails import thumbnail_of
from artquant.storage.store import open_store

NUM_FLIPS = 12
MAX_ROUNDS = 10_000  # resamples of a comparison, however small its tails
MIN_TESTED = 10  # artworks; fewer say nothing of which model is better
CANDIDATE, CURRENT = "candidate", "current"


@dataclass(frozen=True)
class HeldOut:
    """The N test artworks that all models could score: their ids, people's scores (N,), and each model's (N,).

    golden: the candidate's five probabilities of some artworks of the validation split, by id.
    """

    ids: list[str]
    human: np.ndarray
    scores: Mapping[str, np.ndarray]
    golden: Mapping[str, np.ndarray] = field(default_factory=dict)


def score_held_out(spec: ResolvedTrainSpec, splits: Splits, recipes: Mapping[str, EngineRecipe]) -> HeldOut:
    """Scores the test split with each model by the score job's own chain, and what may become the candidate's golden set with it.

    Ray is running. Raises RunFailed.
    """
    store = open_store(spec.output)
    ids = splits.test.column(ARTWORK_ID).to_pylist()
    content = {artwork_id: splits.content[artwork_id] for artwork_id in ids}
    by_model: dict[str, dict[str, float]] = {}
    golden: dict[str, np.ndarray] = {}
    chosen = spread(splits)
    for name, recipe in recipes.items():
        run = ScoringRun(
            run_id=f"{spec.run_id}-{name}",
            input=spec.annotations.images,
            output=spec.output,
            fetch=spec.fetch,
            stall_minutes=spec.stall_minutes,
        )
        more = {artwork_id: splits.content[artwork_id] for artwork_id in chosen if name == CANDIDATE}
        scores, _ = predict(run, recipe, content | more, store, start_counter())
        rows = scores.select([ARTWORK_ID, *PROBABILITY_COLUMNS]).to_pylist() if more else []
        golden |= {row[ARTWORK_ID]: np.array([row[column] for column in PROBABILITY_COLUMNS]) for row in rows if row[ARTWORK_ID] in more}
        by_model[name] = dict(zip(scores.column(ARTWORK_ID).to_pylist(), scores.column(SCORE).to_pylist(), strict=True))
    human = dict(zip(ids, splits.test.column(SCORE).to_pylist(), strict=True))
    common = [i for i in ids if human[i] is not None and all(i in scores for scores in by_model.values())]
    by_artwork = {name: np.array([scores[i] for i in common]) for name, scores in by_model.items()}
    return HeldOut(common, np.array([human[i] for i in common]), by_artwork, golden)


def spread(splits: Splits) -> list[str]:
    """Return ids of the validation split, from the lowest score to the highest in even steps: as many as a golden set has."""
    order = np.argsort(splits.validation.column(SCORE).to_numpy(zero_copy_only=False), kind="stable")
    places = np.linspace(0, len(order) - 1, min(MAX_PICTURES, len(order))).round().astype(int)
    ids: list[str] = splits.validation.column(ARTWORK_ID).take(order[places]).to_pylist()
    return ids


def golden_set(spec: ResolvedTrainSpec, recipe: EngineRecipe, tested: HeldOut) -> GoldenSet | None:
    """Return the candidate's golden set; None where too few of its pictures can be read."""
    source, pixels, probabilities = open_store(spec.annotations.images), [], []
    for artwork_id, expected in sorted(tested.golden.items()):
        try:
            data = source.get(artwork_id)
            picture = square.load(data, recipe.image_size, max_pixels=spec.fetch.max_pixels, fast=not spec.fetch.full_decode)
        except Reject:  # gone since it was scored: the others do
            continue
        pixels.append(picture.pixels)
        probabilities.append(expected)
    if len(pixels) < MIN_PICTURES:
        return None
    return GoldenSet.of(np.stack(pixels), np.stack(probabilities), precision_of(recipe.engine))


def confidence_of(look: int) -> float:
    """Return the confidence that the `look`-th comparison on one test set needs: 0.95, then 0.983, 0.992, ...

    The errors that all looks may make add up to 0.1, half of it in the candidate's favour: however often one looks, an equal model is
    promoted on this test set with a probability of 5 % at most.
    """
    return 1 - 0.1 / (look * (look + 1))


def look_number(registry: Registry, test_digest: str) -> int:
    """Return which comparison on this test set the next one is, by the cards of the models that were compared on it."""
    cards = [entry.card.get("held_out") or {} for entry in registry.entries()]
    return 1 + len([card for card in cards if card.get("digest") == test_digest and card.get("compared_with")])


def judge(spec: ResolvedTrainSpec, current: str, tested: HeldOut, shadow_uri: str, look: int = 1) -> Verdict:
    """Whether the candidate becomes current: by order, or when the paired interval of the SRCC's difference lies above the margin.

    `current`: the model's name, or artquant-tiny's where there is none, which jobs use until there is. `look`: how often this test set has
    decided, with this time. A model that gives all artworks one score ranks them at an SRCC of 0.
    """
    human, scores = tested.human, tested.scores
    value = metrics.ranking(scores[CANDIDATE], human)
    confidence = confidence_of(look)
    rounds = min(MAX_ROUNDS, max(1000, round(50 / (1 - confidence))))
    paired = metrics.paired_bootstrap(metrics.ranking, scores[CANDIDATE], scores[CURRENT], human, rounds=rounds, confidence=confidence)
    visible = detectable(paired, confidence)
    better = len(human) >= MIN_TESTED and paired.low > spec.margin
    promoted = spec.promote == "always" or (spec.promote == "better" and better)
    if spec.promote != "better":
        why = f"promote={spec.promote}"
    elif len(human) < MIN_TESTED:
        why = f"{len(human)} held-out artworks are too few to tell"
    else:
        compared = "above" if better else "not above"
        interval = f"{paired.low:+.3f} to {paired.high:+.3f}"
        why = f"the {100 * confidence:.3g} % interval of the SRCC's difference, {interval}, is {compared} the margin of {spec.margin:g}"
        if look > 1:
            why += f" (comparison {look} on this test set)"
        if not better:
            why += (
                f"; {len(human):,} artworks show a difference of {spec.margin + visible:+.3f} four times of five, smaller ones less often"
            )
    now = metrics.ranking(scores[CURRENT], human)
    figures = paired.difference, paired.low, paired.high
    return Verdict(spec.run_id, current, value, now, *figures, spec.margin, promoted, why, shadow_uri, look, confidence, visible)


def detectable(paired: metrics.Paired, confidence: float, power: float = 0.8) -> float:
    """Return the true difference that an interval as wide as this one would show, lying above zero, with probability `power`."""
    certain = NormalDist().inv_cdf(0.5 + confidence / 2)
    return (paired.high - paired.low) / (2 * certain) * (certain + NormalDist().inv_cdf(power))


def shadow_report(spec: ResolvedTrainSpec, current: str, verdict: Verdict, tested: HeldOut) -> ShadowReport:
    source = open_store(spec.annotations.images)
    candidate, before = tested.scores[CANDIDATE], tested.scores[CURRENT]
    flips = np.argsort(-np.abs(candidate - before))[:NUM_FLIPS]
    return ShadowReport(
        run_id=spec.run_id,
        candidate=verdict.candidate,
        current=current,
        num_artworks=len(tested.ids),
        human=tested.human.tolist(),
        candidate_scores=candidate.tolist(),
        current_scores=before.tolist(),
        rank_correlation=metrics.srcc(candidate, before),
        verdict=verdict,
        flips=[
            Flip(
                tested.ids[i],
                float(tested.human[i]),
                float(candidate[i]),
                float(before[i]),
                thumbnail_of(source, tested.ids[i], fetch=spec.fetch),
            )
            for i in flips
        ],
    )
