"""Small checkpoints with random weights, for tests."""

from pathlib import Path

import torch

from artquant.core.prompts import Prompts
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.training.tokenizer import train_tokenizer

TEXTS = [
    "a calm painting of the sea at dusk , blue and grey , with soft light",
    "the quality of this painting : excellent good fair poor bad",
]


def random_config(**kwargs) -> MPLUGOwl2Config:
    visual = {
        "visual_model": dict(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
        ),
        "visual_abstractor": dict(
            num_learnable_queries=4,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=48,
            encoder_hidden_size=32,
            grid_size=4,
        ),
    }
    sizes = dict(vocab_size=512, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1)
    return MPLUGOwl2Config(visual_config=visual, **{**sizes, **kwargs})


def save_random_checkpoint(folder: Path, config: MPLUGOwl2Config | None = None, seed: int = 0, scale: float = 8.0, **prompts) -> Path:
    """A complete checkpoint folder; weights are `scale` times the usual initialisation, so that different images get different answers."""
    config = config or random_config()
    torch.manual_seed(seed)
    model = MPLUGOwl2LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "pos_embed" not in name:
                parameter.mul_(scale)
    model.save_pretrained(folder)
    processor = MPLUGOwl2Processor(
        MPLUGOwl2ImageProcessor(config.visual_config.visual_model.image_size),
        train_tokenizer([*TEXTS, Prompts().score], config.vocab_size),
        num_image_tokens=config.num_image_tokens,
    )
    processor.save_pretrained(folder)
    Prompts(**prompts).save(folder)
    return folder
