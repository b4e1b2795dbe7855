"""The torch engine of every backbone but mPLUG-Owl2: transformers' own forward pass and greedy decoding, a batch of one prompt at a time.

Prompts are as long for one image as for any other, so there is no padding, and an image's answer does not depend on its batch.
"""

import hashlib
import inspect
from typing import Any, Self

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from artquant.core.prompts import Prompts, WrittenScore
from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines import FREQUENCY_PENALTY, MIN_TOKENS, Assessment, Critiques
from artquant.engines.torch_engine import read_levels
from artquant.engines.written import read_number, summarise
from artquant.model.chat import ChatProcessor, can_take
from artquant.model.checkpoint import Checkpoint


class _FrequencyPenalty(LogitsProcessor):  # type: ignore[misc]  # transformers has no types here
    """Takes FREQUENCY_PENALTY from a token's logit for each time that it occurs behind the first `start` tokens."""

    def __init__(self, start: int):
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        answered = input_ids[:, self.start :]
        return scores.scatter_add(1, answered, scores.new_full(answered.shape, -FREQUENCY_PENALTY))


class ChatEngine:
    """An :class:`artquant.engines.Engine` on the CPU or one GPU. The model is the engine's own from here on.

    Raises ValueError for a tokenizer in which a level is not one token of its own.
    """

    def __init__(self, model: Any, processor: ChatProcessor, prompts: Prompts):
        self.model, self.processor, self.prompts = model.eval(), processor, prompts
        self.device, self.dtype = model.device, model.dtype
        self.scale = prompts.scale
        self.image_size = processor.image_size
        if not prompts.written_score:
            self.level_ids = torch.tensor(processor.level_token_ids(prompts.score, prompts.words), device=self.device)
            self.shares = self.scale.shares(np.array(prompts.word_values))
        tokenizer, end_ids = processor.tokenizer, model.generation_config.eos_token_id
        ends = {tokenizer.eos_token_id, *(end_ids if isinstance(end_ids, list) else [end_ids])} - {None}
        self.end_ids = sorted(ends)
        padding = next((i for i in (tokenizer.pad_token_id, *self.end_ids) if i is not None), 0)
        # Greedy, whatever the checkpoint came with: temperatures, penalties and beams are for conversation.
        self.model.generation_config = GenerationConfig(
            do_sample=False, max_new_tokens=prompts.max_critique_tokens, eos_token_id=self.end_ids or None, pad_token_id=padding
        )

    @classmethod
    def load(cls, checkpoint: Checkpoint, device: str = "cpu", dtype: str = "float32") -> Self:
        processor = checkpoint.load_processor()
        assert isinstance(processor, ChatProcessor)
        return cls(checkpoint.load_model(getattr(torch, dtype)).to(device), processor, checkpoint.prompts)

    @torch.inference_mode()
    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        batch, seen = len(pixels), self._look(pixels)
        if self.prompts.written_score:
            probabilities, mass, failures = self._written(pixels, self.prompts.written_score)
        else:
            last = {"logits_to_keep": 1} if can_take(self.model, "logits_to_keep") else {}
            logits = self.model(**self._ask(self.prompts.score, batch), **seen, **last, use_cache=False).logits[:, -1]
            (words, mass), failures = read_levels(logits, self.level_ids), {}
            probabilities = words @ self.shares
        result = Assessment(probabilities, mass, [None] * batch, ["not_requested"] * batch, failures=failures)
        if critique:
            result.critiques, result.critique_statuses = self._critique(seen, batch)
        return result

    def _written(self, pixels: np.ndarray, asked: WrittenScore) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Let the model write each picture's score, and read it: probabilities (B, 5), the share of answers that could be read (B,), and
        why a picture has no score. A picture seeds its own answers, so that they depend on nothing else."""
        sampling = {"do_sample": True, "temperature": asked.temperature, "top_k": 0} if asked.samples > 1 else {}
        rows, failures = [], {}
        for number, picture in enumerate(pixels):
            seen = self._look(np.repeat(picture[None], asked.samples, 0))
            seed = int.from_bytes(hashlib.sha256(picture.tobytes()).digest()[:7])
            with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(seed)
                texts = self._answer(self.prompts.score, seen, asked.samples, {"max_new_tokens": asked.max_tokens, **sampling})
            read = [read_number(text, self.scale, is_whole) for text, is_whole in texts]
            probabilities, share, why = summarise(read, self.scale)
            rows.append((probabilities, share))
            if why:
                failures[number] = f"{why}; the first: {texts[0][0][:100]!r}"
        return np.array([row for row, _ in rows]), np.array([share for _, share in rows]), failures

    @torch.inference_mode()
    def rewrite(self, pixels: np.ndarray) -> Critiques:
        return self._critique(self._look(pixels), len(pixels), min(MIN_TOKENS, self.prompts.max_critique_tokens), is_penalised=True)

    def _critique(self, seen: dict[str, Any], batch: int, min_new_tokens: int | None = None, is_penalised: bool = False) -> Critiques:
        changes: dict[str, Any] = {"min_new_tokens": min_new_tokens} if min_new_tokens else {}
        texts = {part: self._answer(self.prompts.critique[part], seen, batch, changes, is_penalised) for part in CRITIQUE_PARTS}
        critiques: list[dict[str, str] | None] = [{part: texts[part][image][0] for part in CRITIQUE_PARTS} for image in range(batch)]
        is_whole = [all(texts[part][image][1] for part in CRITIQUE_PARTS) for image in range(batch)]
        return critiques, ["ok" if whole else "truncated" for whole in is_whole]

    def _look(self, pixels: np.ndarray) -> dict[str, Any]:
        """Compute what the forward passes over B images need of them.

        These are image features if the network can compute them once for all passes, else the pixels themselves.
        """
        pictures = self.processor.pictures(pixels)
        for name, value in pictures.items():
            if isinstance(value, torch.Tensor):
                pictures[name] = value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)
        encode = getattr(self.model.base_model, "get_image_features", None)
        if encode is None or "pixel_values" not in pictures or not can_take(self.model, "mm_encoder_outputs"):
            return pictures
        arguments = {name: pictures[name] for name in inspect.signature(encode).parameters if name in pictures}
        del pictures["pixel_values"]
        return pictures | {"mm_encoder_outputs": {"image": encode(**arguments, return_dict=True)}}

    def _ask(self, prompt: str, batch: int) -> dict[str, torch.Tensor]:
        ids = torch.tensor(self.processor.encode_prompt(prompt), device=self.device).expand(batch, -1)
        return self.processor.tokens(ids, torch.ones_like(ids, dtype=torch.bool))

    def _answer(
        self, prompt: str, seen: dict[str, Any], batch: int, changes: dict[str, Any], is_penalised: bool = False
    ) -> list[tuple[str, bool]]:
        """Decode, greedily but for `changes`; return the text for each image, and whether it ended within its tokens."""
        asked = self._ask(prompt, batch)
        start = asked["input_ids"].shape[1]
        if is_penalised:
            changes = changes | {"logits_processor": LogitsProcessorList([_FrequencyPenalty(start)])}
        rows = self.model.generate(**asked, **seen, **changes)[:, start:].tolist()
        answers = []
        for row in rows:
            stop = next((place for place, token in enumerate(row) if token in self.end_ids), None)
            answers.append((self.processor.tokenizer.decode(row[:stop], skip_special_tokens=True).strip(), stop is not None))
        return answers
