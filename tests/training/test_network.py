"""What learns, and from which weights it starts."""

import pytest
import torch

from artquant.config import LoraSpec
from artquant.training.network import make_network


def adapters(network) -> list:
    return [module for module in network.model.modules() if hasattr(module, "lora_A")]


def test_an_adapters_update_has_the_rank_the_scale_and_the_dropout_that_are_set(make_task, parent):
    network = make_network(make_task(lora=LoraSpec(rank=4, alpha=12, dropout=0.25)).spec, parent, [])
    assert adapters(network)
    for module in adapters(network):
        assert module.lora_A["default"].weight.shape[0] == 4 == module.lora_B["default"].weight.shape[1]
        assert module.scaling["default"] == 3.0 and module.lora_dropout["default"].p == 0.25
    assert adapters(make_network(make_task(lora=LoraSpec(rank=0)).spec, parent, [])) == []


def test_weights_from_nothing_follow_the_seed(make_task):
    def weights(seed: int) -> torch.Tensor:
        task = make_task(from_nothing=True, seed=seed)
        return make_network(task.spec, None, task.train.to_pylist()).model.lm_head.weight

    assert torch.equal(weights(1), weights(1)) and not torch.equal(weights(1), weights(2))


@pytest.mark.parametrize("from_nothing", [True, False])
def test_the_levels_stand_for_the_values_of_the_annotations(make_task, from_nothing):
    task = make_task(from_nothing=from_nothing)
    levels = task.spec.annotations.model_copy(update={"level_values": (5.0, 4.0, 3.0, 2.0, 1.0)})
    network = make_network(task.spec.model_copy(update={"annotations": levels}), task.checkpoint, task.train.to_pylist())
    assert network.prompts.scale.values == (5.0, 4.0, 3.0, 2.0, 1.0)
