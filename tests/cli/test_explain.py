"""`artquant explain`: the page of one artwork from what a run has published."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from artquant.cli import explain
from artquant.cli.main import main
from artquant.core.schema import MODEL_DIGEST
from artquant.paintings import jpeg, paint
from artquant.results.snapshots import DataFile, commit, following
from artquant.storage.store import Store, open_store
from tests.checkpoints import save_random_checkpoint
from tests.pipelines.here import without_ray


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, str]:
    """Pictures, an output in which two of them are scored and one is rejected, and the model."""
    folder = tmp_path_factory.mktemp("explain")
    source, output = open_store(str(folder / "art")), open_store(str(folder / "out"))
    for seed in range(2):
        source.put(f"{seed}.jpg", jpeg(paint(seed), 64))
    source.put("broken.jpg", b"no picture at all")
    model = str(save_random_checkpoint(folder / "random", max_critique_tokens=4))
    with pytest.MonkeyPatch.context() as patch, without_ray():
        patch.setenv("ARTQUANT_HOME", str(folder / "home"))
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr("artquant.cli.local_ray.running_ray", nullcontext)
        assert main(["score", f"input={source.uri}", f"output={output.uri}", f"model={model}", "run_id=tonight", "min_rejected=9"]) == 0
    return source, output, model


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARTQUANT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_page_shows_what_counted_the_row_and_its_history(
    places: tuple[Store, Store, str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", places[1].uri, "0.jpg"]) == 0
    said = capsys.readouterr().out
    assert "The same score came again" in said or "It differs by" in said
    (page,) = (home / "reports").glob("explain-tonight-*.html")
    text = page.read_text()
    assert text.count("data:image/jpeg") >= 3 and "score then" in text
    assert "tonight" in text and ">scored<" in text and f"<dt>{MODEL_DIGEST}</dt>" in text


def test_an_object_that_is_another_now_is_said_to_be(places: tuple[Store, Store, str], capsys: pytest.CaptureFixture[str]) -> None:
    places[0].put("1.jpg", jpeg(paint(7), 64))
    assert main(["explain", places[1].uri, "1.jpg"]) == 0
    assert "The object is another one than the one that was scored" in capsys.readouterr().out


def test_a_quantised_row_is_explained_with_whole_weights(
    places: tuple[Store, Store, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, history = explain.read_rows(places[1], "0.jpg")
    monkeypatch.setattr(explain, "read_rows", lambda *_: (row | {"dtype": "float32+fp8"}, history))
    assert main(["explain", places[1].uri, "0.jpg"]) == 0
    (page,) = (home / "reports").glob("explain-*.html")
    assert "float32+fp8, float32" in page.read_text()


def test_an_output_of_descriptions_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = open_store(str(tmp_path / "described"))
    commit(output, following(None, "run", "r", "w", files=(DataFile("descriptions", "d", "v", 1, 1, "r"),)))
    assert main(["explain", output.uri, "0.jpg"]) == 2
    assert "holds descriptions and no scores: name the output of a score job." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "One output and one artwork are needed"),
        (["OUT", "unknown.jpg"], "has no score of unknown.jpg; say artquant explain OUTPUT ARTWORK"),
        (["OUT", "broken.jpg"], "has no score of broken.jpg: its last outcome is not_an_image"),
        (["OUT", "0.jpg", "model=/no/such/folder"], "/no/such/folder"),
    ],
)
def test_what_cannot_be_explained_is_a_sentence(
    arguments: list[str], says: str, places: tuple[Store, Store, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *(places[1].uri if one == "OUT" else one for one in arguments)]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
