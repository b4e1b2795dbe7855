"""A night and an evaluation with another backbone than mPLUG-Owl2 (a small random LLaVA)."""

from __future__ import annotations

import csv
import secrets
from pathlib import Path

import numpy as np
import pytest

from artquant.config import ResolvedAnnotationSpec, ResolvedEvaluateSpec
from artquant.core.schema import CRITIQUE_PARTS, PROBABILITY_COLUMNS
from artquant.engines.chat_engine import ChatEngine
from artquant.images import square as images
from artquant.model.checkpoint import Checkpoint
from artquant.paintings import jpeg, paint
from artquant.storage.store import Store, open_store
from tests.chat_checkpoints import save_chat_checkpoint
from tests.pipelines.here import without_ray
from tests.pipelines.runs import Scorer, spec_for
from tests.recipes import recipe_for


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_chat_checkpoint(tmp_path_factory.mktemp("chat") / "llava", max_critique_tokens=4)


def test_every_picture_has_the_score_and_the_critique_that_the_engine_gives_it_alone(
    scorer_here: Scorer, pictures: Store, s3_store: Store, llava: Path
) -> None:
    checkpoint = Checkpoint.open(str(llava))
    output = s3_store.child(f"chat-{secrets.token_hex(6)}")
    run = scorer_here.score(spec_for(pictures, output, model=llava, engine={"critique": True, "batch_size": 8}))
    rows, engine = run.rows("scores"), ChatEngine.load(checkpoint)
    assert run.report.num_scored == len(rows) > 8 and run.report.num_rejected == len(run.rows("rejects"))
    for name in sorted(rows)[:4]:
        row, alone = rows[name], engine.assess(images.load(pictures.get(name), engine.image_size).pixels[None], critique=True)
        assert np.allclose([row[column] for column in PROBABILITY_COLUMNS], alone.probabilities[0], atol=1e-4)
        assert {part: row[part] for part in CRITIQUE_PARTS} == alone.critiques[0]
        assert row["open_set_mass"] == pytest.approx(alone.open_set_mass[0], rel=1e-3)
        assert row["model_digest"] == checkpoint.model_digest and row["model"] == "llava"
    assert run.document("manifest.json")["identity"]["preprocessing_digest"] == checkpoint.identity("float32").preprocessing_digest


def test_an_evaluation_leaves_out_the_theory_and_nothing_else(llava: Path, tmp_path: Path) -> None:
    from artquant.pipelines.evaluate import choose, run_evaluation

    paintings = {f"{seed}.jpg": paint(seed) for seed in range(6)}
    with (tmp_path / "ratings.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["artwork_id", "score", *CRITIQUE_PARTS])
        for name, painting in paintings.items():
            open_store(f"file:{tmp_path}/art").put(name, jpeg(painting, 64))
            rows.writerow([name, painting.score, *(getattr(painting, part) for part in CRITIQUE_PARTS)])
    given = ResolvedAnnotationSpec(uri=str(tmp_path / "ratings.csv"), images=f"file:{tmp_path}/art")
    fetch = {"num_workers": 1, "threads": 2}
    spec = ResolvedEvaluateSpec.model_validate(
        {
            "annotations": given,
            "split": "all",
            "output": f"file:{tmp_path}/out",
            "registry": f"file:{tmp_path}/models",
            "model": str(llava),
            "bootstrap_rounds": 10,
            "fetch": fetch,
        }
    )
    recipe = recipe_for(spec)
    with without_ray():
        document = run_evaluation(spec, recipe, choose(spec)).document
    assert not recipe.open_network and document["theory"] is None
    assert document["num_artworks"] == 6 and np.isfinite(document["metrics"]["mae"]["value"])
