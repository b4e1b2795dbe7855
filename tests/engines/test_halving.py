"""A batch that fails costs the artwork that breaks it, and no other."""

import math
import weakref

import numpy as np
import pytest
import torch

from artquant.core.errors import Reject
from artquant.core.schema import RejectClass
from artquant.engines import Assessment
from artquant.engines.halving import BatchLimit, assess_each


class FakeEngine:
    """Scores an image by its first pixel; raises `error` where a batch holds a pixel of `poison`, answers nan for one of `nan`."""

    def __init__(self, poison=(), nan=(), error=None, max_batch=None):
        self.poison, self.nan, self.max_batch = set(poison), set(nan), max_batch
        self.error = error or RuntimeError("the kernel failed")
        self.batches = []

    def assess(self, pixels, critique=False):
        marks = pixels[:, 0, 0, 0].tolist()
        self.batches.append(marks)
        if self.poison.intersection(marks) or (self.max_batch and len(marks) > self.max_batch):
            raise self.error
        probabilities = np.full((len(marks), 5), np.nan)
        for row, mark in enumerate(marks):
            if mark not in self.nan:
                probabilities[row] = [mark / 1000, 0, 0, 0, 1 - mark / 1000]
        critiques = [{"perception": str(mark)} if critique else None for mark in marks]
        return Assessment(probabilities, np.ones(len(marks)), critiques, ["ok"] * len(marks))


def images(num):
    return np.arange(num, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


def marks(outcomes):
    """The pixel that each outcome was made from, or the class of its reject."""
    return [o.reject_class if isinstance(o, Reject) else round(o[0].probabilities[o[1], 0] * 1000) for o in outcomes]


@pytest.mark.parametrize("num", [1, 2, 7, 64])
@pytest.mark.parametrize("place", [0, -1], ids=["first", "last"])
def test_one_poison_image_is_rejected_alone_in_few_calls(num, place):
    poison = range(num)[place]
    engine = FakeEngine(poison=[poison])
    outcomes = marks(assess_each(engine, images(num), critique=False))
    assert outcomes == [RejectClass.POISON if i == poison else i for i in range(num)]
    assert len(engine.batches) <= 1 + 2 * math.ceil(math.log2(num))


def test_a_batch_without_poison_is_one_call():
    engine = FakeEngine()
    assert marks(assess_each(engine, images(33), critique=False)) == list(range(33))
    assert len(engine.batches) == 1


def test_an_empty_batch_does_not_reach_the_engine():
    engine = FakeEngine(poison=[0])
    assert assess_each(engine, images(0), critique=False) == [] and engine.batches == []


def test_every_image_may_be_poison():
    engine = FakeEngine(poison=range(16))
    assert marks(assess_each(engine, images(16), critique=False)) == [RejectClass.POISON] * 16
    assert len(engine.batches) == 2 * 16 - 1


def test_the_message_says_what_the_engine_said_on_one_short_line():
    outcome = assess_each(FakeEngine(poison=[0], error=ValueError("line one\n  line two " + "x" * 1000)), images(1), critique=False)[0]
    assert outcome.message.startswith("the engine fails on this artwork alone: ValueError: line one line two x")
    assert "\n" not in outcome.message and len(outcome.message) < 400


def test_rows_that_are_not_finite_are_bad_scores_and_cost_no_further_call():
    engine = FakeEngine(nan=[1, 4])
    outcomes = marks(assess_each(engine, images(6), critique=False))
    assert outcomes == [0, RejectClass.BAD_SCORES, 2, 3, RejectClass.BAD_SCORES, 5]
    assert len(engine.batches) == 1


def test_a_mass_that_is_not_finite_is_a_bad_score():
    class NoMass(FakeEngine):
        def assess(self, pixels, critique=False):
            assessment = super().assess(pixels, critique)
            assessment.open_set_mass[1] = np.inf
            return assessment

    assert marks(assess_each(NoMass(), images(3), critique=False)) == [0, RejectClass.BAD_SCORES, 2]


def test_poison_and_bad_scores_in_one_batch_keep_their_places_and_critiques():
    outcomes = assess_each(FakeEngine(poison=[2, 9], nan=[4]), images(12), critique=True)
    assert marks(outcomes) == [{2: RejectClass.POISON, 9: RejectClass.POISON, 4: RejectClass.BAD_SCORES}.get(i, i) for i in range(12)]
    for i, outcome in enumerate(outcomes):
        if not isinstance(outcome, Reject):
            assert outcome[0].critiques[outcome[1]] == {"perception": str(i)}


@pytest.mark.parametrize("column", range(5))
@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_one_probability_that_is_not_finite_makes_a_bad_score(column, odd):
    class OneOdd(FakeEngine):
        def assess(self, pixels, critique=False):
            assessment = super().assess(pixels, critique)
            assessment.probabilities[1, column] = odd
            return assessment

    assert marks(assess_each(OneOdd(), images(3), critique=False)) == [0, RejectClass.BAD_SCORES, 2]


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), IndexError("odd"), ZeroDivisionError("odd"), FloatingPointError("odd"), OverflowError("odd"), MemoryError()],
)
def test_whatever_a_forward_pass_raises_costs_one_artwork(error):
    assert marks(assess_each(FakeEngine(poison=[1], error=error), images(4), critique=False)) == [0, RejectClass.POISON, 2, 3]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")])
