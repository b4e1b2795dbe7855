"""Images per second of the torch engine against a plain loop that works as the published evaluation script does, in one run.

The plain loop takes one image at a time, the whole prompt, attention written out with its probabilities kept, and logits at every position.
Medium size, random weights: about 63 M parameters, vision is 92 % of the time. Needs torch and transformers only.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F

from artquant.core.memory import keep_freed_memory
from artquant.core.prompts import Prompts
from artquant.engines.torch_engine import TorchEngine
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor, vision
from artquant.model.vision import normalise
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
def attention_written_out(probabilities: list[torch.Tensor]) -> Iterator[None]:
    """Compute attention in the block as the published vision code does: scores, softmax, probabilities kept."""

    def attend(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False, **_: Any
    ) -> torch.Tensor:
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if is_causal:
            scores = scores.masked_fill(~torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril(), -torch.inf)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        probabilities.append(scores.softmax(-1))
        return probabilities[-1] @ v

    original = F.scaled_dot_product_attention
    setattr(F, "scaled_dot_product_attention", attend)  # noqa: B010
    fused, vision.attend = vision.attend, attend
    try:
        yield
    finally:
        setattr(F, "scaled_dot_product_attention", original)  # noqa: B010
        vision.attend = fused


@torch.inference_mode()
def plain_scores(engine: TorchEngine, pixels: np.ndarray) -> np.ndarray:
    ids = torch.tensor([engine.processor.expand(engine.processor.tokenize(engine.prompts.score))], device=engine.device)
    scores = []
    for image in pixels:
        attention: list[torch.Tensor] = []
        with attention_written_out(attention):
            tensor = normalise(torch.from_numpy(image[None]).to(engine.device)).to(engine.dtype)
            logits = engine.model(ids, pixel_values=tensor, use_cache=True).logits
        scores.append(logits[0, -1, engine.level_ids].float().softmax(-1).cpu().double() @ torch.tensor(engine.scale.values).double())
    return torch.stack(scores).numpy()


def engine_scores(engine: TorchEngine, pixels: np.ndarray, batch_size: int) -> np.ndarray:
    parts = [engine.assess(pixels[i : i + batch_size]).probabilities for i in range(0, len(pixels), batch_size)]
    return cast(np.ndarray, np.concatenate(parts) @ np.asarray(engine.scale.values))


def build(dtype: torch.dtype) -> TorchEngine:
    torch.manual_seed(0)
    config, prompts = medium_config(), Prompts()
    model = MPLUGOwl2LlamaForCausalLM(config).to(dtype)
    tokenizer = train_tokenizer([prompts.score, *prompts.critique.values()], config.vocab_size)
    processor = MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(), tokenizer, num_image_tokens=config.num_image_tokens)
    return TorchEngine(model, processor, prompts)


def child(side: str, dtype: str, num_images: int, batch_size: int) -> None:
    """Print, as JSON, images per second and scores of one side, in a separate process: each side has its own memory allocator.

    `plain` is the published loop in a plain script; `engine` runs as our workers do (`keep_freed_memory`); `plain-kept` is the plain loop
    with our workers' allocator.
    """
    if side != "plain":
        keep_freed_memory()
    engine = build(getattr(torch, dtype))
    pixels = np.random.default_rng(0).integers(0, 256, (num_images, engine.image_size, engine.image_size, 3), dtype=np.uint8)

    def run(images: np.ndarray) -> np.ndarray:
        return engine_scores(engine, images, batch_size) if side == "engine" else plain_scores(engine, images)

    run(pixels[:batch_size])
    started = time.perf_counter()
    scores = run(pixels)
    print(json.dumps({"rate": num_images / (time.perf_counter() - started), "scores": scores.tolist()}))


def measure(side: str, dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.engine", "--side", side, "--dtype", dtype]
    command += ["--images", str(options.images), "--batch-size", str(options.batch_size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return cast(dict[str, Any], json.loads(done.stdout.splitlines()[-1]))


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
    parser.add_argument("--side", choices=("plain", "plain-kept", "engine"), help="measure one side in this process")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    if options.side:
        return child(options.side, options.dtype, options.images, options.batch_size)
    parameters = sum(p.numel() for p in build(torch.float32).model.parameters())
    print(f"medium size: {parameters / 1e6:.1f} M parameters, 448 px, batches of {options.batch_size}, {torch.get_num_threads()} threads")
    print(f"images a second, median of {options.rounds}")
    dtypes = ["float32", "bfloat16"] if has_avx512_bf16() else ["float32"]
    sides = [(side, dtype) for dtype in dtypes for side in ("plain", "plain-kept", "engine")]
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in sides}
    for _ in range(options.rounds):  # rounds alternate all sides
        for key in sides:
            runs[key].append(measure(*key, options))
    rates = {key: statistics.median(run["rate"] for run in measured) for key, measured in runs.items()}
    script = rates["plain", "float32"]
    for side, dtype in sides:
        rate = rates[side, dtype]
        line = f"  {side:<11}{dtype:<10}{rate:6.2f}   {rate / script:5.2f} x the plain loop in float32"
        if side == "engine":
            difference = np.abs(np.subtract(runs[side, dtype][0]["scores"], runs["plain", dtype][0]["scores"])).max()
            goal = {"float32": 1.45, "bfloat16": 2.2}[dtype]
            line += f" (goal {goal}), {rate / rates['plain', dtype]:.2f} x the same dtype; scores differ by {difference:.1e} at most"
        print(line)
    if "bfloat16" not in dtypes:
        print("  bfloat16 is not measured: this CPU has no AVX512-BF16")


if __name__ == "__main__":
    main()
