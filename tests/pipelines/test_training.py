"""Training on real Ray Train and real S3: pictures streamed in order, a worker that dies, the same weights in the end."""

import secrets
import threading
import time
from dataclasses import replace

import psutil
import pytest
import torch

from artquant.config import FetchSpec, FitSpec, LossSpec, TrainSpec
from artquant.core.errors import RunFailed
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import jpeg, paint
from artquant.pipelines.feed import PictureFeed
from artquant.storage.store import Store
from artquant.training import loop
from artquant.training.data import Task
from artquant.training.state import RunState
from artquant.training.trainer import fit
from tests.processes import command_of
from tests.training.conftest import SEEDS, annotations


@pytest.fixture(scope="module")
def gallery(s3_store: Store) -> Store:
    folder = s3_store.child(f"gallery-{secrets.token_hex(6)}")
    for seed in SEEDS:
        folder.put(f"{seed}.jpg", jpeg(paint(seed), 96, quality=85))
    return folder


@pytest.fixture
def task(gallery, checkpoint, s3_store, local_ray) -> Task:
    spec = TrainSpec(
        loss=LossSpec(score=1.0),
        fetch=FetchSpec(threads=4),
        fit=FitSpec(
            steps=60,
            batch_size=2,
            gradient_accumulation_steps=1,
            learning_rate=1e-3,
            checkpoint_interval=10,
            dtype="float32",
            max_failures=2,
            num_cpus=0.5,
        ),
    )
    table = annotations(SEEDS)
    output = s3_store.child(f"training-{secrets.token_hex(6)}").uri
    parent = Checkpoint.open(str(checkpoint))
    return Task(spec, "run", output, "d", table.slice(0, 24), table.slice(24), parent, PictureFeed(gallery.uri, spec.fetch, 60.0))


def state_of(task: Task) -> RunState:
    from artquant.storage.store import open_store

    return RunState(open_store(task.output_uri), task.run_id)


def weights_of(task: Task) -> dict[str, torch.Tensor]:
    state = state_of(task)
    history = state.history()
    assert history.is_finished and history.last_step == 60
    return state.load(60)["model"]


def test_a_worker_that_dies_is_replaced_and_the_weights_are_those_of_an_unbroken_run(task):
    """It streams its pictures, and the unbroken one, in this process, keeps them: also that changes nothing."""
    unbroken = replace(task, run_id="unbroken")
    loop.run(unbroken, 0, 1, torch.device("cpu"))
    task = replace(task, spec=task.spec.model_copy(update={"fit": task.spec.fit.model_copy(update={"keep_in_memory_mb": 0})}))
    killed = threading.Event()

    def kill() -> None:
        while not killed.is_set():
            if (state_of(task).history().last_step or 0) >= 20:
                workers = [p for p in psutil.Process().children(recursive=True) if "RayTrainWorker" in command_of(p)]  # of this cluster
                for worker in workers:
                    worker.kill()
                    killed.set()
            time.sleep(0.05)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    fit(task)
    assert killed.is_set(), "the run was over before its worker could be killed"
    thread.join()
    expected, weights = weights_of(unbroken), weights_of(task)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert [point["step"] for point in state_of(task).history().curve] == [10, 20, 30, 40, 50, 60]
    assert Checkpoint.open(state_of(task).store.uri_of("model")).prompts == task.checkpoint.prompts


def test_a_loss_that_is_no_number_ends_the_run_at_once(task):
    """Not after max_failures restarts, each of which would come to the same."""
    hasty = task.spec.fit.model_copy(update={"learning_rate": 1e18, "max_grad_norm": 1e30})
    with pytest.raises(RunFailed, match=r"^The loss was no finite number in 5 steps up to step \d+: lower fit.learning_rate"):
        fit(replace(task, run_id="hasty", spec=task.spec.model_copy(update={"fit": hasty})))