def test_a_batch_that_does_not_fit_in_memory_is_scored_in_smaller_ones(error):
    engine = FakeEngine(error=error, max_batch=3)
    assert marks(assess_each(engine, images(8), critique=False)) == list(range(8))
    assert max(map(len, engine.batches[-2:])) <= 3


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        torch.AcceleratorError("CUDA error: out of memory"),
        MemoryError(),
    ],
)
def test_a_worker_whose_memory_was_full_stays_with_smaller_batches(error):
    engine, limit = FakeEngine(error=error, max_batch=6), BatchLimit()
    for number in range(3):
        engine.batches.clear()
        assert marks(assess_each(engine, images(32), critique=False, limit=limit)) == list(range(32))
        sizes = list(map(len, engine.batches))
        assert sizes == ([32, 16, 8] if number == 0 else []) + [4] * 8
    assert (limit.size, limit.num_shrunk) == (4, 3)


def test_a_failure_of_another_kind_makes_no_batch_smaller():
    engine, limit = FakeEngine(poison=[3]), BatchLimit()
    assert marks(assess_each(engine, images(8), critique=False, limit=limit))[3] is RejectClass.POISON
    assert limit.size is None and limit.num_shrunk == 0


def test_one_image_that_does_not_fit_is_a_reject_and_lowers_nothing():
    engine, limit = FakeEngine(poison=[0], error=torch.OutOfMemoryError("CUDA out of memory")), BatchLimit()
    assert marks(assess_each(engine, images(1), critique=False, limit=limit)) == [RejectClass.POISON]
    assert limit.size is None


def test_the_memory_of_a_failed_batch_is_free_before_its_halves_run():
    held = []

    class Hungry(FakeEngine):
        def assess(self, pixels, critique=False):
            assert not [buffer for buffer in held if buffer() is not None], "the failed batch is still in memory"
            activations = np.zeros(1000)
            held.append(weakref.ref(activations))
            if len(pixels) > 1:
                raise RuntimeError("out of memory")
            return super().assess(pixels, critique)

    assert marks(assess_each(Hungry(), images(4), critique=False)) == [0, 1, 2, 3]
    assert len(held) == 6, "what did not fit is tried once: 4, 2, and then one by one"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("our own bug"), AttributeError("our own bug"), KeyError("our own bug")])
def test_what_no_image_can_cause_is_raised_at_once(error):
    engine = FakeEngine(poison=[1], error=error)
    with pytest.raises(type(error)):
        assess_each(engine, images(4), critique=False)
    assert len(engine.batches) == 1


def test_a_lost_device_ends_the_process_and_rejects_no_image():
    engine = FakeEngine(poison=[1], error=torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(SystemExit, match="the device is lost") as ended:
        assess_each(engine, images(4), critique=False)
    assert ended.value.code != 0 and len(engine.batches) == 1


def test_a_device_whose_memory_is_full_is_not_lost():
    engine = FakeEngine(error=torch.AcceleratorError("CUDA error: out of memory"), max_batch=2)
    assert marks(assess_each(engine, images(4), critique=False)) == [0, 1, 2, 3]
