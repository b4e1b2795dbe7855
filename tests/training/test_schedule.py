"""The learning rate of a step, and which parameters decay and learn at which rate."""

import pytest
import torch
from torch import nn

from artquant.config import FitSpec
from artquant.training.schedule import HEADS_LR_MULTIPLIER, learning_rate, optimizer_of


def rates(num_steps: int, warmup_ratio: float, warmup_steps: int = 0) -> list[float]:
    return [learning_rate(step, warmup_steps, num_steps, 1.0, warmup_ratio) for step in range(num_steps)]


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine_to_nothing():
    found = rates(100, 0.2)
    assert found[:20] == pytest.approx([(step + 1) / 21 for step in range(20)])
    assert found[20] == 1.0 == max(found) and found[60] == pytest.approx(0.5) and found[40] == pytest.approx((1 + 0.5**0.5) / 2)
    assert 0 < found[99] < 0.001 and found[20:] == sorted(found[20:], reverse=True)


def test_without_a_warm_up_the_first_step_is_the_highest():
    assert rates(10, 0.0)[0] == 1.0


def test_the_peak_scales_every_rate():
    assert learning_rate(7, 0, 20, 3e-4, 0.1) == pytest.approx(3e-4 * learning_rate(7, 0, 20, 1.0, 0.1))


def test_the_vision_warm_up_has_a_rise_of_its_own_and_ends_at_half():
    found = rates(60, 0.1, warmup_steps=40)
    assert found[:4] == pytest.approx([(step + 1) / 5 for step in range(4)]) and found[4] == 1.0
    assert 0.5 < found[39] < 0.6 and rates(60, 0.0, warmup_steps=40)[39] == pytest.approx(0.5, abs=0.03)
    assert found[40] == pytest.approx(1 / 3) and found[42] == 1.0 and found[59] < 0.02


class Learner(nn.Module):
    def __init__(self, with_heads: bool):
        super().__init__()
        self.body, self.frozen = nn.Linear(3, 2), nn.Linear(2, 2).requires_grad_(False)
        self.vision_warmup = nn.Linear(2, 5) if with_heads else None


@pytest.mark.parametrize("with_heads", [True, False])
def test_only_matrices_decay_and_throw_away_heads_learn_faster(with_heads: bool):
    learner = Learner(with_heads)
    optimizer = optimizer_of(learner, FitSpec(weight_decay=0.25, beta2=0.9, learning_rate=0.01))
    body, heads = learner.body, learner.vision_warmup
    expected = [([body.weight], 0.25, 1.0), ([body.bias], 0.0, 1.0)]
    expected += [(list(heads.parameters()), 0.0, HEADS_LR_MULTIPLIER)] if heads else []
    found = [(list(map(id, group["params"])), group["weight_decay"], group["lr_multiplier"]) for group in optimizer.param_groups]
    assert found == [(list(map(id, parameters)), decay, rate) for parameters, decay, rate in expected]
    assert {(group["lr"], group["betas"]) for group in optimizer.param_groups} == {(0.01, (0.9, 0.9))}
    states = [optimizer.state[parameter] for parameters, _, _ in expected for parameter in parameters]
    assert all(state.keys() == {"step", "exp_avg", "exp_avg_sq"} and not any(map(torch.any, state.values())) for state in states)


def test_a_weight_that_gets_no_gradient_shrinks_by_its_decay_alone():
    learner = Learner(False)
    optimizer = optimizer_of(learner, FitSpec(weight_decay=0.5, learning_rate=0.1))
    before = learner.body.weight.detach().clone()
    learner.body.weight.grad, learner.body.bias.grad = torch.zeros(2, 3), torch.zeros(2)
    bias = learner.body.bias.detach().clone()
    optimizer.step()
    assert torch.allclose(learner.body.weight, before * 0.95) and torch.equal(learner.body.bias, bias)
