"""What a run trains: a small network from nothing, or a checkpoint, whole or by the published LoRA recipe; and its export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from artquant.config import LoraSpec, TrainSpec
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.checkpoint import Checkpoint
from artquant.prompts import Prompts
from artquant.training.lessons import vocabulary
from artquant.training.tokenizer import train_tokenizer

_LORA_TARGETS = r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj\.multiway\.1)"
_VISUAL = ("vision_model.", "visual_abstractor.")


@dataclass
class Network:
    """`model` learns; `adapted` is its peft wrapper, or None where all parameters learn. Weights are exported as `export_dtype`."""

    model: MPLUGOwl2LlamaForCausalLM
    processor: MPLUGOwl2Processor
    prompts: Prompts
    export_dtype: torch.dtype
    adapted: Any = None

    def export(self, folder: Path) -> None:
        """A whole checkpoint; LoRA weights are merged, so the network has learnt its last thing."""
        model = self.adapted.merge_and_unload() if self.adapted is not None else self.model
        model.to(self.export_dtype).save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.prompts.save(folder)


def small_config(vocab_size: int, image_size: int = 112) -> MPLUGOwl2Config:
    """2.5 M parameters; head size 64 in the language model, so that every engine can run it."""
    visual = {
        "visual_model": dict(
            hidden_size=128, intermediate_size=384, num_hidden_layers=5, num_attention_heads=4, image_size=image_size, patch_size=14
        ),
        "visual_abstractor": dict(
            num_learnable_queries=16,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            encoder_hidden_size=128,
            grid_size=image_size // 14,
        ),
    }
    return MPLUGOwl2Config(
        visual_config=visual,
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.08,  # about 1 / sqrt(width)
    )


def make_network(spec: TrainSpec, checkpoint: Checkpoint | None, rows: list[dict[str, Any]]) -> Network:
    """The same on every worker and at every start: weights from nothing follow the seed, the tokenizer the `rows`' texts."""
    torch.manual_seed(spec.fit.seed)
    values = tuple(spec.annotations.level_values)
    if checkpoint is None:
        prompts = Prompts(level_values=values, max_critique_tokens=56)
        tokenizer = train_tokenizer(vocabulary(rows[:2000], prompts), vocab_size=1024)
        config = small_config(len(tokenizer))
        processor = MPLUGOwl2Processor(
            MPLUGOwl2ImageProcessor(config.visual_config.visual_model.image_size), tokenizer, num_image_tokens=config.num_image_tokens
        )
        network = Network(MPLUGOwl2LlamaForCausalLM(config), processor, prompts, torch.float16)
    else:
        prompts = Prompts(**{**vars(checkpoint.prompts), "level_values": values})
        kept = _dtype_of(checkpoint)
        # A network whose weights stay as they are may be read in half precision; what learns learns in float32.
        model = checkpoint.load_model(kept if spec.lora.rank and spec.fit.dtype != "float32" else torch.float32)
        network = Network(model, checkpoint.load_processor(), prompts, kept)
    if spec.lora.rank:
        network.adapted = with_lora(network.model, spec.lora)
    if spec.fit.gradient_checkpointing:
        network.model.gradient_checkpointing_enable()
    network.model.train()
    return network


def with_lora(model: MPLUGOwl2LlamaForCausalLM, spec: LoraSpec) -> nn.Module:
    """Puts LoRA into every `q_proj` and `v_proj.multiway.1` of the language model, in place; beside it only the visual parts learn."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=spec.rank, lora_alpha=spec.alpha, lora_dropout=spec.dropout, target_modules=_LORA_TARGETS, bias="none", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        if any(part in name for part in _VISUAL) and "pos_embed" not in name:
            parameter.requires_grad_(True)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _dtype_of(checkpoint: Checkpoint) -> torch.dtype:
    """In which the checkpoint's weights are stored."""
    dtype = getattr(MPLUGOwl2Config.from_pretrained(checkpoint.base_location or checkpoint.folder), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
