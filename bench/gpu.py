"""The torch engine at full size on one GPU, random bfloat16 weights, beside a plain loop that works as the published script.

Needs torch, transformers, tokenizers and peft only. Prints images per second of both, and the engine's FLOP/s against the rate of this
device's matrix products, measured in the same run. `--size medium --device cpu --dtype float32` tries the script where there is no GPU.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from artquant.core.prompts import Prompts
from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.training.tokenizer import train_tokenizer
from bench.engine import engine_scores, medium_config, plain_scores


def build(config: MPLUGOwl2Config, device: str, dtype: torch.dtype) -> TorchEngine:
    """Make random weights on the device itself: at full size they are 16 GB."""
    from transformers.initialization import no_init_weights

    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device), no_init_weights():
            model = MPLUGOwl2LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02, generator=generator)
    prompts = Prompts()
    tokenizer = train_tokenizer([prompts.score, *prompts.critique.values()], 2048)
    return TorchEngine(model, MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(), tokenizer, config.num_image_tokens), prompts)


def flops_of_a_score(engine: TorchEngine) -> float:
    """Return the FLOPs of a score, counting a multiply-add as two.

    Counted are matrix products and attention of vision, abstractor, and the tokens behind the static prompt.
    """
    config, visual = engine.config, engine.config.visual_config
    vision, abstractor = visual.visual_model, visual.visual_abstractor
    patches = vision.grid_size**2 + 1

    def weights(module: torch.nn.Module) -> int:
        return sum(p.numel() for name, p in module.named_parameters() if p.ndim == 2 and "pos_embed" not in name)

    total = 2.0 * patches * weights(engine.model.model.vision_model.encoder)
    total += 2.0 * patches * 3 * vision.patch_size**2 * vision.hidden_size
    total += 4.0 * patches**2 * vision.hidden_size * vision.num_hidden_layers
    queries = abstractor.num_learnable_queries
    for layer in engine.model.model.visual_abstractor.encoder.layers:
        attention = layer.crossattention.attention
        keys = 2.0 * (queries + patches) * (attention.key.weight.numel() + attention.value.weight.numel())
        total += keys + 2.0 * queries * (weights(layer) - attention.key.weight.numel() - attention.value.weight.numel())
        total += 4.0 * queries * (queries + patches) * abstractor.hidden_size
    tokens, prefix = config.num_image_tokens + len(engine.score_prompt.suffix), engine.score_prompt.keys.shape[3]
    twice = 2 * config.hidden_size * config.num_key_value_heads * config.head_dim  # a token needs one of its two key and value projections
    total += 2.0 * tokens * sum(weights(layer) - twice for layer in engine.model.model.layers)
    total += 4.0 * tokens * (prefix + tokens / 2) * config.hidden_size * config.num_hidden_layers
    return float(total + 2.0 * config.hidden_size * config.vocab_size)


def seconds_of(work: Callable[[], object], device: str, rounds: int = 3) -> float:
    """Return the median seconds that `work` takes, after one warm-up round."""
    seconds = []
    for _ in range(rounds + 1):  # the first warms up
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def matrix_rate(device: str, dtype: torch.dtype, size: int) -> float:
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 10 * 2.0 * size**3 / seconds_of(lambda: [a @ b for _ in range(10)], device)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("full", "medium"), default="full")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--plain-images", type=int, default=16)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--matrix", type=int, default=8192)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    config = MPLUGOwl2Config() if options.size == "full" else medium_config()
    engine = build(config, options.device, dtype)
    name = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    flops, products = flops_of_a_score(engine), matrix_rate(options.device, dtype, options.matrix)
    parameters = sum(p.numel() for p in engine.model.parameters())
    print(f"{name}, torch {torch.__version__}, {options.dtype}, {parameters / 1e9:.2f} G parameters")
    print(f"a score costs {flops / 1e12:.3f} TFLOP; matrix products of {options.matrix}: {products / 1e12:.1f} TFLOP/s")
    pixels = np.random.default_rng(0).integers(0, 256, (options.images, engine.image_size, engine.image_size, 3), dtype=np.uint8)
    few = pixels[: options.plain_images]
    plain = len(few) / seconds_of(lambda: plain_scores(engine, few), options.device, rounds=1)
    print(f"plain loop          {plain:8.2f} images a second  {plain * flops / products:6.1%} of the products' rate")
    for size in options.batch_sizes:
        rate = len(pixels) / seconds_of(lambda size=size: engine_scores(engine, pixels, size), options.device)  # type: ignore[misc]
        print(
            f"engine, batch {size:4}  {rate:8.2f} images a second  {rate * flops / products:6.1%}  {rate / plain:.1f} x plain", flush=True
        )
    critiques = pixels[: options.batch_sizes[0]]
    took = seconds_of(lambda: engine.assess(critiques, critique=True), options.device, rounds=1)
    tokens = 3 * len(critiques) * engine.prompts.max_critique_tokens  # random weights do not end their answers
    print(f"score and critique  {len(critiques) / took:8.2f} images a second, about {tokens / took:,.0f} tokens a second")


if __name__ == "__main__":
    main()
