"""Which engine a spec gets, on which machine."""

import pytest

from artquant.config import EngineSpec, ScoreSpec, load_spec
from artquant.engines import open as opening
from artquant.engines.open import describe, precision, resolve
from artquant.errors import UserError


@pytest.fixture(params=[True, False], ids=["vLLM is installed", "vLLM is not installed"])
def is_there(request, monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: object() if request.param else None)
    return request.param


def test_auto_is_vllm_only_where_it_is_and_a_gpu_too(is_there):
    cpu, gpu = resolve(EngineSpec()), resolve(EngineSpec(num_gpus=1))
    assert (cpu.name, cpu.device, cpu.dtype, cpu.batch_size) == ("torch", "cpu", "float32", 32)
    assert (gpu.device, gpu.dtype) == ("cuda", "bfloat16")
    assert (gpu.name, gpu.batch_size) == (("vllm", 128) if is_there else ("torch", 32))


def test_what_is_named_stays(is_there):
    named = EngineSpec(name="torch", num_gpus=1, dtype="float32", batch_size=7)
    assert resolve(named) == named.model_copy(update={"device": "cuda"})
    assert resolve(resolve(named)) == resolve(named)


def test_vllm_where_it_is_not_installed_is_refused(is_there):
    if is_there:
        assert describe(resolve(EngineSpec(name="vllm"))) == "vllm on cpu, float32"
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
    assert resolve(EngineSpec(num_gpus=1), is_own=False).name == "torch"
    with pytest.raises(UserError, match="knows mPLUG-Owl2 checkpoints only: take engine=torch"):
        resolve(EngineSpec(name="vllm"), is_own=False)


def test_quantisation_is_part_of_a_scores_identity(monkeypatch):
    monkeypatch.setattr(opening, "find_spec", lambda name: object())
    plain = resolve(EngineSpec(name="vllm", num_gpus=1))
    quantised = resolve(EngineSpec(name="vllm", num_gpus=1, vllm={"quantization": "fp8"}))
    assert (precision(plain), precision(quantised)) == ("bfloat16", "bfloat16+fp8")
    assert describe(quantised) == "vllm on cuda, bfloat16, fp8"
    assert precision(resolve(EngineSpec(name="torch", vllm={"quantization": "fp8"}))) == "float32"


def test_the_engine_is_named_in_short_and_its_settings_beside():
    spec = load_spec(ScoreSpec, None, ["engine=vllm", "engine.batch_size=16", "engine.vllm.max_num_seqs=8"])
    assert (spec.engine.name, spec.engine.batch_size, spec.engine.vllm.max_num_seqs) == ("vllm", 16, 8)
    assert load_spec(ScoreSpec, None, ["engine.batch_size=16", "engine=torch"]).engine == EngineSpec(name="torch", batch_size=16)
    with pytest.raises(UserError, match=r"engine\.name cannot be 'tensorrt': .*'auto', 'torch' or 'vllm'"):
        load_spec(ScoreSpec, None, ["engine=tensorrt"])
