"""What a job takes, and what it says to what it does not take."""

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from artquant.config import EvaluateSpec, ScoreSpec, Section, TrainSpec, load_spec, settings_of, takes
from artquant.core.errors import UserError

HEAVY = ("torch", "ray", "vllm", "transformers", "pyarrow", "numpy", "obstore", "boto3")


def load(*overrides: str, path: Path | None = None) -> ScoreSpec:
    return load_spec(ScoreSpec, path, list(overrides))


def said(*overrides: str, path: Path | None = None) -> str:
    with pytest.raises(UserError) as error:
        load(*overrides, path=path)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith((".", "?"))
    return sentence


def leaves(kind: type[BaseModel], path: str = "") -> list[str]:
    found: list[str] = []
    for name, field in kind.model_fields.items():
        annotation = field.annotation
        is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        found += leaves(annotation, f"{path}{name}.") if is_section else [f"{path}{name}"]
    return found


def test_overrides_reach_every_depth_and_the_last_one_wins():
    spec = load(
        "limit=5", "engine.batch_size=8", "engine.batch_size=9", "engine.critique=false", "run_date=2026-11-21", "fetch.timeout_seconds=1.5"
    )
    assert (spec.limit, spec.engine.batch_size, spec.engine.critique, spec.run_date) == (5, 9, False, date(2026, 11, 21))
    assert spec.fetch.timeout_seconds == 1.5
    assert spec.review == ScoreSpec().review


def test_one_pattern_or_a_list_of_them_may_be_excluded():
    assert load("exclude=*.tsv").exclude == ("*.tsv",)
    assert load("exclude=['*.tsv', 'thumbs/*']").exclude == ("*.tsv", "thumbs/*")


@pytest.mark.parametrize("name", ["20261121", "2026-11-21", "007", "1e5", "on", "night-1"])
def test_a_name_that_looks_like_a_number_or_a_date_is_a_name_still(name):
    assert load(f"run_id={name}").run_id == name


@pytest.mark.parametrize(
    ("text", "inputs"),
    [
        ("s3://b/x,s3://c/y", ("s3://b/x", "s3://c/y")),
        ("[art/a, /art/b]", ("art/a", "/art/b")),
        ("/art/Dali, Gala", ("/art/Dali, Gala",)),
        ("/art/Dali, Gala,../more", ("/art/Dali, Gala", "../more")),
        ("[art]", ("art",)),
    ],
)
def test_one_input_or_a_list_of_them_may_be_given(text, inputs):
    assert load(f"input={text}").inputs == inputs


@pytest.mark.parametrize(("override", "sentence"), [("input=[a,]", "one of its addresses is empty"), ("carry=a,,b", "has no name")])
def test_an_empty_entry_of_a_list_is_refused(override, sentence):
    assert sentence in said(override)


def test_columns_to_carry_are_a_list():
    assert load("carry=title,artist").carry == load("carry=[title, artist]").carry == ("title", "artist")


def test_text_is_taken_as_it_is_typed_and_nothing_as_none():
    assert load("input=s3://bucket/a=b: c").input == "s3://bucket/a=b: c"
    assert load("input=null").input is None


@pytest.mark.parametrize("override", ["input=", "output= ", "engine.batch_size=", "engine=", "exclude=", "run_id="])
def test_an_empty_value_is_refused_for_it_is_a_variable_that_is_not_set(override):
    assert f"{override.partition('=')[0]}= is empty" in said(override)


