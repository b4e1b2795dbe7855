"""The torch engine: one device, static prompts' keys and values, one pass of the vision tower for score and critique alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from artquant.core.prompts import Prompts
from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines import FREQUENCY_PENALTY, MIN_TOKENS, Assessment, Critiques
from artquant.engines.domain import Domain, features_of, read_domain
from artquant.engines.kv_cache import KVCache
from artquant.model.checkpoint import Checkpoint
from artquant.model.decoder import ImagePositions
from artquant.model.network import Network
from artquant.model.prompting import Prompting
from artquant.model.vision import normalise

if TYPE_CHECKING:
    from artquant.model import MPLUGOwl2LlamaForCausalLM


@dataclass
class StaticPrompts:
    """N prompts up to their images, computed once, padded at the left to one length P, and the text that they share behind the image.

    keys, values (layers, N, heads, P, head_dim); is_token (N, P) bool: false where there is padding; suffix (S, C) embeddings.
    """

    keys: torch.Tensor
    values: torch.Tensor
    is_token: torch.Tensor
    suffix: torch.Tensor


def read_levels(logits: torch.Tensor, level_ids: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Read (B, vocabulary) logits where the level is due as closed-set probabilities (B, words) and open-set mass (B,), float64.

    The mass needs the whole row: one position per image, 0.01 % of the work at full size.
    """
    levels = logits.float().log_softmax(-1)[:, level_ids].double()
    return levels.softmax(-1).cpu().numpy(), levels.exp().sum(-1).cpu().numpy()


