"""Images a second of the torch engine against a plain loop that works as the published evaluation script does, in one run.

The plain loop takes one image at a time, the whole prompt, attention written out with its probabilities kept, and logits at every position.
Medium size, random weights: about 63 M parameters, vision is 92 % of the time. Needs torch and transformers only.
"""

import argparse
import math
import statistics
import time
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.processing import normalise
from artquant.prompts import Prompts
from artquant.training.tokenizer import train_tokenizer


def medium_config() -> MPLUGOwl2Config:
    visual = {
        "visual_model": dict(hidden_size=384, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=6),
        "visual_abstractor": dict(hidden_size=384, intermediate_size=1024, num_attention_heads=6, encoder_hidden_size=384),
    }
    return MPLUGOwl2Config(
        visual_config=visual, vocab_size=2048, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8
    )


@contextmanager
def attention_written_out(kept: list):
    """Attention as the published modelling code writes it: scores, float32 softmax, probabilities kept."""

    def attend(q, k, v, attn_mask=None, is_causal=False, **_):
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if is_causal:
            scores = scores.masked_fill(~torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(), -torch.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        kept.append(scores.softmax(-1, dtype=torch.float32).to(q.dtype))
        return kept[-1] @ v

    original = F.scaled_dot_product_attention
    setattr(F, "scaled_dot_product_attention", attend)  # noqa: B010
    try:
        yield
    finally:
        setattr(F, "scaled_dot_product_attention", original)  # noqa: B010


@torch.inference_mode()
def plain_scores(engine: TorchEngine, pixels: np.ndarray) -> np.ndarray:
    ids = torch.tensor([engine.processor.expand(engine.processor.tokenize(engine.prompts.score))], device=engine.device)
    scores = []
    for image in pixels:
        kept: list = []
        with attention_written_out(kept):
            tensor = normalise(torch.from_numpy(image[None]).to(engine.device)).to(engine.dtype)
            logits = engine.model(ids, pixel_values=tensor, use_cache=True).logits
        scores.append(logits[0, -1, engine.level_ids].float().softmax(-1).cpu().double() @ torch.tensor(engine.scale.values).double())
    return torch.stack(scores).numpy()


def engine_scores(engine: TorchEngine, pixels: np.ndarray, batch_size: int) -> np.ndarray:
    parts = [engine.assess(pixels[i : i + batch_size]).probabilities for i in range(0, len(pixels), batch_size)]
    return np.concatenate(parts) @ np.asarray(engine.scale.values)


def build(dtype: torch.dtype) -> TorchEngine:
    torch.manual_seed(0)
    config, prompts = medium_config(), Prompts()
    model = MPLUGOwl2LlamaForCausalLM(config).to(dtype)
    tokenizer = train_tokenizer([prompts.score, *prompts.critique.values()], config.vocab_size)
    processor = MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(), tokenizer, num_image_tokens=config.num_image_tokens)
    return TorchEngine(model, processor, prompts)


def measure(dtype: torch.dtype, num_images: int, batch_size: int, rounds: int) -> tuple[float, float, float]:
    """Median images a second of the plain loop and the engine (rounds alternate), and the largest difference of their scores."""
    engine = build(dtype)
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, engine.image_size, engine.image_size, 3), dtype=np.uint8)
    rates: dict[str, list[float]] = {"plain": [], "engine": []}
    plain_scores(engine, pixels[:2]), engine_scores(engine, pixels[:batch_size], batch_size)
    for _ in range(rounds):
        started = time.perf_counter()
        plain = plain_scores(engine, pixels)
        middle = time.perf_counter()
        ours = engine_scores(engine, pixels, batch_size)
        rates["plain"].append(num_images / (middle - started))
        rates["engine"].append(num_images / (time.perf_counter() - middle))
    return statistics.median(rates["plain"]), statistics.median(rates["engine"]), float(np.abs(plain - ours).max())


def has_avx512_bf16() -> bool:
    try:
        with open("/proc/cpuinfo") as file:
            return "avx512_bf16" in file.read()
    except OSError:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    parameters = sum(p.numel() for p in build(torch.float32).model.parameters())
    print(f"medium size: {parameters / 1e6:.1f} M parameters, 448 px, batches of {options.batch_size}, {torch.get_num_threads()} threads")
    print(f"{'dtype':<10}{'plain loop':>12}{'engine':>10}{'ratio':>8}{'goal':>7}{'score difference':>19}")
    for dtype, goal in ((torch.float32, 1.45), (torch.bfloat16, 2.2)):
        if dtype == torch.bfloat16 and not has_avx512_bf16():
            print("bfloat16  not measured: this CPU has no AVX512-BF16")
            continue
        plain, ours, difference = measure(dtype, options.images, options.batch_size, options.rounds)
        name = str(dtype).removeprefix("torch.")
        print(f"{name:<10}{plain:>8.2f} i/s{ours:>6.2f} i/s{ours / plain:>8.2f}{goal:>7.2f}{difference:>19.2e}")


if __name__ == "__main__":
    main()
