"""An engine that does not score the model's golden set as it should takes no work."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import artquant
from artquant.config import EngineSpec
from artquant.core.errors import RunFailed, UserError
from artquant.engines.golden import QUANTISED, TOLERANCES, GoldenSet, check_golden, precision_of, read_golden
from artquant.engines.open import open_engine, resolve
from artquant.engines.recipe import TINY, make_recipe
from artquant.model.checkpoint import Checkpoint
from artquant.model.location import GOLDEN
from artquant.model.network import open_plainly


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(TINY, tmp_path / "copy")


def put(folder: Path, golden: GoldenSet) -> None:
    (folder / GOLDEN).parent.mkdir(exist_ok=True)
    (folder / GOLDEN).write_bytes(golden.to_bytes())


def test_the_set_that_is_shipped_passes_in_each_dtype_and_not_for_other_weights(copy: Path) -> None:
    shipped = read_golden(TINY)
    assert shipped and shipped.tolerances == TOLERANCES
    for dtype in ("float32", "bfloat16", "float16"):
        open_engine(resolve(EngineSpec(name="torch", dtype=dtype)), Checkpoint.open(str(TINY)))
    weights = load_file(copy / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    noisy = {name: value + 0.01 * value.float().std() * torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    save_file({name: value.to(weights[name].dtype) for name, value in noisy.items()}, copy / "model.safetensors", {"format": "pt"})
    spec = resolve(EngineSpec(name="torch", dtype="float32"))
    with pytest.raises(RunFailed, match=r"fails the model's golden set: a probability is off by 0\.\d+, and 0.005 is allowed") as refusal:
        open_engine(spec, Checkpoint.open(str(copy)))
    assert f"The torch engine on node {socket.gethostname()} (cpu, float32)" in str(refusal.value)
    with pytest.raises(RunFailed, match="fails the model's golden set"):
        artquant.load(str(copy))


def test_a_golden_set_is_no_part_of_the_model_and_none_of_its_weights(copy: Path) -> None:
    with_set = Checkpoint.open(str(copy))
    (copy / GOLDEN).write_bytes(b"another")
    assert Checkpoint.open(str(copy)).model_digest == with_set.model_digest
    shutil.rmtree((copy / GOLDEN).parent)
    assert Checkpoint.open(str(copy)).model_digest == with_set.model_digest
    (copy / "pictures.safetensors").write_bytes(b"weights, for all that is known")
    assert Checkpoint.open(str(copy)).model_digest != with_set.model_digest
    # Loaders take every *.safetensors of the folder itself.
    assert [path.name for path in TINY.glob("*.safetensors")] == ["model.safetensors"] and (TINY / GOLDEN).is_file()
    assert open_plainly(str(TINY), torch.float32)


def test_a_model_without_a_set_is_used_and_said_to_be_unchecked_and_a_damaged_one_is_refused(copy: Path) -> None:
    assert make_recipe(Checkpoint.open(str(copy)), EngineSpec(), False).has_golden_set
    (copy / GOLDEN).write_bytes((copy / GOLDEN).read_bytes()[:-5])
    with pytest.raises(UserError, match=r"cannot be used: its golden set is damaged \(.*\): bring golden/pictures.safetensors again, or"):
        make_recipe(Checkpoint.open(str(copy)), EngineSpec(), False)
    (copy / GOLDEN).unlink()
    recipe = make_recipe(Checkpoint.open(str(copy)), EngineSpec(), False)
    assert not recipe.has_golden_set
    recipe.open()


def test_a_set_returns_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    golden = GoldenSet.of(rng.integers(0, 256, (4, 6, 6, 3), np.uint8), rng.dirichlet(np.ones(5), 4), "bfloat16")
    put(tmp_path, golden)
    again = read_golden(tmp_path)
    assert again and np.array_equal(again.images, golden.images) and np.array_equal(again.probabilities, golden.probabilities)
    assert (again.dtype, again.tolerances) == ("bfloat16", golden.tolerances)
    assert golden.tolerances["float32"] == golden.tolerances["bfloat16"] == TOLERANCES["bfloat16"] < golden.tolerances[QUANTISED]
    with pytest.raises(ValueError, match="4 to 8 pictures, not 3"):
        GoldenSet.of(golden.images[:3], golden.probabilities[:3], "float32")
    with pytest.raises(ValueError, match="square uint8 images"):
        GoldenSet.of(golden.images[:, :5], golden.probabilities, "float32")


def test_what_cannot_be_compared_is_refused() -> None:
    golden = read_golden(TINY)
    assert golden
    spec = resolve(EngineSpec(name="torch", dtype="float32", batch_size=3))
    engine = open_engine(spec, Checkpoint.open(str(TINY)))
    small = GoldenSet.of(golden.images[:, :56, :56], golden.probabilities, "float32")
    with pytest.raises(RunFailed, match="its pictures are of 56 pixels, and the engine takes 112"):
        check_golden(engine, small, spec)

    class Broken:
        scale, image_size = engine.scale, engine.image_size

        def assess(self, pixels: np.ndarray, critique: bool = False):
            assert len(pixels) <= 3, "no batch is larger than those that are scored"
            result = engine.assess(pixels)
            result.probabilities[:, 0] = np.nan
            return result

    with pytest.raises(RunFailed, match="the engine's probabilities are not finite"):
        check_golden(Broken(), golden, spec)
    quantised = EngineSpec(name="vllm", dtype="bfloat16", vllm={"quantization": "fp8"})
    assert (precision_of(quantised), precision_of(spec)) == (QUANTISED, "float32")