@pytest.mark.parametrize(
    "override, meant",
    [
        ("batch_size=8", "engine.batch_size"),
        ("num_gpus=1", "engine.num_gpus"),
        ("inptu=x", "input"),
        ("engine.batchsize=8", "engine.batch_size"),
        ("engin.batch_size=8", "engine.batch_size"),
        ("max_fail_fraction=0", "max_rejected_fraction"),
        ("num_workers=2", "fetch.num_workers or engine.num_workers"),
        ("engine.vlm.max_num_seqs=2", "engine.vllm.max_num_seqs"),
        ("fetch.batch_size=2", "engine.batch_size"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant(override, meant):
    assert f"did you mean {meant}?" in said(override)


def test_overrides_go_over_the_file(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("limit: 3\nengine:\n  batch_size: 16\n  critique: false\n")
    spec = load("engine.batch_size=2", path=path)
    assert (spec.limit, spec.engine.batch_size, spec.engine.critique) == (3, 2, False)
    path.write_text("")
    assert load("run_id=a", "run_date=2026-11-21", path=path) == load("run_id=a", "run_date=2026-11-21")


@pytest.mark.parametrize("text", ["[1, 2]", "just words", "a: [", "a: b: c"])
def test_a_file_that_is_no_mapping_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert str(path) in said(path=path)


def test_a_file_that_is_not_there_is_refused_by_its_name(tmp_path):
    assert f"{tmp_path}/none.yaml" in said(path=tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("override", "key", "takes"),
    [
        ("umbrella=x", "umbrella", "input, manifest, inventory, output, model"),
        ("engine.weather=4", "engine.weather", "in engine are name, device, dtype"),
        ("weather.here=4", "weather", "fetch, engine, review"),
        ("engine.batch_size=0", "engine.batch_size", "it takes 1 or more (images in one call of the engine; "),
        ("engine.batch_size=many", "engine.batch_size", "a whole number"),
        ("engine.device=tpu", "engine.device", "'auto', 'cpu' or 'cuda'"),
        ("engine=fast", "engine.name", "'auto', 'torch' or 'vllm'"),
        ("fetch.threads=1000", "fetch.threads", "256 or less"),
        ("fetch.timeout_seconds=.inf", "fetch.timeout_seconds", "a finite number"),
        ("max_rejected_fraction=1.5", "max_rejected_fraction", "it takes 1 or less"),
        ("max_rejected_fraction=.nan", "max_rejected_fraction", "more rejects than this fail the run"),
        ("run_id=../../etc", "run_id", "letters, digits, dots, dashes and underscores"),
        ("run_date=tomorrow", "run_date", "the partition of the rows"),
        ("limit=2.5", "limit", "the first so many artworks"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_its_name_and_what_it_takes(override, key, takes):
    sentence = said(override)
    assert key in sentence and takes in sentence


@pytest.mark.parametrize("override", ["limit", "=5", "limit:5", ""])
def test_what_is_no_setting_at_all_is_refused_with_an_example(override):
    assert repr(override) in said(override) and "key=value" in said(override)


def test_keys_below_a_value_are_refused():
    assert "'limit' in 'limit.x' holds a value" in said("limit=3", "limit.x=4")


def subclasses(kind: type[Section]) -> list[type[Section]]:
    return [found for child in kind.__subclasses__() for found in (child, *subclasses(child))]


SECTIONS = {kind.__name__: kind for kind in subclasses(Section) if kind.__module__.startswith("artquant.")}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_frozen_and_refuses_what_it_does_not_know(name: str):
    kind = SECTIONS[name]
    for field in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(kind.model_construct(), field, 1)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({"weather": 4})


@pytest.mark.parametrize("name", SECTIONS)
def test_no_section_has_a_place_for_secrets(name: str):
    secret = re.compile("secret|password|token(?!s)|credential|access|key")
    assert SECTIONS[name].model_fields and not [field for field in SECTIONS[name].model_fields if secret.search(field)]


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_of_every_section_says_what_it_is_and_what_it_takes(name: str):
    for field, info in SECTIONS[name].model_fields.items():
        if name.startswith(("Resolved", "Placed")) or (isinstance(info.annotation, type) and issubclass(info.annotation, Section)):
            continue
        assert info.description and takes(info), field


def test_a_secret_in_the_wrong_place_is_not_repeated():
    assert "hunter2" not in said("aws_secret_access_key=hunter2")
    assert "hunter2" not in said("fetch.password=hunter2")


@pytest.mark.parametrize("kind", [ScoreSpec, EvaluateSpec, TrainSpec])
def test_every_setting_says_what_it_is_and_what_it_takes(kind):
    settings = list(settings_of(kind))
    assert [setting.key for setting in settings] == leaves(kind) and len(settings) > 35
    assert [setting.key for setting in settings if not setting.field.description or not takes(setting.field)] == []


def test_a_settings_default_is_the_one_that_the_spec_has():
    defaults = {setting.key: setting.default for setting in settings_of(EvaluateSpec)}
    assert defaults["engine.critique"] is False and defaults["engine.num_workers"] == 1 and defaults["fetch.threads"] == 16


def test_importing_the_configuration_loads_nothing_heavy():
    program = "import sys, artquant.config; print(' '.join(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "pydantic" in loaded and set(HEAVY) & set(loaded) == set()


@pytest.mark.parametrize("kind", [EvaluateSpec, TrainSpec])
def test_another_setting_of_the_engine_does_not_turn_critiques_on(kind):
    assert not load_spec(kind, None, []).engine.critique and not load_spec(kind, None, ["engine.batch_size=8"]).engine.critique
    assert load_spec(kind, None, ["engine.critique=true"]).engine.critique


def test_a_candidate_is_judged_on_as_many_gpus_as_it_was_trained_on_unless_it_is_said():
    trained_on = load_spec(TrainSpec, None, ["fit.num_gpus=1"])
    assert trained_on.judging_engine.num_gpus == 1 and not trained_on.judging_engine.critique
    assert load_spec(TrainSpec, None, ["fit.num_gpus=1", "engine.num_gpus=0"]).judging_engine.num_gpus == 0


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("[*.txt,*.csv]", ("*.txt", "*.csv")),
        ("*.txt, *.csv", ("*.txt", "*.csv")),
        ("'*.txt','*.csv'", ("*.txt", "*.csv")),
        ("[*.txt]", ("*.txt",)),
        ("[[ab]*.jpg,*.txt]", ("[ab]*.jpg", "*.txt")),
        ("[ab]*.jpg", ("[ab]*.jpg",)),
        ("[a,b]*[cd]", ("[a,b]*[cd]",)),
        ("['a, b*']", ("a, b*",)),
        ("[]", ()),
    ],
)
def test_patterns_are_parted_by_commas_outside_of_classes(text: str, patterns: tuple[str, ...]):
    assert load(f"exclude={text}").exclude == patterns


@pytest.mark.parametrize("text", ["[*.tsv", "*.tsv]", "*.{jpg,png}", "*.txt *.csv", "*.txt;*.csv", "a,,b", "5", "['*.txt', '[a']"])
def test_patterns_that_would_match_nothing_are_refused(text: str):
    with pytest.raises(UserError, match="exclude cannot be"):
        load(f"exclude={text}")


@pytest.mark.parametrize(
    "override", ["limit=true", "limit=010", "limit=1:30", "limit=0x10", "run_date=0", "run_date=20261121", "max_rejected_fraction=no"]
)
def test_a_value_that_would_be_read_as_another_is_refused(override: str):
    with pytest.raises(UserError, match=f"{override.partition('=')[0]} cannot be"):
        load(override)
