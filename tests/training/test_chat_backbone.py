"""Another backbone than mPLUG-Owl2 (a small random LLaVA) learns by the same examples, and what it has learnt is a model like any other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from artquant.cli.train import parent_of
from artquant.config import EngineSpec, LoraSpec, LossSpec, TrainSpec, VisionWarmupSpec
from artquant.core.errors import UserError
from artquant.engines.chat_engine import ChatEngine
from artquant.engines.recipe import make_recipe, open_checkpoint
from artquant.model.checkpoint import Checkpoint
from artquant.registry import Registry
from artquant.storage.store import open_store
from artquant.training import loop
from artquant.training.chat_training_model import make_training_model
from artquant.training.data import Task
from artquant.training.examples import ExampleBuilder, collate
from artquant.training.network import make_network
from tests.chat_checkpoints import MARKED, SIZE, byte_level_tokenizer, save_chat_checkpoint
from tests.training.test_loop import broken_off, trained

ONLY_SCORES = LossSpec(score=1.0, parts=())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Such small products only wait for each other on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def parent(tmp_path_factory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("llava") / "random"
    return Checkpoint.open(str(save_chat_checkpoint(folder, byte_level_tokenizer(), MARKED, scale=3.0, max_critique_tokens=8)))


@pytest.fixture
def task_of(make_task, parent):
    def make(name: str = "run", **options) -> Task:
        return replace(make_task(name, **options), checkpoint=parent)

    return make


def model_of(task: Task) -> Checkpoint:
    return Checkpoint.open(f"{task.output_uri}/training/{task.run_id}/model")


def test_losses_fall_and_the_saved_folder_scores_and_can_be_the_current_model(task_of, tmp_path):
    task = task_of(steps=18, checkpoint_interval=6, loss=LossSpec(score=1.0, parts=("emotion",)))
    history, _ = trained(task)
    first, last = history.curve[0]["losses"], history.curve[-1]["losses"]
    assert last["description"] < 0.8 * first["description"] and last["score"] < 0.8 * first["score"]
    assert [record["step"] for record in history.validations] == [6, 12, 18]

    model = model_of(task)
    registry = Registry(open_store(str(tmp_path / "models")))
    registry.publish("learnt", Path(model.folder), {"model_digest": model.model_digest})
    registry.promote("learnt")
    for name in ("generation_config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (Path(model.folder) / name).read_bytes() == (Path(task.checkpoint.folder) / name).read_bytes()
    recipe = make_recipe(open_checkpoint(registry.current_uri()), EngineSpec(), full_decode=False)
    assert (recipe.identity.model_id, recipe.identity.model_digest) == ("learnt", model.model_digest)
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    assessment = recipe.open().assess(pixels, critique=True)
    assert np.allclose(assessment.probabilities.sum(1), 1) and set(assessment.critique_statuses) <= {"ok", "truncated"}
    assert assessment.open_set_mass.min() > 5 * ChatEngine.load(task.checkpoint).assess(pixels).open_set_mass.max()
    assert np.array_equal(assessment.probabilities, ChatEngine.load(model).assess(pixels).probabilities)


def test_training_sees_the_very_prompts_that_the_engine_asks(task_of, parent):
    task = task_of()
    network = make_network(task.spec, parent, [])
    builder = ExampleBuilder(network.processor, network.prompts, (), network.max_length)
    examples = [builder.examples({"score": score}) for score in (9.9, 1.0, 5.0)]
    targets, is_there = np.eye(5)[:3], np.ones(3, bool)
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    training_model = make_training_model(network, None).eval()
    with torch.no_grad():
        found = training_model(collate(np.arange(3), examples, targets, pixels, is_there), True, return_probabilities=True)["probabilities"]
    assert np.allclose(found.numpy(), ChatEngine.load(parent).assess(pixels).probabilities, atol=1e-5)
    tokenizer = network.processor.tokenizer
    assert tokenizer.decode(examples[1][0].ids).endswith("<|start|>assistant\nThe quality of the painting is bad.<|end|>")
    assert tokenizer.decode(examples[1][0].ids[examples[1][0].level_position]) == " bad"


def test_lora_teaches_the_queries_and_values_of_the_language_model_and_all_that_sees(task_of, parent):
    task = task_of(lora=LoraSpec(rank=4), steps=2, loss=ONLY_SCORES)
    trained(task)
    before, after = (checkpoint.load_model(torch.float32).state_dict() for checkpoint in (parent, model_of(task)))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    spoken = {name for name in changed if "language_model" in name or "lm_head" in name}
    assert spoken == {f"model.language_model.layers.{i}.self_attn.{part}.weight" for i in range(2) for part in ("q_proj", "v_proj")}
    assert {"model.vision_tower.embeddings.patch_embedding.weight", "model.multi_modal_projector.linear_2.weight"} <= changed


def test_a_run_that_was_killed_ends_with_the_weights_of_an_unbroken_one(task_of, monkeypatch):
    _, expected = trained(task_of("unbroken", loss=ONLY_SCORES))
    task = task_of("broken", loss=ONLY_SCORES)
    broken_off(task, 3, monkeypatch)
    _, weights = trained(task)
    assert weights.keys() == expected.keys() and all(torch.equal(weights[name], expected[name]) for name in expected)


def test_artworks_of_which_nothing_is_said_change_nothing(task_of):
    task = task_of(steps=1, checkpoint_interval=1, loss=ONLY_SCORES, batch_size=2, gradient_accumulation_steps=1)
    index = task.train.schema.get_field_index("score")
    silent = task.train.set_column(index, "score", [[None] * len(task.train)]).cast(task.train.schema)
    loop.run(replace(task, train=silent), 0, 1, torch.device("cpu"))
    before, after = (checkpoint.load_model(torch.float32).state_dict() for checkpoint in (task.checkpoint, model_of(task)))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_what_such_a_backbone_cannot_learn_by_is_refused(parent, tmp_path):
    spec = TrainSpec(model=parent.location, lora=LoraSpec(rank=2))
    assert parent_of(spec) == parent
    with pytest.raises(UserError, match=r"vision_warmup.steps=5 needs mPLUG-Owl2: set vision_warmup.steps=0 for .*\.$"):
        parent_of(spec.model_copy(update={"vision_warmup": VisionWarmupSpec(steps=5)}))
