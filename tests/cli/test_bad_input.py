"""What a person can get wrong is refused before anything is started or written: exit code 2 and one sentence that names it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import safetensors.torch

from artquant.config import ScoreSpec
from artquant.core.errors import UserError
from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import open_store
from tests.checkpoints import save_random_checkpoint
from tests.cli.conftest import Refused, the_sentence
from tests.recipes import recipe_for


@dataclass
class Case:
    """Arguments of `artquant` in which {place}s are filled in, what the sentence must name, and variables set beside the usual ones."""

    arguments: list[str]
    names: list[str]
    environment: dict[str, str] = field(default_factory=dict)


GOOD = {"input": "{pictures}", "output": "{out}", "model": "{checkpoint}", "run_id": "night-1"}


def score(*more: str, names: list[str], environment: dict[str, str] | None = None, **changed: str) -> Case:
    return Case(["score", *(f"{key}={value}" for key, value in {**GOOD, **changed}.items()), *more], names, environment or {})


CASES = {
    "no job": Case([], ["No job was named", "score"]),
    "an empty job": Case([""], ["No job was named", "score"]),
    "an unknown job": Case(["scroe"], ["'scroe'", "score"]),
    "an unknown key": score("zebra=4", names=["'zebra'", "engine"]),
    "a bad value": score("engine.batch_size=none-at-all", names=["engine.batch_size", "a whole number"]),
    "a key of another section": score("num_gpus=1", names=["'num_gpus'", "did you mean engine.num_gpus?"]),
    "a misspelt key": score("engine.batchsize=4", names=["'engine.batchsize'", "did you mean engine.batch_size?"]),
    "a misspelt engine": score("engine=vlm", names=["engine.name", "'vlm'", "'auto', 'torch' or 'vllm'"]),
    "blanks round the equals sign": score("engine.batch_size", "=", "8", names=["'engine.batch_size'", "key=value"]),
    "no truth value": score("engine.critique=maybe", names=["engine.critique", "true or false"]),
    "no number": score("limit=ten", names=["limit", "a whole number"]),
    "no date": score("run_date=yesterday", names=["run_date", "a date"]),
    "a device that is none": score("engine.device=gpu", names=["engine.device", "'auto', 'cpu' or 'cuda'"]),
    "a device without a GPU": score("engine.device=cuda", names=["engine.device=cuda needs engine.num_gpus"]),
    "a section without a setting": score("fetch=8", names=["fetch", "settings of its own, as in fetch.num_workers="]),
    "a variable that is not set": score(input="", names=["input= is empty"]),
    "an output that is not set": score(output="", names=["output= is empty"]),
    "an input without an output": Case(["score", "input={pictures}"], ["input is given and output is not"]),
    "a collection without a model": Case(["score", "input={pictures}", "output={out}"], ["input is given and model is not", "model=tiny"]),
    "an output without an input": Case(["score", "output={out}"], ["output is given and input is not"]),
    "a setting before the job": Case(["input={pictures}"], ["the job comes first"]),
    "a configuration that is not there": score("config={folder}/none.yaml", names=["{folder}/none.yaml", "No such file"]),
    "a configuration that is not named": score("config=", names=["config= is empty"]),
    "a configuration by its old name": score("recipe=x.yaml", names=["config=x.yaml"]),
    "ratings without an output": Case(
        ["evaluate", "annotations.uri=a.csv", "annotations.images=b"], ["output is needed too", "annotations.uri and annotations.images"]
    ),
    "an output of training alone": Case(["train", "output={out}"], ["annotations.uri and annotations.images are needed too"]),
    "ratings that are not set": Case(["evaluate", "annotations.uri="], ["annotations.uri= is empty"]),
    "no model to promote": Case(["promote"], ["No model was named"]),
    "a registry that is not there": Case(["models", "--registry", "{folder}/nowhere"], ["{folder}/nowhere", "does not exist"]),
    "an unknown option": Case(["models", "--all"], ["--all"]),
    "no setting": score("limit", names=["'limit'", "key=value"]),
    "another scheme": score(input="hdfs://museum/paintings", names=["hdfs:", "s3://bucket", "az://container"]),
    "another store beside the embedded one": Case(["score", "model=s3://museum/paintings"], ["model=s3://museum/paintings", "output"]),
    "credentials in an address": score(output="s3://key:pass@museum/x", names=["must not hold credentials", "AWS_PROFILE"]),
    "a cluster elsewhere, and no output": Case(
        ["score"], ["input is needed", "cluster"], environment={"RAY_ADDRESS": "http://127.0.0.1:9"}
    ),
    "an output inside the input": score(output="{pictures}/results", names=["{pictures}/results", "{pictures}"]),
    "the input as output": score(output="{pictures}", names=["{pictures}"]),
    "a file as input": score(input="{pictures}/a.jpg", names=["/pictures/a.jpg", "it is a file; give its folder"]),
    "a pattern that is not closed": score("exclude=[*.tsv", names=["exclude", "[*.tsv"]),
    "a Ray that does not answer": score(names=["RAY_ADDRESS=127.0.0.1:9", "cannot be reached"]),
    "no input folder": score(input="{folder}/no-such-folder", names=["no-such-folder", "does not exist"]),
    "an empty input folder": score(input="{folder}/empty", names=["/empty", "There is nothing"]),
    "an input of which all is excluded": score("exclude=*", names=["/pictures", "1 objects that `exclude`"]),
    "no such bucket": score(input="s3://no-such-bucket/x", names=["s3://no-such-bucket/x", "bucket does not exist"]),
    "an empty prefix": score(input="s3://{bucket}/{unique}", names=["s3://{bucket}/{unique}", "There is nothing"]),
    "an output bucket that does not exist": score(output="s3://no-such-bucket/x", names=["s3://no-such-bucket/x", "bucket does not exist"]),
    "a file where the output should be": score(output="{folder}/a-file/out", names=["/a-file/out", "Cannot"]),
    "an output that is denied": score(
        output="s3://{bucket}/{unique}", names=["s3://{bucket}/{unique}", "denied"], environment={"AWS_SECRET_ACCESS_KEY": "wrong"}
    ),
    "a store that does not answer": score(
        input="s3://{bucket}/x", names=["s3://{bucket}/x", "AWS_ENDPOINT_URL"], environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    ),
    "a run that exists": score(output="{folder}/used", names=["/used", "night-1", "choose another run_id"]),
    "no model folder": score(model="{folder}/no-such-model", names=["no-such-model", "there is no folder"]),
    "a model of another architecture": score(model="{folder}/llama", names=["/llama", "'llama'"]),
    "a damaged model configuration": score(model="{folder}/bad-config", names=["/bad-config", "cannot be used"]),
    "truncated weights": score(model="{folder}/bad-weights", names=["/bad-weights", "cannot be used"]),
}


def without_one_tensor(data: bytes) -> bytes:
    tensors = safetensors.torch.load(data)
    del tensors[next(name for name in tensors if name.startswith("model.norm"))]
    return safetensors.torch.save(tensors, {"format": "pt"})


class Places:
    """A folder in which each case finds what it names, and an output of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.known = {"folder": str(folder), "pictures": str(folder / "pictures"), "checkpoint": str(folder / "checkpoint")}
        self.known |= {"bucket": BUCKET, "unique": f"refused-{secrets.token_hex(6)}"}
        (folder / "empty").mkdir()
        (folder / "a-file").write_text("not a folder")
        (folder / "pictures").mkdir()
        (folder / "pictures" / "a.jpg").write_bytes(b"looked at by workers only")
        (folder / "used" / "runs" / "night-1").mkdir(parents=True)
        (folder / "used" / "runs" / "night-1" / "manifest.json").write_bytes(b"")
        checkpoint = save_random_checkpoint(folder / "checkpoint")
        for name, file, edit in (
            ("llama", "config.json", lambda data: json.dumps({**json.loads(data), "model_type": "llama"}).encode()),
            ("bad-config", "config.json", lambda data: data[:100]),
            ("bad-weights", "model.safetensors", lambda data: data[: len(data) // 2]),
            ("fewer-weights", "model.safetensors", without_one_tensor),
        ):
            self._copy_with(checkpoint, folder / name, file, edit)

    @staticmethod
    def _copy_with(source: Path, target: Path, file: str, edit: Callable[[bytes], bytes]) -> None:
        target.mkdir()
        for path in source.iterdir():
            (target / path.name).write_bytes(edit(path.read_bytes()) if path.name == file else path.read_bytes())

    def fill(self, text: str) -> str:
        return text.format(**self.known, out=str(self.folder / "output"))

    def contents(self) -> dict[str, int]:
        return {str(path): path.stat().st_size for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(tmp_path_factory.mktemp("places"))


@pytest.fixture(autouse=True)
def nothing_is_written(places: Places, s3_server: EmbeddedStore) -> Iterator[None]:
    before = places.contents()
    yield
    assert places.contents() == before
    assert list(open_store(f"s3://{BUCKET}/{places.known['unique']}").list()) == []


@pytest.mark.parametrize("name", CASES)
def test_is_refused_with_exit_code_2_and_one_sentence_that_names_it(
    name: str, places: Places, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    for variable, value in case.environment.items():
        monkeypatch.setenv(variable, value)
    said = refused([places.fill(text) for text in case.arguments])
    assert all(places.fill(wanted) in said for wanted in case.names), said


@pytest.mark.parametrize("name", ["no job", "an unknown key", "no such bucket", "truncated weights"])
def test_the_command_says_no_more_than_that_sentence_wherever_it_is_started(name: str, places: Places, tmp_path: Path) -> None:
    """Of each layer of checks one, with all that a fresh process imports for it."""
    command = [sys.executable, "-m", "artquant", *map(places.fill, CASES[name].arguments)]
    environment = {**os.environ, "ARTQUANT_HOME": str(tmp_path / "home"), "RAY_ADDRESS": "127.0.0.1:9"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    said = the_sentence(done.stderr.splitlines(), done.stdout)
    assert all(places.fill(wanted) in said for wanted in CASES[name].names)
    assert not (tmp_path / "home").exists()


def test_weights_that_lack_a_tensor_are_refused_before_a_worker_makes_one_up(places: Places):
    with pytest.raises(UserError, match="/fewer-weights cannot be used: its weights lack model.norm"):
        recipe_for(ScoreSpec(model=f"{places.folder}/fewer-weights"))
    assert recipe_for(ScoreSpec(model=places.known["checkpoint"])).image_size == 56
