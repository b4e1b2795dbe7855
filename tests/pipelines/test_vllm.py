"""The score job with `engine=vllm`, and what becomes of a run whose engines die."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from artquant.config import EngineSpec
from artquant.core.errors import RunFailed
from artquant.storage.store import Store
from tests.engines.vllm_worker import needs_vllm
from tests.pipelines.engines import RedEngine
from tests.pipelines.runs import Run, Scorer, spec_for

pytestmark = pytest.mark.filterwarnings("ignore:.ray_remote_args")


class BreaksOnce:
    """Opens vLLM; where the flag is not there yet, its first step fails as a lost device would."""

    def __init__(self, checkpoint: Path, flag: Path):
        self.checkpoint, self.flag = checkpoint, flag

    def __call__(self):
        from artquant.engines.open import open_engine, resolve
        from artquant.model.checkpoint import Checkpoint

        engine = open_engine(resolve(EngineSpec(name="vllm")), Checkpoint.open(str(self.checkpoint)))
        if not self.flag.exists():
            self.flag.touch()

            def step() -> None:
                raise RuntimeError("the device fell off the bus")

            engine.requests.engine.step = step  # type: ignore[attr-defined]
        return engine


@needs_vllm
@pytest.mark.timeout(600)
def test_a_night_with_vllm_gives_the_rows_of_a_night_with_torch_though_an_engine_dies(
    scorer: Scorer, published: Run, checkpoint: Path, s3_folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artquant.engines import recipe as recipes

    flag = tmp_path / "broken"
    make_recipe = recipes.make_recipe

    def breaking(*given):
        recipe = make_recipe(*given)
        return type(recipe)(**{**vars(recipe), "open": BreaksOnce(checkpoint, flag)})

    monkeypatch.setattr("tests.recipes.make_recipe", breaking)
    engine = {"name": "vllm", "num_gpus": 1, "device": "cpu", "critique": True, "batch_size": 8}
    run = scorer.score(spec_for(published.source, s3_folder, model=checkpoint, engine=engine))
    assert flag.exists()
    assert run.report.engine == "vllm on cpu, float32"
    found, expected = run.rows("scores"), published.rows("scores")
    assert found.keys() == expected.keys()
    for name, row in expected.items():
        assert {key: found[name][key] for key in ("perception", "cognition", "emotion", "critique_status", "model_digest")} == {
            key: row[key] for key in ("perception", "cognition", "emotion", "critique_status", "model_digest")
        }
        for key in ("score", "score_std", "p_excellent", "p_bad", "open_set_mass"):
            assert found[name][key] == pytest.approx(row[key], abs=1e-3)
    assert {name: row["reject_class"] for name, row in run.rows("rejects").items()} == {
        name: row["reject_class"] for name, row in published.rows("rejects").items()
    }


def dies_at_start(log: Path) -> RedEngine:
    with log.open("a") as file:
        file.write("started\n")
    raise SystemExit("vLLM died, and with it this process: OutOfMemoryError: no room for the weights")


@pytest.mark.timeout(120)
def test_an_engine_that_dies_at_every_start_ends_the_run_with_its_last_words(
    scorer: Scorer, published: Run, s3_folder: Store, tmp_path: Path
) -> None:
    log = tmp_path / "starts"
    with pytest.raises(RunFailed, match="OutOfMemoryError: no room for the weights"):
        scorer.score(spec_for(published.source, s3_folder), partial(dies_at_start, log))
    assert len(log.read_text().splitlines()) >= 3
    assert not s3_folder.exists("CURRENT")
