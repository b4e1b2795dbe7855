"""Trains `artquant-tiny`, the small checkpoint of the sample, on generated paintings: `python -m artquant.training.tiny --out FOLDER`.

Same architecture, template and losses as the full size; seeds of training and held-out paintings never meet (see SEEDS).
"""

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from artquant.engines.torch_engine import TorchEngine
from artquant.memory import keep_freed_memory
from artquant.metrics import plcc, srcc
from artquant.model import MPLUGOwl2Config, MPLUGOwl2ImageProcessor, MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Processor
from artquant.model.processing import normalise
from artquant.paintings import Painting, attributes_in, attributes_of, paint
from artquant.paintings.seeds import HELD_OUT, TRAINING
from artquant.prompts import Prompts
from artquant.schema import CRITIQUE_PARTS
from artquant.training.losses import IGNORE, description_loss, score_loss
from artquant.training.school import Lesson, Tutor, batches, pad, render_squares, soft_labels, vocabulary
from artquant.training.sight import Sight, start_seeing
from artquant.training.tokenizer import train_tokenizer

IMAGE_SIZE = 112


def tiny_config(vocab_size: int) -> MPLUGOwl2Config:
    """2.5 M parameters; head size 64 in the language model, so that every engine can run it."""
    visual = {
        "visual_model": dict(
            hidden_size=128, intermediate_size=384, num_hidden_layers=5, num_attention_heads=4, image_size=IMAGE_SIZE, patch_size=14
        ),
        "visual_abstractor": dict(
            num_learnable_queries=16,
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            encoder_hidden_size=128,
            grid_size=8,
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


def learning_rate(step: int, num_steps: int, peak: float, warm_up: int = 40) -> float:
    """Linear warm-up, then a cosine to zero."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, num_steps - warm_up)))


def see(model: MPLUGOwl2LlamaForCausalLM, sight: Sight, squares: np.ndarray, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Image features (B, Q + 1, C) of the paintings `rows`, and what the heads make of them."""
    vision_tokens = model.model.vision_model(normalise(torch.from_numpy(np.array(squares[rows]))))
    features = model.model.visual_abstractor(vision_tokens)
    return features, sight.loss(vision_tokens, features, rows)


def speak(
    model, features: torch.Tensor, lessons: list[list[Lesson]], targets: np.ndarray, level_ids: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Both losses of B paintings with their four lessons each; only answers get logits."""
    flat = [lesson for row in lessons for lesson in row]
    ids, labels, mask = pad(flat)
    embeds = model.model.embed(ids, features.repeat_interleave(len(lessons[0]), dim=0))
    is_image = ids == model.config.image_token_index
    hidden = model.model(inputs_embeds=embeds, attention_mask=mask, image_positions=is_image).last_hidden_state
    first = int((labels != IGNORE).int().argmax(1).min()) - 1
    logits = model.lm_head(hidden[:, first:])
    labels, positions = labels[:, first:], torch.tensor([lesson.level_position - first for lesson in flat])
    is_score = positions > 0
    score = score_loss(logits[is_score], labels[is_score], positions[is_score], torch.from_numpy(targets), level_ids)
    return {"description": description_loss(logits[~is_score], labels[~is_score]), "score": score}


def train(squares: np.ndarray, paintings: list[Painting], options: argparse.Namespace) -> TorchEngine:
    """`sight_steps` in which the visual parts learn alone, then `steps` in which all of the network learns both tasks."""
    torch.manual_seed(options.seed)
    prompts = Prompts(max_critique_tokens=56)
    tokenizer = train_tokenizer(vocabulary(paintings[:2000], prompts), vocab_size=1024)
    config = tiny_config(len(tokenizer))
    processor = MPLUGOwl2Processor(MPLUGOwl2ImageProcessor(IMAGE_SIZE), tokenizer, num_image_tokens=config.num_image_tokens)
    model = MPLUGOwl2LlamaForCausalLM(config).train()
    start_seeing(model, squares[:1500])
    sight = Sight(model, paintings)
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained if p.ndim <= 1]},
        {"params": list(sight.parameters()), "haste": 5.0},
    ]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    level_ids = torch.tensor(processor.level_token_ids(prompts.score))
    tutor = Tutor(processor, prompts)
    lessons, targets = [tutor.lessons(painting) for painting in paintings], soft_labels(paintings, prompts)
    order = batches(len(paintings), options.batch_size, np.random.default_rng(options.seed))
    for phase, num_steps in (("sight", options.sight_steps), ("speech", options.steps)):
        kept = options.cache / "sight.pt"
        if phase == "sight" and kept.is_file():
            state = torch.load(kept, weights_only=True)
            model.load_state_dict(state["model"]), sight.load_state_dict(state["heads"])
            print(f"sight: as it was learnt in {kept}", flush=True)
            continue
        started = time.monotonic()
        for step in range(num_steps):
            rows = np.sort(next(order))
            for group in optimizer.param_groups:
                # Sight ends at half its rate: speech goes on from there.
                group["lr"] = group.get("haste", 1.0) * learning_rate(step, 2 * num_steps if phase == "sight" else num_steps, options.peak)
            with torch.autocast("cpu", torch.bfloat16):
                features, losses = see(model, sight, squares, rows)
                parts = {"sight": losses}
                if phase == "speech":
                    parts |= speak(model, features, [lessons[i] for i in rows], targets[rows], level_ids)
            optimizer.zero_grad()
            torch.stack(list(parts.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            if step % 50 == 49 or step == num_steps - 1:
                took = time.monotonic() - started
                left = took / (step + 1) * (num_steps - step - 1)
                shown = " ".join(f"{name} {loss.item():.3f}" for name, loss in parts.items())
                rate = (step + 1) * options.batch_size / took
                seen = " ".join(f"{name} {share:.2f}" for name, share in zip(sight.names, sight.shares.tolist(), strict=True))
                print(f"{phase} {step + 1}/{num_steps}  {shown}  ({seen})  {rate:.0f} paintings/s, {left:.0f} s left", flush=True)
        if phase == "sight":
            torch.save({"model": model.state_dict(), "heads": sight.state_dict()}, kept)
    return TorchEngine(model, processor, prompts)


@dataclass(frozen=True)
class Verdict:
    srcc: float
    plcc: float
    attributes: float  # share of the attributes that critiques name rightly, mean over attributes
    by_attribute: dict[str, float]


def judge(engine: TorchEngine, squares: np.ndarray, paintings: list[Painting], num_critiques: int) -> Verdict:
    """Against the raters' means, and against the latents that critiques should name."""
    probabilities = np.concatenate([engine.assess(np.asarray(squares[i : i + 50])).probabilities for i in range(0, len(squares), 50)])
    predicted, human = probabilities @ np.asarray(engine.scale.values), np.array([p.score for p in paintings])
    named: dict[str, list[bool]] = {}
    for i in range(0, min(num_critiques, len(squares)), 50):
        texts = engine.assess(np.asarray(squares[i : i + 50]), critique=True).critiques
        for painting, critique in zip(paintings[i : i + 50], texts, strict=False):
            said = attributes_in(" ".join((critique or {})[part] for part in CRITIQUE_PARTS))
            for name, value in attributes_of(painting.latents).items():
                named.setdefault(name, []).append(said.get(name) == value)
    shares = {name: float(np.mean(values)) for name, values in named.items()}
    return Verdict(srcc(predicted, human), plcc(predicted, human), float(np.mean(list(shares.values()))), shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--cache", type=Path, default=Path(".artquant/school"), help="folder that keeps the rendered paintings")
    parser.add_argument("--paintings", type=int, default=16_000)
    parser.add_argument("--sight-steps", type=int, default=2_600)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--batch-size", type=int, default=48)
    parser.add_argument("--peak", type=float, default=1e-3, help="the highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_freed_memory()
    school, held_out = TRAINING[: options.paintings], HELD_OUT[:500]
    print(f"rendering {len(school)} paintings to learn from and {len(held_out)} to be judged by", flush=True)
    squares = render_squares(school, IMAGE_SIZE, options.cache / f"training-{IMAGE_SIZE}.npy")
    unseen = render_squares(held_out, IMAGE_SIZE, options.cache / f"held-out-{IMAGE_SIZE}.npy")
    engine = train(squares, [paint(seed) for seed in school], options)
    verdict = judge(engine, unseen, [paint(seed) for seed in held_out], num_critiques=len(held_out))
    print(json.dumps(asdict(verdict), indent=1))
    engine.model.to(torch.float16).save_pretrained(options.out)
    engine.processor.save_pretrained(options.out)
    engine.prompts.save(options.out)


if __name__ == "__main__":
    main()
