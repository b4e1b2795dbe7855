"""The training losses, held against sums written out token by token."""

import math

import pytest
import torch
from scipy.stats import norm

from artquant.training.losses import IGNORE, RANK_FLOOR, Answers, answers, loss_sums, rank_loss_sum

LEVEL_IDS = torch.tensor([7, 2, 5, 0, 3])
# A score sample whose level is its first answer token, a description, and an artwork without a picture, which teaches nothing.
LABELS = torch.tensor([[IGNORE, IGNORE, 5, 1, IGNORE], [IGNORE, 4, 6, 1, 8], [IGNORE] * 5])
LEVEL_POSITIONS = torch.tensor([2, -1, -1])
NO_VERDICTS = torch.full((3,), -1)


def test_answers_are_read_one_place_before_their_tokens_in_the_order_of_the_sequences() -> None:
    at = answers(LABELS, LEVEL_POSITIONS, NO_VERDICTS)
    assert at.rows.tolist() == [0, 0, 1, 1, 1, 1] and at.places.tolist() == [1, 2, 0, 1, 2, 3]
    assert at.tokens.tolist() == [5, 1, 4, 6, 1, 8]
    assert at.is_score.tolist() == [True, True, False, False, False, False]
    assert at.is_level.tolist() == [True, False, False, False, False, False]


def test_a_score_samples_level_may_stand_first_of_all_and_later() -> None:
    labels = torch.tensor([[IGNORE, 5, 1], [IGNORE, 9, 5]])
    at = answers(labels, torch.tensor([1, 2]), torch.tensor([-1, -1]))
    assert at.is_score.all() and at.is_level.tolist() == [True, False, False, True]


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()


def test_each_loss_is_the_sum_over_its_own_tokens(logits: torch.Tensor) -> None:
    at, target = answers(LABELS, LEVEL_POSITIONS, NO_VERDICTS), [0.1, 0.2, 0.4, 0.3, 0.0]
    sums = loss_sums(logits, at, torch.tensor([target]), LEVEL_IDS)
    chances = [[math.exp(value) / sum(map(math.exp, row)) for value in row] for row in logits.tolist()]
    nll = [-math.log(row[token]) for row, token in zip(chances, at.tokens.tolist(), strict=True)]
    level = sum(p * math.log(p / chances[0][i]) for p, i in zip(target, LEVEL_IDS.tolist(), strict=True) if p)
    expected = {"description": sum(nll[2:]), "verdict": 0.0, "answer": nll[1], "level": level}
    assert {name: value.item() for name, value in sums.items()} == pytest.approx(expected, rel=1e-5)


def test_a_verdict_is_counted_for_itself(logits: torch.Tensor) -> None:
    plain = loss_sums(logits, answers(LABELS, LEVEL_POSITIONS, NO_VERDICTS), torch.full((1, 5), 0.2), LEVEL_IDS)
    at = answers(LABELS, LEVEL_POSITIONS, torch.tensor([-1, 1, -1]))
    assert at.is_verdict.tolist() == [False, False, True, False, False, False]
    judged = loss_sums(logits, at, torch.full((1, 5), 0.2), LEVEL_IDS)
    nll = -logits[2].log_softmax(-1)[4]
    assert judged["verdict"].item() == pytest.approx(nll.item(), rel=1e-5)
    assert judged["description"].item() == pytest.approx((plain["description"] - nll).item(), rel=1e-5)
    assert (judged["answer"], judged["level"]) == (plain["answer"], plain["level"])


def test_half_precision_is_summed_in_float32(logits: torch.Tensor) -> None:
    at, targets = answers(LABELS, LEVEL_POSITIONS, NO_VERDICTS), torch.full((1, 5), 0.2)
    half, whole = (loss_sums(given, at, targets.to(given.dtype), LEVEL_IDS) for given in (logits.bfloat16(), logits.bfloat16().float()))
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert {name: half[name].item() for name in half} == pytest.approx({name: whole[name].item() for name in whole}, abs=1e-2)


@pytest.mark.parametrize("labels", [LABELS[2:], LABELS[1:2]], ids=["nothing at all", "a description alone"])
def test_a_task_of_which_a_batch_holds_nothing_is_zero_with_a_gradient(labels: torch.Tensor) -> None:
    at: Answers = answers(labels, torch.tensor([-1]), torch.tensor([-1]))
    logits = torch.ones(len(at.rows), 9, requires_grad=True)
    sums = loss_sums(logits, at, torch.zeros(0, 5), LEVEL_IDS)
    assert (sums["answer"].item(), sums["level"].item()) == (0.0, 0.0) and (sums["description"].item() > 0) == bool(len(at.rows))
    for value in sums.values():
        value.backward(retain_graph=True)  # every worker must have the same parts
    assert logits.grad is not None


VALUES = torch.tensor([10.0, 7.5, 5.0, 3.5, 1.0])


def ranks(logits: torch.Tensor, targets: torch.Tensor) -> float:
    return float(rank_loss_sum(logits, targets, VALUES))


def test_the_rank_loss_is_zero_for_the_targets_and_grows_when_two_artworks_change_places():
    targets = torch.tensor([[0.7, 0.2, 0.1, 0, 0], [0.1, 0.2, 0.4, 0.2, 0.1], [0, 0, 0.1, 0.3, 0.6]]) + 1e-6
    right = targets.log()
    assert ranks(right, targets) == pytest.approx(0, abs=1e-4)
    assert ranks(right[[1, 0, 2]], targets) > 0.2 and ranks(right[[2, 1, 0]], targets) > ranks(right[[1, 0, 2]], targets)


def test_the_rank_loss_is_the_fidelity_of_thurstones_probabilities_over_all_pairs():
    logits, targets = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    targets = targets.softmax(-1)
    p = [logits.softmax(-1).double().numpy(), targets.double().numpy()]
    total, floor = 0.0, (RANK_FLOOR * 2.25) ** 2
    for i in range(4):
        for j in range(i + 1, 4):
            liked = []
            for q in p:
                means = q @ VALUES.double().numpy()
                variances = [(q[k] * (VALUES.numpy() - means[k]) ** 2).sum() + floor for k in (i, j)]
                liked.append(norm.cdf((means[i] - means[j]) / sum(variances) ** 0.5))
            total += 1 - (liked[0] * liked[1]) ** 0.5 - ((1 - liked[0]) * (1 - liked[1])) ** 0.5
    assert ranks(logits, targets) == pytest.approx(total, abs=1e-5)


def test_the_rank_loss_moves_two_artworks_apart_the_right_way_from_any_start():
    logits = torch.zeros(2, 5, requires_grad=True)
    rank_loss_sum(logits, torch.eye(5)[[0, 4]], VALUES).backward()
    assert logits.grad is not None and logits.grad[0, 0] < 0 < logits.grad[0, 4] and logits.grad[1, 4] < 0 < logits.grad[1, 0]
    alone = torch.zeros(1, 5, requires_grad=True)
    rank_loss_sum(alone, torch.eye(5)[:1], VALUES).backward()
    assert alone.grad is not None and not alone.grad.any()
