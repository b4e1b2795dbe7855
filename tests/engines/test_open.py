"""Which engine a spec gets, on which machine."""

import pytest

from artquant.config import EngineSpec, ScoreSpec, load_spec
from artquant.core.errors import UserError
from artquant.engines import open as opening
from artquant.engines.open import engine_label, precision_tag, resolve
from artquant.model.checkpoint import Checkpoint
from tests.checkpoints import save_random_checkpoint


@pytest.fixture(params=[True, False], ids=["vLLM is installed", "vLLM is not installed"])
def is_there(request, monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: object() if request.param else None)
    return request.param


def test_auto_is_vllm_only_where_it_is_and_a_gpu_too(is_there):
    cpu, gpu = resolve(EngineSpec()), resolve(EngineSpec(num_gpus=1))
    assert (cpu.name, cpu.device, cpu.dtype, cpu.batch_size) == ("torch", "cpu", "float32", 32)
    assert (gpu.device, gpu.dtype) == ("cuda", "bfloat16")
    assert (gpu.name, gpu.batch_size) == (("vllm", 128) if is_there else ("torch", 32))


def test_a_device_that_is_named_is_taken_though_there_is_another(is_there):
    on_cpu = resolve(EngineSpec(num_gpus=1, device="cpu"))
    assert (on_cpu.name, on_cpu.device, on_cpu.dtype) == ("torch", "cpu", "float32")
    assert resolve(EngineSpec(num_gpus=1, device="cuda")).device == "cuda"


def test_what_is_named_stays(is_there):
    named = EngineSpec(name="torch", num_gpus=1, dtype="float32", batch_size=7)
    assert resolve(named) == named.model_copy(update={"device": "cuda"})
    assert resolve(resolve(named)) == resolve(named)


def test_vllm_where_it_is_not_installed_is_refused(is_there):
    if is_there:
        assert engine_label(resolve(EngineSpec(name="vllm"))) == "vllm on cpu, float32"
    else:
        with pytest.raises(UserError, match="vLLM, which is not installed: type `make vllm`"):
            resolve(EngineSpec(name="vllm"))


def test_a_model_on_more_gpus_than_a_worker_has_is_refused(monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: object())
    spec = EngineSpec(name="vllm", num_gpus=1, vllm={"tensor_parallel_size": 2})
    with pytest.raises(UserError, match=r"tensor_parallel_size=2 needs engine\.num_gpus=2"):
        resolve(spec)
    assert resolve(spec.model_copy(update={"num_gpus": 2})).name == "vllm"


def test_other_backbones_have_the_torch_engine_alone(is_there):
    assert resolve(EngineSpec(num_gpus=1), is_mplug_owl2=False).name == "torch"
    with pytest.raises(UserError, match="knows mPLUG-Owl2 checkpoints only: take engine=torch"):
        resolve(EngineSpec(name="vllm"), is_mplug_owl2=False)


def test_quantisation_is_part_of_a_scores_identity(monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: object())
    plain = resolve(EngineSpec(name="vllm", num_gpus=1))
    quantised = resolve(EngineSpec(name="vllm", num_gpus=1, vllm={"quantization": "fp8"}))
    assert (precision_tag(plain), precision_tag(quantised)) == ("bfloat16", "bfloat16+fp8")
    assert engine_label(quantised) == "vllm on cuda, bfloat16, fp8"
    assert precision_tag(resolve(EngineSpec(name="torch", vllm={"quantization": "fp8"}))) == "float32"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_network_is_opened_in_the_dtype_that_is_set(dtype, tmp_path, one_thread):
    checkpoint = Checkpoint.open(str(save_random_checkpoint(tmp_path / "model")))
    engine = opening.open_engine(resolve(EngineSpec(name="torch", dtype=dtype)), checkpoint)
    assert str(engine.dtype) == f"torch.{dtype}" == str(engine.model.lm_head.weight.dtype) and str(engine.device) == "cpu"


def test_engines_on_one_machine_share_its_cores(tmp_path, monkeypatch, one_thread):
    monkeypatch.setattr(opening.os, "cpu_count", lambda: 8)
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    checkpoint = Checkpoint.open(str(save_random_checkpoint(tmp_path / "model")))
    for num_workers in (1, 4, 16):
        opening.open_engine(resolve(EngineSpec(name="torch", num_workers=num_workers)), checkpoint)
    assert threads == [8, 2, 1]


def test_the_engine_is_named_in_short_and_its_settings_beside():
    spec = load_spec(ScoreSpec, None, ["engine=vllm", "engine.batch_size=16", "engine.vllm.max_num_seqs=8"])
    assert (spec.engine.name, spec.engine.batch_size, spec.engine.vllm.max_num_seqs) == ("vllm", 16, 8)
    assert load_spec(ScoreSpec, None, ["engine.batch_size=16", "engine=torch"]).engine == EngineSpec(name="torch", batch_size=16)
    with pytest.raises(UserError, match=r"engine\.name cannot be 'tensorrt': .*'auto', 'torch' or 'vllm'"):
        load_spec(ScoreSpec, None, ["engine=tensorrt"])
