"""What people do with a model of transformers, beyond this package's own engines and loop: on a small random network."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoModel, Trainer, TrainingArguments, pipeline
from trl import SFTConfig, SFTTrainer

from artquant.model import MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Model, MPLUGOwl2Processor
from tests.checkpoints import save_random_checkpoint

PROMPTS = [
    "USER: <|image|>How good is it? ASSISTANT:",
    "USER: Look at this painting again, and at length. <|image|>Now tell me. ASSISTANT:",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(save_random_checkpoint(tmp_path_factory.mktemp("transformers") / "random"))


@pytest.fixture
def model(folder):
    return MPLUGOwl2LlamaForCausalLM.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def processor(folder):
    return MPLUGOwl2Processor.from_pretrained(folder)


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8))


@pytest.fixture
def batch(processor):
    return processor(images=[picture(0), picture(1)], text=PROMPTS)


def answers(model, inputs, **options):
    ids = model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False, **options)
    return ids[:, inputs["input_ids"].shape[1] :].tolist()


def test_prompts_of_different_lengths_are_answered_in_a_batch_as_alone(model, processor, batch):
    alone = [answers(model, processor(images=picture(i), text=PROMPTS[i]))[0] for i in range(2)]
    assert answers(model, batch) == alone and alone[0] != alone[1]


@pytest.mark.parametrize(
    "options",
    [{"use_cache": False}, {"cache_implementation": "static"}, {"num_beams": 1, "prompt_lookup_num_tokens": 2}],
    ids=["no cache", "static cache", "prompt lookup"],
)
def test_every_way_of_greedy_decoding_gives_the_same_answer(model, processor, options):
    inputs = processor(images=picture(0), text=PROMPTS[0])
    assert answers(model, inputs, **options) == answers(model, inputs)


def test_an_assistant_model_changes_no_answer(model, processor):
    inputs = processor(images=picture(0), text=PROMPTS[0])
    assert answers(model, inputs, assistant_model=copy.deepcopy(model)) == answers(model, inputs)


def test_a_repetition_penalty_acts_on_ids_of_the_vocabulary(model, processor):
    inputs = processor(images=picture(0), text=PROMPTS[0])
    [answer] = answers(model, inputs, repetition_penalty=50.0)
    assert len(set(answer)) == len(answer)


def test_embeddings_may_be_given_in_place_of_ids(model, processor):
    inputs = processor(text="USER: Tell me of art. ASSISTANT:")
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    given = model.generate(inputs_embeds=embeds, attention_mask=inputs["attention_mask"], **options)
    assert given.tolist() == answers(model, inputs)


def test_the_ids_of_a_batch_can_be_read_as_text(processor, batch):
    text = processor.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert "How good is it?" in text[0] and "Now tell me." in text[1]
    assert (
        processor.image_token == "<|image|>" and (batch["input_ids"] == processor.image_token_id).sum() > 2 * processor.num_image_tokens - 1
    )


def test_ids_as_published_and_ids_of_the_vocabulary_give_the_same_logits(model, processor):
    inputs = processor(images=picture(0), text=PROMPTS[0])
    published = torch.tensor([processor.encode_prompt(PROMPTS[0])])
    assert (published == -200).any() and not torch.equal(published, inputs["input_ids"])
    assert torch.equal(model(published, pixel_values=inputs["pixel_values"]).logits, model(**inputs).logits)


def test_hidden_states_and_attentions_are_there_where_they_are_asked_for(folder, model, batch):
    eager = MPLUGOwl2LlamaForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        expected = model(**batch).logits
        outputs = eager(**batch, output_hidden_states=True, output_attentions=True)
        as_tuple = eager(**batch, return_dict=False)
    mask = batch["attention_mask"].bool()
    assert torch.allclose(outputs.logits[mask], expected[mask], atol=1e-5)
    layers, (rows, length) = model.config.num_hidden_layers, batch["input_ids"].shape
    assert len(outputs.hidden_states) == layers + 1 and outputs.hidden_states[0].shape == (rows, length, model.config.hidden_size)
    assert len(outputs.attentions) == layers and outputs.attentions[0].shape == (rows, model.config.num_attention_heads, length, length)
    weights = outputs.attentions[0][1]
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5) and weights.triu(1).abs().max() == 0
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], outputs.logits)


def test_the_network_can_be_exported_and_compiled_whole(model, batch):
    with torch.inference_mode():
        expected = model(**batch, use_cache=False).logits
    exported = torch.export.export(model, (), {**batch, "use_cache": False}, strict=False).module()
    assert torch.allclose(exported(**batch, use_cache=False).logits, expected, atol=1e-5)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.inference_mode():
        assert torch.allclose(compiled(**batch, use_cache=False).logits, expected, atol=1e-5)


def test_trainer_learns_the_same_from_a_batch_and_from_its_pieces(folder, processor, tmp_path):
    """Rows with one to four labels, so that a mean of means is another."""
    rows = []
    for seed in range(4):
        inputs = processor(images=picture(seed), text=PROMPTS[0])
        ids = inputs["input_ids"][0]
        labels = torch.full_like(ids, -100)
        labels[-1 - seed :] = ids[-1 - seed :]
        rows.append({"input_ids": ids, "pixel_values": inputs["pixel_values"][0], "labels": labels})
    losses = []
    for size, steps in ((4, 1), (1, 4)):
        network = MPLUGOwl2LlamaForCausalLM.from_pretrained(folder)
        options = TrainingArguments(
            tmp_path / f"{size}",
            per_device_train_batch_size=size,
            gradient_accumulation_steps=steps,
            max_steps=1,
            learning_rate=0.0,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = Trainer(network, options, train_dataset=rows)
        trainer.train()
        losses.append([(entry["loss"], entry["grad_norm"]) for entry in trainer.state.log_history if "loss" in entry][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_step_of_trl_learns_answers_as_the_engines_give_them(folder, model, processor, tmp_path):
    """Its collator asks for no begin-of-sequence token, and tokenises an answer apart from its prompt."""
    said = ["good", "a rather poor painting, and long"]
    prompt = [{"role": "user", "content": "How good is it?"}]
    rows = [{"prompt": prompt, "completion": [{"role": "assistant", "content": say}], "images": [picture(0)]} for say in said]
    options = SFTConfig(
        str(tmp_path), max_steps=2, learning_rate=1e-3, logging_steps=1, max_length=None, report_to=[], use_cpu=True, bf16=False,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(model, options, train_dataset=Dataset.from_list(rows), processing_class=processor)
    batch = trainer.data_collator([dict(row) for row in trainer.train_dataset])
    asked = processor.tokenize("USER: <|image|>\nHow good is it? ASSISTANT:")
    for ids, mask, labels, answer in zip(batch["input_ids"], batch["attention_mask"].bool(), batch["labels"], said, strict=True):
        learnt = processor.encode_answer(PROMPTS[0], f" {answer}</s>")[len(processor.encode_answer(PROMPTS[0])) :]
        assert labels[labels != -100].tolist() == learnt
        assert [id for id in ids[mask].tolist() if id != processor.image_token_id] == [id for id in asked if id >= 0] + learnt
    before = model.lm_head.weight.detach().clone()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[1] < losses[0] and not torch.equal(model.lm_head.weight, before)


def conversation(answer=None):
    turns = [{"role": "user", "content": [{"type": "image", "image": picture(0)}, {"type": "text", "text": "How good is it?"}]}]
    return turns if answer is None else [*turns, {"role": "assistant", "content": answer}]


def test_a_chat_template_takes_contents_as_texts_and_as_lists(processor):
    said = processor.apply_chat_template(conversation("good"), tokenize=False)
    assert said.endswith("ASSISTANT: good</s>")
    assert processor.apply_chat_template(conversation([{"type": "text", "text": "good"}]), tokenize=False) == said
    with_system = [{"role": "system", "content": "Be kind."}, *conversation()]
    assert processor.apply_chat_template(with_system, tokenize=False).startswith("<s>Be kind. USER: <|image|>")
    with pytest.raises(Exception, match="holds text and images, not video"):
        processor.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}], tokenize=False)


def test_a_conversation_with_its_picture_becomes_the_inputs_of_its_prompt(processor):
    prompt = processor.apply_chat_template(conversation(), add_generation_prompt=True, tokenize=False)
    inputs = processor.apply_chat_template(conversation(), add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt")
    expected = processor(images=picture(0), text=prompt)
    assert torch.equal(inputs["input_ids"], expected["input_ids"]) and torch.equal(inputs["pixel_values"], expected["pixel_values"])


def test_the_pipeline_of_images_and_texts_runs(folder, model, processor):
    chat = pipeline("image-text-to-text", model=model, processor=processor)
    [answer] = chat(text=conversation(), max_new_tokens=3, return_full_text=False)
    [plain] = pipeline("image-text-to-text", model=folder)(images=picture(0), text=PROMPTS[0], max_new_tokens=3)
    assert isinstance(answer["generated_text"], str) and isinstance(plain["generated_text"], str)


def test_automodel_is_the_network_without_its_head(folder, model, batch):
    network = AutoModel.from_pretrained(folder).eval()
    assert isinstance(network, MPLUGOwl2Model)
    with torch.inference_mode():
        assert torch.allclose(model.lm_head(network(**batch).last_hidden_state), model(**batch).logits, atol=1e-5)


def test_tied_embeddings_are_one_tensor(model):
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = True
    tied = MPLUGOwl2LlamaForCausalLM(config)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert model.lm_head.weight is not model.model.embed_tokens.weight
