"""The training loop without a cluster: what it learns, that it goes on where it was broken off, and what it does with trouble."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from artquant.config import LoraSpec, LossSpec
from artquant.core.errors import RunFailed
from artquant.model.checkpoint import Checkpoint
from artquant.storage.store import open_store
from artquant.training import loop
from artquant.training.data import Task
from artquant.training.state import History, RunState
from tests.training.steps import UNCLIPPED, assert_close, gradients

CPU = torch.device("cpu")


def state_of(task: Task) -> RunState:
    return RunState(open_store(task.output_uri), task.run_id)


def trained(task: Task) -> tuple[History, dict[str, torch.Tensor]]:
    """Its history and its last weights."""
    loop.run(task, 0, 1, CPU)
    state = state_of(task)
    history = state.history()
    assert history.is_finished and history.last_step is not None
    return history, state.load(history.last_step)["model"]


class Killed(BaseException):
    """As sudden as a lost power supply: nothing of the run catches it."""


def broken_off(task: Task, step: int, monkeypatch) -> None:
    """Runs the task up to a step and kills it there."""
    original = loop.Worker._step

    def dying(worker, number, *args):
        if number == step:
            raise Killed
        return original(worker, number, *args)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(loop.Worker, "_step", dying)
        loop.run(task, 0, 1, CPU)


def test_losses_fall_and_the_best_weights_can_be_loaded(make_task):
    task = make_task(steps=30, checkpoint_interval=10)
    history, _ = trained(task)
    first, last = history.curve[0]["losses"], history.curve[-1]["losses"]
    assert last["description"] < 0.8 * first["description"]
    assert last["score"] < 0.8 * first["score"]
    assert [record["step"] for record in history.validations] == [10, 20, 30]
    model = Checkpoint.open(f"{task.output_uri}/training/run/model")
    assert model.load_processor().level_token_ids(model.prompts.score)
    assert model.load_model(torch.float32).config.model_type == "mplug_owl2"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_run_that_was_killed_ends_with_the_weights_of_an_unbroken_one(step, make_task, monkeypatch):
    unbroken, expected = trained(make_task("unbroken", lora=LoraSpec(rank=4, dropout=0.2)))
    task = make_task("broken", lora=LoraSpec(rank=4, dropout=0.2))
    broken_off(task, step, monkeypatch)
    history, weights = trained(task)
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [point["losses"] for point in history.curve] == [point["losses"] for point in unbroken.curve]


def test_a_network_from_nothing_first_learns_to_see_and_goes_on_too(make_task, monkeypatch):
    unbroken, expected = trained(make_task("unbroken", from_nothing=True, warmup_steps=2, steps=2))
    assert set(unbroken.curve[0]["losses"]) == {"vision_warmup"}
    assert set(unbroken.curve[1]["losses"]) == {"vision_warmup", "description", "score"}
    task = make_task("broken", from_nothing=True, warmup_steps=2, steps=2)
    broken_off(task, 3, monkeypatch)
    _, weights = trained(task)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_streamed_pictures_teach_what_kept_ones_do(make_task):
    _, kept = trained(make_task("kept"))
    _, streamed = trained(make_task("streamed", keep_in_memory_mb=0))
    assert all(torch.equal(streamed[name], kept[name]) for name in kept)


def test_accumulation_changes_no_gradient(make_task):
    once = gradients(make_task("once", batch_size=6, gradient_accumulation_steps=1, **UNCLIPPED))
    twice = gradients(make_task("twice", batch_size=3, gradient_accumulation_steps=2, **UNCLIPPED))
    assert_close(twice, once)


def test_lora_leaves_the_language_model_as_it_was(make_task, parent):
    task = make_task(lora=LoraSpec(rank=4))
    _, weights = trained(task)
    assert any("q_proj.lora_A" in name for name in weights) and any("v_proj.multiway.1.lora_B" in name for name in weights)
    assert not any("mlp.gate_proj" in name or "multiway.0" in name for name in weights)
    before = parent.load_model(torch.float32).state_dict()
    after = Checkpoint.open(f"{task.output_uri}/training/run/model").load_model(torch.float32).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert "model.layers.0.self_attn.q_proj.weight" in changed
    assert "model.vision_model.embeddings.patch_embed.weight" in changed
    assert not any("mlp" in name and "layers" in name and "vision" not in name and "abstractor" not in name for name in changed)


def test_an_artwork_that_vanished_teaches_nothing_and_is_counted(make_task):
    task = make_task(steps=8, checkpoint_interval=8)
    ids = task.train.column("artwork_id").to_pylist()
    gone = task.train.set_column(0, "artwork_id", pa.array(["gone.jpg", *ids[1:]]))
    history, _ = trained(replace(task, train=gone))
    assert history.num_vanished == 1


def test_texts_are_not_needed_and_scores_are_not_either(make_task):
    task = make_task("scores", loss=LossSpec(score=1.0, parts=()))
    history, _ = trained(task)
    assert history.curve[0]["losses"]["description"] == 0 and history.curve[0]["losses"]["score"] > 0
    task = make_task("mixed", batch_size=1)
    half = [score if i % 2 else None for i, score in enumerate(task.train.column("score").to_pylist())]
    index = task.train.schema.get_field_index("score")
    history, _ = trained(replace(task, train=task.train.set_column(index, "score", pa.array(half, pa.float64()))))
    assert history.curve[0]["losses"]["score"] > 0


def test_a_loss_that_is_no_number_ends_the_run_with_what_to_do(make_task):
    with pytest.raises(RunFailed, match=r"no finite number in 5 steps.*lower fit.learning_rate"):
        trained(make_task(steps=40, learning_rate=1e18, max_grad_norm=1e30))


def test_a_run_of_that_name_with_other_data_is_refused(make_task):
    task = make_task()
    trained(task)
    with pytest.raises(RunFailed, match="begun with other data or settings"):
        loop.run(replace(task, digest="another"), 0, 1, CPU)


def test_only_the_best_and_the_last_checkpoint_are_kept(make_task):
    task = make_task(steps=8, checkpoint_interval=1)
    history, _ = trained(task)
    kept = {info.key for info in state_of(task).store.list() if info.key.endswith(".pt")}
    assert kept == {f"step-{step:08d}.pt" for step in {history.best_step, 8}}
    assert Path(task.output_uri).is_dir()


def test_a_memory_that_does_not_suffice_is_named(make_task, monkeypatch):
    def too_much(*args):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.Worker, "_step", too_much)
    with pytest.raises(RunFailed, match=r"Out of memory on cpu with fit.batch_size=3: lower it and raise fit.gradient_accumulation_steps"):
        loop.run(make_task(), 0, 1, CPU)
