"""What the model looked at: for the score and for each text, how much each patch of the picture counted.

*Attention*: the last text position's weights on the image tokens (text: mean over its tokens), mean over heads and layers, carried back
to the patches by the abstractor's own weights. *Gradient*: what each patch brings into the abstractor (its weight times its value), times
the gradient of the score, or of the text's mean log-likelihood a token, with respect to that; what raises it is positive. It is the
product of attention and its gradient of Chefer et al., arXiv 2103.15679, with its sign. A patch here is the vision tower's answer at that
place, which has seen the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from artquant.core.schema import CRITIQUE_PARTS, SCORE
from artquant.engines.torch_engine import TorchEngine
from artquant.model.vision import VisualCrossAttention, normalise


@dataclass(frozen=True)
class Heat:
    """attention (G, G) float64, sums to one; gradient (G, G) float64 in points of the score, or nats of the text."""

    attention: np.ndarray
    gradient: np.ndarray


def heat_maps(engine: TorchEngine, pixels: np.ndarray, texts: Mapping[str, str]) -> dict[str, Heat]:
    """Return the heat of the score, and of each text of `texts` (part -> what was written, empty ones left out).

    pixels (S, S, 3) uint8. An engine on a GPU computes there.
    """
    questions = {SCORE: (engine.prompts.score, "")}
    questions |= {part: (engine.prompts.critique[part], f" {texts[part]}") for part in CRITIQUE_PARTS if texts.get(part)}
    values = torch.tensor(engine.prompts.word_values, dtype=torch.float64, device=engine.device)
    return {name: _heat(engine, pixels, prompt, answer, values) for name, (prompt, answer) in questions.items()}


def _heat(engine: TorchEngine, pixels: np.ndarray, prompt: str, answer: str, values: torch.Tensor) -> Heat:
    decoder, processor = engine.model.model, engine.processor
    images = normalise(torch.from_numpy(pixels[None]).to(engine.device)).to(engine.dtype)
    with torch.enable_grad(), _watched(engine) as watched:
        patches = decoder.vision_model(images).detach().requires_grad_()
        features = decoder.visual_abstractor(patches)
        before = processor.encode_prompt(prompt)
        tail = len(processor.encode_answer(prompt))
        ids = torch.tensor([before[: len(before) - tail] + processor.encode_answer(prompt, answer)], device=engine.device)
        start = int((ids[0] == engine.config.image_token_index).nonzero()[0])
        span = (start, start + features.shape[1])
        hidden = decoder.hidden(decoder.embed(ids, features), span)
        logits = engine.model.lm_head(hidden[0]).float()
        if answer:
            own = torch.arange(len(before) - 1, ids.shape[1] - 1, device=engine.device)
            target = logits[own].log_softmax(-1).gather(1, ids[0, own + 1][:, None]).mean()
        else:
            own = torch.tensor([ids.shape[1] - 1], device=engine.device)
            target = (logits[-1, engine.level_ids].double().softmax(-1) * values).sum()
        slopes = torch.autograd.grad(target, [layer.made for layer in watched.abstractor])
    raises = torch.stack([layer.brought(slope) for layer, slope in zip(watched.abstractor, slopes, strict=True)]).sum(0)
    seen = torch.stack([weights[0, :, own][..., span[0] : span[1]].float().mean((0, 1)) for weights in watched.text]).mean(0)
    looks = torch.stack([layer.weights[0].float().mean(0) for layer in watched.abstractor]).mean(0)
    num_queries = looks.shape[0]
    attention = _grid(seen[:num_queries] @ looks[:, num_queries:])
    return Heat(attention / attention.sum(), _grid(raises[num_queries:]))


def _grid(patches: torch.Tensor) -> np.ndarray:
    """(1 + G^2,) with the class token first -> (G, G) float64."""
    side = int((len(patches) - 1) ** 0.5)
    return patches[1:].double().reshape(side, side).cpu().numpy()


@dataclass
class _Layer:
    """One layer of the abstractor: weights (1, heads, Q, Q + P), values (1, heads, Q + P, dim), and what it made, (1, Q, C)."""

    weights: torch.Tensor
    values: torch.Tensor
    made: torch.Tensor

    def brought(self, slope: torch.Tensor) -> torch.Tensor:
        """Return (Q + P,): what each token brought into `made`, times the gradient there."""
        slopes = slope.unflatten(-1, (self.weights.shape[1], -1)).transpose(1, 2)
        brought: torch.Tensor = (self.weights * (slopes @ self.values.transpose(-1, -2))).sum((0, 1, 2)).float()
        return brought


@dataclass
class _Watched:
    text: list[torch.Tensor]  # (1, heads, T, T) a layer
    abstractor: list[_Layer]


@contextmanager
def _watched(engine: TorchEngine) -> Iterator[_Watched]:
    """Keep the attention weights of what is computed in the block."""
    watched, config = _Watched([], []), engine.config
    before = getattr(config, "_attn_implementation", None)

    def keep_text(module: torch.nn.Module, given: object, made: Any) -> None:
        watched.text.append(made[1].detach())

    def keep_abstractor(module: torch.nn.Module, given: tuple[torch.Tensor, torch.Tensor], made: torch.Tensor) -> None:
        assert isinstance(module, VisualCrossAttention)
        queries, context = given
        heads = (module.num_heads, -1)
        with torch.no_grad():
            q = module.query(queries + module.q_pos_embed).unflatten(-1, heads).transpose(1, 2)
            k = module.key(context + torch.cat([module.q_pos_embed, module.k_pos_embed])).unflatten(-1, heads).transpose(1, 2)
            v = module.value(context).unflatten(-1, heads).transpose(1, 2)
            weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        watched.abstractor.append(_Layer(weights, v, made))

    decoder = engine.model.model
    hooks = [layer.self_attn.register_forward_hook(keep_text) for layer in decoder.layers]
    hooks += [layer.crossattention.attention.register_forward_hook(keep_abstractor) for layer in decoder.visual_abstractor.encoder.layers]
    config._attn_implementation = "eager"
    try:
        yield watched
    finally:
        config._attn_implementation = before
        for hook in hooks:
            hook.remove()
