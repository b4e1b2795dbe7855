"""What vLLM is started with. It is not started, but its modules are imported, in another process: that changes torch for good."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from artquant.config import EngineSpec, VllmSpec
from artquant.model.checkpoint import Checkpoint
from tests.checkpoints import save_random_checkpoint
from tests.engines.vllm_worker import VllmWorker, needs_vllm

pytestmark = needs_vllm

ARGUMENTS = {  # setting -> (another value, vLLM's argument, what it becomes)
    "max_num_seqs": (7, "max_num_seqs", 7),
    "max_num_batched_tokens": (500, "max_num_batched_tokens", 500),
    "gpu_memory_utilization": (0.4, "gpu_memory_utilization", 0.4),
    "mm_processor_cache_gb": (2.5, "mm_processor_cache_gb", 2.5),
    "tensor_parallel_size": (2, "tensor_parallel_size", 2),
    "quantization": ("fp8", "quantization", "fp8"),
    "enforce_eager": (True, "enforce_eager", True),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return Checkpoint.open(str(save_random_checkpoint(tmp_path_factory.mktemp("model") / "random")))


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[VllmWorker]:
    worker = VllmWorker()
    yield worker
    worker.close()


class Arguments:
    """`arguments(device, dtype, **vllm)`: what vLLM is started with."""

    def __init__(self, elsewhere: VllmWorker, checkpoint: Checkpoint):
        self.elsewhere, self.checkpoint = elsewhere, checkpoint

    def __call__(self, device: str = "cuda", dtype: str = "bfloat16", **vllm: Any) -> dict[str, Any]:
        spec = EngineSpec.model_validate({"name": "vllm", "device": device, "dtype": dtype, "vllm": vllm})
        return self.elsewhere.pool.submit(arguments_of, self.checkpoint, spec).result()


@pytest.fixture
def arguments(elsewhere: VllmWorker, checkpoint: Checkpoint) -> Arguments:
    return Arguments(elsewhere, checkpoint)


def arguments_of(checkpoint: Checkpoint, spec: EngineSpec) -> dict[str, Any]:
    from artquant.engines.vllm.engine import engine_arguments

    return engine_arguments(checkpoint, spec, 99)


def environment_of(spec: EngineSpec, given: dict[str, str]) -> dict[str, str]:
    """What a person's environment becomes."""
    from artquant.engines.vllm.engine import set_environment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", given)
        set_environment(spec)
    return given


def names_of_vllms_arguments() -> set[str]:
    from vllm import EngineArgs

    return {field.name for field in fields(EngineArgs)}


def test_every_setting_of_vllm_reaches_it(arguments: Arguments) -> None:
    plain = arguments()
    assert {*ARGUMENTS, "kv_cache_gb"} == set(VllmSpec.model_fields)
    for setting, (value, argument, expected) in ARGUMENTS.items():
        turned = arguments(**{setting: value})
        assert turned[argument] == expected != plain[argument], setting
        changed = {name for name in plain if turned[name] != plain[name]} - {"distributed_executor_backend"}
        assert changed == {argument}, setting
    assert arguments(dtype="float16")["dtype"] == "float16" and plain["max_model_len"] == 99
    assert arguments(tensor_parallel_size=2)["distributed_executor_backend"] != plain["distributed_executor_backend"]


def test_a_cpu_has_no_graphs_and_no_share_of_a_gpus_memory(arguments: Arguments) -> None:
    on_cpu = arguments(device="cpu", enforce_eager=False, gpu_memory_utilization=0.4)
    assert on_cpu["enforce_eager"] and "gpu_memory_utilization" not in on_cpu


def test_a_cpus_memory_for_keys_and_values_is_the_settings_unless_a_person_set_it(elsewhere: VllmWorker) -> None:
    spec = EngineSpec(name="vllm", device="cpu", num_workers=2, vllm=VllmSpec(kv_cache_gb=3))
    for given, expected in (({}, "3"), ({"VLLM_CPU_KVCACHE_SPACE": "5"}, "5")):
        found = elsewhere.pool.submit(environment_of, spec, given).result()
        assert found["VLLM_CPU_KVCACHE_SPACE"] == expected and found["VLLM_PLUGINS"] == "artquant"
        assert int(found["OMP_NUM_THREADS"]) == max(1, (os.cpu_count() or 1) // 2)


def test_the_arguments_are_vllms_own(arguments: Arguments, elsewhere: VllmWorker) -> None:
    known = elsewhere.pool.submit(names_of_vllms_arguments).result()
    assert set(arguments("cpu")) <= known and set(arguments("cuda")) <= known
