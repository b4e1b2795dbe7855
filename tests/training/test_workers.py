"""Two workers learn what one learns from the same rows, under DDP and FSDP; also where one of them has nothing of a task."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist

from artquant.config import LoraSpec
from artquant.model.checkpoint import Checkpoint
from artquant.storage.store import open_store
from artquant.training import loop
from artquant.training.data import Task
from artquant.training.network import make_network
from artquant.training.order import step_rows
from artquant.training.state import RunState


class BrokenOff(Exception):
    pass


def work(rank: int, world_size: int, port: int, task: Task, breaks_at: int | None = None) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world_size)
    step = loop.Worker._step

    def breaking(worker: loop.Worker, number: int, *given):
        if number == breaks_at:
            raise BrokenOff
        return step(worker, number, *given)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(BrokenOff):
        patch.setattr(loop.Worker, "_step", breaking)
        learn(task, rank, world_size)
    dist.destroy_process_group()


def learn(task: Task, rank: int = 0, world_size: int = 1) -> None:
    """Runs the task, and leaves the norms of its steps' gradients in `norms.json`."""
    norms, clip = [], torch.nn.utils.clip_grad_norm_

    def noted(*given):
        norm = clip(*given)
        norms.append(float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
        return norm

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", noted)
        loop.run(task, rank, world_size, torch.device("cpu"))
    if rank == 0:
        RunState(open_store(task.output_uri), task.run_id).store.put("norms.json", json.dumps(norms).encode())


def norms_of(task: Task) -> list[float]:
    return json.loads(RunState(open_store(task.output_uri), task.run_id).store.get("norms.json"))


@pytest.fixture(scope="module")
def workers() -> Iterator[list[ProcessPoolExecutor]]:
    """Two processes, which import torch once for all tests."""
    pools = [ProcessPoolExecutor(1, mp_context=get_context("spawn")) for _ in range(2)]
    yield pools
    for pool in pools:
        pool.shutdown()


def learn_together(task: Task, workers: list[ProcessPoolExecutor], breaks_at: int | None = None) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for answer in [pool.submit(work, rank, len(workers), port, task, breaks_at) for rank, pool in enumerate(workers)]:
        answer.result(180)


def weights_of(task: Task) -> dict[str, torch.Tensor]:
    state = RunState(open_store(task.output_uri), task.run_id)
    history = state.history()
    assert history.is_finished
    if task.spec.fit.strategy == "ddp":
        return state.load(history.last_step)["model"]
    one, two = (state.load(history.last_step, f"worker-{rank:05d}-of-00002")["model"] for rank in range(2))
    whole = make_network(task.spec, task.checkpoint, task.train.to_pylist()).model.state_dict()
    sizes = {name: len(whole[name.removeprefix("model.")]) for name in one if name.removeprefix("model.") in whole}
    assert all(len(one[name]) == -(-size // 2) and len(two[name]) == size // 2 for name, size in sizes.items()) and len(sizes) > 50
    return {name: torch.cat([one[name], two[name]]) for name in one}


def half_without_texts(task: Task) -> pa.Table:
    """With one artwork a pass, a worker often has no description at all."""
    table = task.train
    for part in ("perception", "cognition", "emotion"):
        texts = [None if i % 2 else text for i, text in enumerate(table.column(part).to_pylist())]
        table = table.set_column(table.schema.get_field_index(part), part, pa.array(texts, pa.string()))
    return table


@pytest.mark.parametrize(("lora", "strategies"), [(0, ("ddp", "fsdp")), (4, ("ddp",))])
def test_two_workers_learn_what_one_learns_from_the_same_rows(strategies, lora, make_task, workers):
    def task(name: str, **fit) -> Task:
        shared = {"steps": 3, "batch_size": 1, "learning_rate": 1e-4, "checkpoint_interval": 3, "lora": LoraSpec(rank=lora, dropout=0.0)}
        made = make_task(name, **shared, **fit)
        return replace(made, train=half_without_texts(made))

    learn(alone := task("alone", gradient_accumulation_steps=2))
    for strategy in strategies:
        both = task(strategy, gradient_accumulation_steps=1, num_workers=2, strategy=strategy)
        learn_together(both, workers)
        assert_learnt_alike(both, alone)


def test_workers_that_each_kept_their_shards_go_on_as_if_unbroken(make_task, workers):
    fit = {"steps": 4, "batch_size": 1, "checkpoint_interval": 2, "num_workers": 2, "strategy": "fsdp"}
    learn_together(unbroken := make_task("unbroken", **fit), workers)
    broken = make_task("broken", **fit)
    learn_together(broken, workers, breaks_at=3)
    state = RunState(open_store(broken.output_uri), broken.run_id)
    assert state.history().last_step == 2 and not state.history().is_finished
    learn_together(broken, workers)
    one, two = weights_of(unbroken), weights_of(broken)
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    kept = {info.key for info in state.store.list() if info.key.endswith(".pt")}
    steps = {state.history().best_step, 4}
    assert kept == {f"step-{step:08d}/worker-{rank:05d}-of-00002.pt" for step in steps for rank in range(2)}


def assert_learnt_alike(both: Task, alone: Task) -> None:
    one, two = weights_of(alone), weights_of(both)
    assert one.keys() == two.keys()
    assert norms_of(both) == pytest.approx(norms_of(alone), rel=1e-3) and len(norms_of(both)) == 3  # Adam does not see their length
    # Adam's first steps are the gradient's sign: where that is zero but for rounding, workers may differ by two steps.
    differing = np.mean([(one[name] - two[name]).abs().gt(2e-5).float().mean().item() for name in one])
    assert differing < 0.01
    model = Checkpoint.open(f"{both.output_uri}/training/{both.run_id}/model").load_model(torch.float32)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_every_row_is_seen_once_an_epoch_whatever_the_workers():
    alone = [step_rows(12, 7, step, 2, 3, 1).ravel() for step in range(4)]
    spread = [step_rows(12, 7, step, 2, 1, 3).ravel() for step in range(4)]
    assert np.array_equal(alone, spread)
    assert sorted(np.concatenate(alone[:2])) == list(range(12)) == sorted(np.concatenate(alone[2:]))
    assert not np.array_equal(alone[:2], alone[2:])
    assert np.array_equal(step_rows(5, 0, 3, 2, 1, 1).ravel(), np.concatenate([step_rows(5, 0, 0, 10, 1, 1).ravel()[6:8]]))
