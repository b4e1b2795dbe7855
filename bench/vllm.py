"""vLLM against the torch engine on one checkpoint, in one run: scores alone, critiques alone, both; where the time goes.

    python -m bench.vllm                     # both engines, artquant-tiny, generated paintings
    python -m bench.vllm --memory 20000      # resident memory of a long run with vLLM

Each engine runs in a separate process. On the CPU in float32 unless said otherwise.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from artquant.config import EngineSpec
from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines.open import open_engine, resolve
from artquant.engines.recipe import TINY
from artquant.model.checkpoint import Checkpoint
from artquant.paintings.exam import square
from artquant.paintings.seeds import HELD_OUT

WHAT = ("scores", "critiques", "both")


def timed(seconds: dict[str, float], name: Callable[..., str], function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            seconds[name(*arguments, **named)] += time.perf_counter() - started

    return run


def watch_torch(engine: Any, seconds: dict[str, float]) -> None:
    model = engine.model
    model.get_image_features = timed(seconds, lambda *_: "vision", model.get_image_features)
    engine._logits = timed(seconds, lambda embeds, *_: "decode" if embeds.shape[1] == 1 else "prefill", engine._logits)


def watch_vllm(engine: Any, seconds: dict[str, float]) -> None:
    def change(model: Any) -> None:
        placeholder = model.config.placeholder_id
        model.embed_multimodal = timed(seconds, lambda **_: "vision", model.embed_multimodal)
        # A step that reads prompts also writes a token of each answer that is under way: its time counts as prefill.
        phase = lambda ids, *_, **__: "prefill" if bool((ids == placeholder).any()) else "decode"  # noqa: E731
        model.language_model.forward = timed(seconds, phase, model.language_model.forward)

    engine.requests.engine.apply_model(change)


def torch_critiques(engine: Any, pixels: np.ndarray) -> None:
    import torch

    from artquant.model.vision import normalise

    with torch.inference_mode():
        engine._critique(engine.model.get_image_features(normalise(torch.from_numpy(pixels)).to(engine.dtype)))


def child(options: argparse.Namespace) -> None:
    spec = resolve(EngineSpec(name=options.engine, dtype=options.dtype))
    started = time.perf_counter()
    engine: Any = open_engine(spec, Checkpoint.open(options.checkpoint))
    results: dict[str, Any] = {"start": time.perf_counter() - started}
    pixels = np.stack([square(seed, engine.image_size) for seed in HELD_OUT[: options.paintings]])
    step = spec.batch_size or len(pixels)
    batches = [pixels[i : i + step] for i in range(0, len(pixels), step)]
    engine.assess(batches[0], critique=True)  # warm
    if options.memory:
        return print_memory(engine, batches, options.memory)
    seconds: dict[str, float] = defaultdict(float)
    (watch_vllm if options.engine == "vllm" else watch_torch)(engine, seconds)
    asks: dict[str, Callable[[np.ndarray], Any]] = {
        "scores": lambda batch: engine.assess(batch),
        "critiques": (lambda batch: engine.ask(batch, CRITIQUE_PARTS))
        if options.engine == "vllm"
        else lambda b: torch_critiques(engine, b),
        "both": lambda batch: engine.assess(batch, critique=True),
    }
    for what in WHAT:
        seconds.clear()
        started = time.perf_counter()
        answers = [asks[what](batch) for batch in batches]
        wall = time.perf_counter() - started
        results[what] = {"rate": len(pixels) / wall, "shares": {name: spent / wall for name, spent in seconds.items()}}
        if what == "both":
            tokenizer = engine.processor.tokenizer
            texts = [text for answer in answers for critique in answer.critiques for text in critique.values()]
            results["tokens"] = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) + 1 for text in texts) / wall
            results["probabilities"] = np.concatenate([answer.probabilities for answer in answers]).tolist()
            results["texts"] = texts
    print(json.dumps(results))


def print_memory(engine: Any, batches: list[np.ndarray], num_images: int) -> None:
    done, started = 0, time.perf_counter()
    while done < num_images:
        engine.assess(batches[(done // len(batches[0])) % len(batches)])
        before, done = done, done + len(batches[0])
        if before // 1000 != done // 1000:
            rate, resident = done / (time.perf_counter() - started), resident_bytes() / 2**20
            print(f"  {done:,} images, {rate:.0f} a second, resident {resident:,.0f} MiB", flush=True)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def measure(engine: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.vllm", "--engine", engine, "--dtype", options.dtype, "--checkpoint", options.checkpoint]
    done = subprocess.run([*command, "--paintings", str(options.paintings)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return cast(dict[str, Any], json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default=str(TINY))
    parser.add_argument("--paintings", type=int, default=256)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--engine", choices=("torch", "vllm"), help="measure one in this process")
    parser.add_argument("--memory", type=int, default=0, metavar="IMAGES", help="resident memory while so many images are scored")
    options = parser.parse_args()
    if options.memory:
        options.engine = "vllm"
    if options.engine:
        return child(options)
    sides = {name: measure(name, options) for name in ("torch", "vllm")}
    print(f"{options.paintings} paintings, {options.dtype}; torch in batches of 32, vLLM of 128")
    print(f"{'images a second':18}{'torch':>8}{'vLLM':>8}   vLLM / torch")
    for what in WHAT:
        torch_rate, vllm_rate = (sides[name][what]["rate"] for name in ("torch", "vllm"))
        print(f"  {what:16}{torch_rate:8.1f}{vllm_rate:8.1f}   {vllm_rate / torch_rate:.2f}")
    print(f"  {'tokens written':16}{sides['torch']['tokens']:8.0f}{sides['vllm']['tokens']:8.0f}   (both)")
    for name, results in sides.items():
        for what in ("scores", "both"):
            shares = {**results[what]["shares"]}
            shares["rest"] = 1 - sum(shares.values())
            print(f"  {name}, {what}: " + "  ".join(f"{part} {share:.0%}" for part, share in shares.items()))
    print(f"  start, loading included: torch {sides['torch']['start']:.0f} s, vLLM {sides['vllm']['start']:.0f} s")
    probabilities = [np.array(results["probabilities"]) for results in sides.values()]
    values = np.array(Checkpoint.open(options.checkpoint).prompts.level_values)
    difference = np.abs((probabilities[0] - probabilities[1]) @ values)
    same = np.mean([a == b for a, b in zip(sides["torch"]["texts"], sides["vllm"]["texts"], strict=True)])
    quantiles = "  ".join(f"{q:.0%} {np.quantile(difference, q):.2g}" for q in (0.5, 0.9, 0.99, 1.0))
    print(f"  scores differ by: {quantiles}; texts the same {same:.1%}")


if __name__ == "__main__":
    main()