class TorchEngine:
    """An :class:`artquant.engines.Engine` on the CPU or one GPU.

    Raises ValueError for a tokenizer in which a level is not one token of its own.
    """

    def __init__(self, model: Network | MPLUGOwl2LlamaForCausalLM, processor: Prompting, prompts: Prompts, domain: Domain | None = None):
        self.model: Any = model.eval()
        self.processor: Any = processor
        self.device, self.dtype, self.prompts = self.model.device, self.model.dtype, prompts
        self.config: Any = self.model.config
        self.scale = prompts.scale
        self.image_size: int = self.config.visual_config.visual_model.image_size
        self.level_ids = torch.tensor(processor.level_token_ids(prompts.score, prompts.words), device=self.device)
        self.shares = self.scale.shares(np.array(prompts.word_values))
        self.score_prompt = self._compute([prompts.score])
        self.domain = domain
        if domain:
            self.model.model.vision_model.encoder.layers[domain.layer].register_forward_hook(self._keep_patches)
        self.critique_prompts = self._compute([prompts.critique[part] for part in CRITIQUE_PARTS])

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32") -> Self:
        model, processor = checkpoint.open_network(getattr(torch, dtype))
        return cls(model.to(device), processor, checkpoint.prompts, read_domain(checkpoint.folder))

    @torch.inference_mode()
    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        features = self._look(pixels)
        distance = self.domain.distance(features_of(self._patches)) if self.domain else None
        probabilities, mass = self._score(features)
        result = Assessment(probabilities, mass, [None] * len(pixels), ["not_requested"] * len(pixels), distance)
        if critique:
            result.critiques, result.critique_statuses = self._critique(features)
        return result

    @torch.inference_mode()
    def rewrite(self, pixels: np.ndarray) -> Critiques:
        return self._critique(self._look(pixels), FREQUENCY_PENALTY, MIN_TOKENS)

    def _keep_patches(self, layer: torch.nn.Module, inputs: object, patches: torch.Tensor) -> None:
        self._patches = patches

    def _look(self, pixels: np.ndarray) -> torch.Tensor:
        images = normalise(torch.from_numpy(pixels).to(self.device, non_blocking=True)).to(self.dtype)
        features: torch.Tensor = self.model.get_image_features(images)
        return features

    def _score(self, features: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        cache, _ = self._start(self.score_prompt, features, room=0)
        logits = self._answer(self.score_prompt, features, cache, attention_mask=None)
        probabilities, mass = read_levels(logits, self.level_ids)
        return probabilities @ self.shares, mass

    def _critique(self, features: torch.Tensor, penalty: float = 0.0, min_tokens: int = 0) -> Critiques:
        """Decode the critique's parts of all images greedily in one batch of 3 B rows: row = part * B + image.

        penalty: taken from a token's logit for each time that the row has it; no row ends before `min_tokens`.
        """
        batch, room = len(features), self.prompts.max_critique_tokens
        cache, attention_mask = self._start(self.critique_prompts, features, room)
        repeated = features.repeat(len(CRITIQUE_PARTS), 1, 1)
        logits = self._answer(self.critique_prompts, repeated, cache, attention_mask)
        rows = torch.arange(len(repeated), device=self.device)
        writing = torch.ones_like(rows, dtype=torch.bool)  # a row that has ended may stay in the batch for a while
        tokens = torch.full((len(repeated), room), self.config.eos_token_id, device=self.device)
        counts = torch.zeros_like(logits) if penalty else None
        for step in range(room):
            logits[:, self.config.placeholder_id] = -torch.inf
            if step < min_tokens:
                logits[:, self.config.eos_token_id] = -torch.inf
            following = (logits if counts is None else logits - penalty * counts).argmax(-1)
            if counts is not None:
                counts.scatter_add_(1, following[:, None], counts.new_ones(len(counts), 1))
            tokens[rows, step] = following
            writing = writing & (following != self.config.eos_token_id)
            if step == room - 1 or not writing.any():
                rows = rows[writing]
                break
            if writing.sum() <= 0.75 * len(rows):  # moving the cache costs about as much as a step: not at each end
                index = writing.nonzero().squeeze(1)
                rows, following, attention_mask, writing = rows[index], following[index], attention_mask[index], writing[index]
                cache.keep(index)
                counts = None if counts is None else counts[index]
            attention_mask = torch.cat([attention_mask, attention_mask.new_ones(len(rows), 1)], dim=1)
            logits = self._logits(self.model.model.embed_tokens(following)[:, None], None, cache, attention_mask)
        truncated = set((rows % batch).tolist())
        texts = [self.processor.decode_answer(row) for row in tokens.tolist()]
        critiques: list[dict[str, str] | None] = [
            {part: texts[i * batch + image] for i, part in enumerate(CRITIQUE_PARTS)} for image in range(batch)
        ]
        return critiques, ["truncated" if image in truncated else "ok" for image in range(batch)]

    def _compute(self, prompts: list[str]) -> StaticPrompts:
        ids = [self.processor.tokenize(prompt) for prompt in prompts]
        at = [row.index(self.config.image_token_index) for row in ids]
        suffix = ids[0][at[0] + 1 :]
        longest = max(at)
        padded = [[self.config.pad_token_id or 0] * (longest - stop) + row[:stop] for row, stop in zip(ids, at, strict=True)]
        is_token = torch.tensor([[False] * (longest - stop) + [True] * stop for stop in at], device=self.device)
        with torch.inference_mode():
            cache = self._cache(len(prompts), longest)
            embeds = self.model.model.embed_tokens(torch.tensor(padded, device=self.device))
            self._logits(embeds, None, cache, is_token)
            tail = self.model.model.embed_tokens(torch.tensor(suffix, device=self.device))
        return StaticPrompts(cache.keys, cache.values, is_token, tail)

    def _start(self, prompts: StaticPrompts, features: torch.Tensor, room: int) -> tuple[KVCache, torch.Tensor]:
        """Make a cache with each prompt's beginning for each image, and the mask (N * B, length) up to the answer.

        The cache has `room` for the answer.
        """
        batch, prefix = len(features), prompts.keys.shape[3]
        length = prefix + features.shape[1] + len(prompts.suffix)
        cache = self._cache(prompts.keys.shape[1] * batch, length + room)
        cache.keys[:, :, :, :prefix] = prompts.keys.repeat_interleave(batch, dim=1)
        cache.values[:, :, :, :prefix] = prompts.values.repeat_interleave(batch, dim=1)
        cache.length = prefix
        mask = prompts.is_token.repeat_interleave(batch, dim=0)
        return cache, torch.nn.functional.pad(mask, (0, length - prefix), value=True)

    def _answer(self, prompts: StaticPrompts, features: torch.Tensor, cache: KVCache, attention_mask: torch.Tensor | None) -> torch.Tensor:
        """Read the images and the text behind them; return the logits (rows, vocabulary) at the last position."""
        embeds = torch.cat([features, prompts.suffix.expand(len(features), -1, -1)], dim=1)
        return self._logits(embeds, (0, features.shape[1]), cache, attention_mask)

    def _logits(
        self, embeds: torch.Tensor, image_positions: ImagePositions, cache: KVCache, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        positions = None
        if attention_mask is not None:  # a padded prompt starts at position 0 all the same
            positions = (attention_mask.long().cumsum(1) - 1).clamp(min=0)[:, -embeds.shape[1] :]
        hidden = self.model.model.hidden(embeds, image_positions, attention_mask, positions, cache)
        return self.model.lm_head(hidden[:, -1])

    def _cache(self, rows: int, max_length: int) -> KVCache:
        config = self.config
        return KVCache(config.num_hidden_layers, rows, config.num_key_value_heads, max_length, config.head_dim, self.dtype, self.device)
