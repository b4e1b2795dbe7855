"""What a run trains: a small network from nothing, or a checkpoint of any backbone, whole or by the published LoRA recipe; its export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, GenerationConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from artquant.config import LoraSpec, TrainSpec
from artquant.core.prompts import Prompts
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.chat import ChatProcessor, max_length
from artquant.model.checkpoint import Checkpoint
from artquant.training.examples import vocabulary
from artquant.training.lessons import parts_of
from artquant.training.tokenizer import train_tokenizer

_LORA_TARGETS = r"model\.layers\.\d+\.self_attn\.(q_proj|v_proj\.multiway\.1)"
_VISUAL = ("vision_model.", "visual_abstractor.")


@dataclass
class Network:
    """`model` learns; `adapted` is its peft wrapper, or None where all parameters learn. Weights are exported as `export_dtype`."""

    model: Any  # MPLUGOwl2LlamaForCausalLM, or another image-text-to-text model of transformers
    processor: MPLUGOwl2Processor | ChatProcessor
    prompts: Prompts
    export_dtype: torch.dtype
    adapted: Any = None

    @property
    def image_size(self) -> int:
        own = isinstance(self.processor, MPLUGOwl2Processor)
        return self.model.config.visual_config.visual_model.image_size if own else self.processor.image_size

    @property
    def max_length(self) -> int:
        return max_length(self.model.config)

    @property
    def layers(self) -> list[nn.Module]:
        """The layers that FSDP shards one by one."""
        if isinstance(self.model, MPLUGOwl2LlamaForCausalLM):
            return [*self.model.model.layers, *self.model.model.vision_model.encoder.layers]
        return [module for module in self.model.modules() if isinstance(module, GradientCheckpointingLayer)]

    def export(self, folder: Path) -> None:
        """Save a whole checkpoint; LoRA weights are merged, so the network cannot be trained any further."""
        model = self.adapted.merge_and_unload() if self.adapted is not None else self.model
        if isinstance(self.processor, ChatProcessor):  # its own may be one that transformers reads but does not write
            generation = model.generation_config
            model.generation_config = GenerationConfig(eos_token_id=generation.eos_token_id, pad_token_id=generation.pad_token_id)
        model.to(self.export_dtype).save_pretrained(folder)
        self.processor.save_pretrained(folder)
        self.prompts.save(folder)


def small_config(vocab_size: int, image_size: int = 112) -> MPLUGOwl2Config:
    """Return a configuration with 2.5 M parameters; head size 64 in the language model, so that every engine can run it."""
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
    """Make the same network on every worker and at every start.

    New weights follow the seed, and the tokenizer of a new network follows the texts in `rows`.
    """
    torch.manual_seed(spec.fit.seed)
    values = tuple(spec.annotations.level_values)
    if checkpoint is None:
        prompts = Prompts(level_values=values, max_critique_tokens=56)
        tokenizer = train_tokenizer(vocabulary(rows[:2000], prompts, parts_of(spec.loss, rows)), vocab_size=1024)
        config = small_config(len(tokenizer))
        processor = MPLUGOwl2Processor(
            MPLUGOwl2ImageProcessor(config.visual_config.visual_model.image_size), tokenizer, num_image_tokens=config.num_image_tokens
        )
        network = Network(MPLUGOwl2LlamaForCausalLM(config), processor, prompts, torch.float16)
    else:
        prompts = Prompts(**{**vars(checkpoint.prompts), "level_values": values})
        export_dtype = _dtype_of(checkpoint)
        # A network whose weights stay as they are may be read in half precision; what learns learns in float32.
        model = checkpoint.load_model(export_dtype if spec.lora.rank and spec.fit.dtype != "float32" else torch.float32)
        network = Network(model, checkpoint.load_processor(), prompts, export_dtype)
    if spec.lora.rank:
        network.adapted = with_lora(network.model, spec.lora)
    if spec.fit.gradient_checkpointing:
        network.model.gradient_checkpointing_enable()
    network.model.train()
    return network


def with_lora(model: Any, spec: LoraSpec) -> nn.Module:
    """Put LoRA into `lora_targets`, in place; apart from it only the visual parts are trained."""
    from peft import LoraConfig, get_peft_model

    visual = _visual_parameters(model)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=lora_targets(model),
        bias="none",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    for parameter in visual:
        parameter.requires_grad_(True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def lora_targets(model: Any) -> str | list[str]:
    """List every `q_proj` and `v_proj.multiway.1` of our language model; of another backbone's, every `q_proj` and `v_proj`.

    Raises ValueError if there are none.
    """
    if isinstance(model, MPLUGOwl2LlamaForCausalLM):
        return _LORA_TARGETS
    inside = {id(module) for module in model.get_decoder().modules()}
    names = [name for name, module in model.named_modules() if id(module) in inside and name.endswith((".q_proj", ".v_proj"))]
    if not names:
        raise ValueError("its language model has no q_proj and v_proj to put LoRA into: train it whole, with lora.rank=0")
    return names


def _visual_parameters(model: Any) -> list[nn.Parameter]:
    if isinstance(model, MPLUGOwl2LlamaForCausalLM):
        named = model.named_parameters()
        return [parameter for name, parameter in named if any(part in name for part in _VISUAL) and "pos_embed" not in name]
    speech = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    spoken = {id(parameter) for module in speech if module is not None for parameter in module.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in spoken]


def _dtype_of(checkpoint: Checkpoint) -> torch.dtype:
    """Return the dtype in which the checkpoint's weights are stored."""
    dtype = getattr(AutoConfig.from_pretrained(checkpoint.base_folder, trust_remote_code=False), "dtype", None)
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
