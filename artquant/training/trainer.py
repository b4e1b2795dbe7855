"""The loop on Ray Train: any number of workers, on CPUs (gloo) or GPUs (nccl); a worker that dies is started again and goes on."""

import os
import tempfile
from typing import Any

import psutil
import ray
import ray.train
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.torch.config import _TorchBackend

from artquant.core.errors import RunFailed, root_cause
from artquant.progress.training import show_training, start_monitor
from artquant.training import loop
from artquant.training.data import Task


def fit(task: Task) -> None:
    """Train, leaving the run's state and its best weights in the store. Raises RunFailed with the workers' last words."""
    spec = task.spec.fit
    resources = {"CPU": spec.num_cpus} | ({"GPU": spec.num_gpus} if spec.num_gpus else {})
    monitor = start_monitor()
    with tempfile.TemporaryDirectory(prefix="artquant-train-") as folder:  # Ray's own records of the run; the checkpoints are ours
        trainer = TorchTrainer(
            train_loop_per_worker=_work,
            torch_config=_OwnNetwork(),
            train_loop_config={"task": ray.put(Task(**{**vars(task), "monitor": monitor}))},
            scaling_config=ScalingConfig(num_workers=spec.num_workers, use_gpu=spec.num_gpus > 0, resources_per_worker=resources),
            run_config=RunConfig(name=task.run_id, storage_path=folder, failure_config=FailureConfig(max_failures=spec.max_failures)),
        )
        with show_training(monitor):
            try:
                trainer.fit()
            except Exception as error:  # Ray Train wraps whatever a worker raised
                raise RunFailed(f"Training failed: {root_cause(error)}") from error
    if why := ray.get(monitor.aborted.remote()):
        raise RunFailed(why)


class _OwnNetworkBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        worker_group.execute(_name_interface)
        super().on_start(worker_group, backend_config)


class _OwnNetwork(TorchConfig):
    """Torch's process group over the network that Ray uses. Gloo alone takes the address of the host's name, which on many a host is its
    loopback, where no other host finds it."""

    @property
    def backend_cls(self) -> type:
        return _OwnNetworkBackend


def _name_interface() -> None:
    address = ray.util.get_node_ip_address()
    for name, addresses in psutil.net_if_addrs().items():
        if any(one.address == address for one in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def _work(config: dict[str, Any]) -> None:
    task: Task = ray.get(config["task"])
    context = ray.train.get_context()
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    try:
        if task.spec.fit.num_gpus and device.type == "cpu":
            unseen = f"A worker was given a GPU that torch {torch.__version__} does not see"
            raise RunFailed(f"{unseen}: install a torch that is built for it, or set fit.num_gpus=0.")
        loop.run(task, context.get_world_rank(), context.get_world_size(), device)
    except RunFailed as error:
        # Would come again at every restart. A memory that did not suffice may be one worker's alone: the others wait for it.
        if isinstance(error.__cause__, torch.OutOfMemoryError) and context.get_world_size() > 1:
            raise
        assert task.monitor
        ray.get(task.monitor.abort.remote(str(error)))
