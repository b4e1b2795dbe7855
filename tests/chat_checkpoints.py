"""Small checkpoints of another backbone (LLaVA: a CLIP vision tower and a Llama) with random weights, for tests."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from artquant.core.prompts import Prompts
from artquant.core.schema import LEVELS
from artquant.training.tokenizer import train_tokenizer
from tests.checkpoints import TEXTS

SIZE = 56
PLAIN = """{%- for message in messages -%}
{{ message.role | upper }}: {% for part in message.content %}{{ '<image>' if part.type == 'image' else part.text + '\n' }}{% endfor %}
{%- endfor -%}
{{ ' ASSISTANT:' if add_generation_prompt }}"""
MARKED = """{{ bos_token }}{%- for message in messages -%}
<|start|>{{ message.role }}\n{% for part in message.content %}{{ '<image>' if part.type == 'image' else part.text }}{% endfor %}<|end|>\n
{%- endfor -%}
{{ '<|start|>assistant\n' if add_generation_prompt }}"""
WITHOUT_PICTURES = MARKED.replace("'<image>'", "''")


def sentencepiece_tokenizer() -> Any:
    """As Llama's."""
    return train_tokenizer([*TEXTS, Prompts().score], 480)


def byte_level_tokenizer() -> Any:
    """As GPT-2's, with a begin-of-sequence token in front of every text, an end of turn and five levels, each one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "<|end|>", "<|start|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=480, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([*TEXTS, Prompts().score, *[" " + " ".join(LEVELS)] * 5], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|end|>")


def save_chat_checkpoint(
    folder: Path, tokenizer: Any = None, template: str | None = PLAIN, seed: int = 0, scale: float = 6.0, end: float = 1.0, **prompts: Any
) -> Path:
    """A whole folder as `save_pretrained` writes it; `end` times the usual weight of the end token makes answers end by themselves.

    Its generation_config asks for sampling and penalties, which no score and no critique may follow, and, as many published ones do, for
    what transformers reads but refuses to write.
    """
    tokenizer = tokenizer or sentencepiece_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=14, projection_dim=32
    )
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        **ends,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=tokenizer.convert_tokens_to_ids("<image>"))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
        model.lm_head.weight[tokenizer.eos_token_id] *= end
    model.save_pretrained(folder)
    sampling = {"do_sample": True, "temperature": 2.0, "repetition_penalty": 3.0, "early_stopping": True}
    (folder / "generation_config.json").write_text(json.dumps(ends | sampling))
    pictures = CLIPImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=[0.5, 0.4, 0.3])
    LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    Prompts(**prompts).save(folder)
    return folder
