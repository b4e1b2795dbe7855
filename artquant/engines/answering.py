"""The torch engines as players of the describe job: a question of its own for each picture, answered in words, and yes against no."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from artquant.engines.chat_engine import ChatEngine
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint

_YES, _NO = ("yes", "Yes"), ("no", "No")


@dataclass(frozen=True)
class Written:
    """An answer without the beginning that its prompt had; `probability`: of yes against no as its first word,
    nan where its tokenizer begins them alike."""

    text: str
    num_prompt_tokens: int
    num_tokens: int
    is_cut_off: bool
    probability: float


class Answering(Protocol):
    """What both engines can do beside scoring."""

    image_size: int

    def answer(
        self, prompts: Sequence[str], pixels: np.ndarray, max_tokens: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        """Answer a prompt for each of pixels (B, S, S, 3). Prompts end alike behind the image. With a temperature, an answer is drawn by
        its seed; it depends on its own picture and prompt alone."""
        ...


def open_answering(checkpoint: Checkpoint, device: str, dtype: str) -> Answering:
    if checkpoint.is_mplug_owl2:
        return AnsweringTorchEngine.load(checkpoint, device, dtype)
    import artquant.model.auto  # noqa: F401  # transformers' Auto classes know our network

    return AnsweringChatEngine.load(checkpoint, device, dtype)


def _drawn(logits: torch.Tensor, temperature: float, draws: Sequence[np.random.Generator]) -> torch.Tensor:
    """(B, V) -> (B,) tokens: the likeliest, or by Gumbel noise of each row's own."""
    if temperature <= 0:
        return logits.argmax(-1)
    noise = np.stack([draw.gumbel(size=logits.shape[1]) for draw in draws])
    return (logits.float() / temperature + torch.from_numpy(noise).to(logits.device, torch.float32)).argmax(-1)


def _yes_share(logits: torch.Tensor, words: dict[bool, list[int]]) -> list[float]:
    """Return p(yes) / (p(yes) + p(no)) of each row; nan where no word is known."""
    if not words[True]:
        return [math.nan] * len(logits)
    logs = logits.float().log_softmax(-1)
    yes, no = (logs[:, words[is_yes]].logsumexp(-1) for is_yes in (True, False))
    return torch.sigmoid(yes - no).double().cpu().tolist()


class AnsweringTorchEngine(TorchEngine):
    """mPLUG-Owl2."""

    @torch.inference_mode()
    def answer(
        self, prompts: Sequence[str], pixels: np.ndarray, max_tokens: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        asked, features = self._compute(list(prompts)), self._look(pixels)
        prefix, rows = asked.keys.shape[3], len(prompts)
        length = prefix + features.shape[1] + len(asked.suffix)
        cache = self._cache(rows, length + max_tokens)
        cache.keys[:, :, :, :prefix], cache.values[:, :, :, :prefix] = asked.keys, asked.values
        cache.length = prefix
        mask = torch.nn.functional.pad(asked.is_token, (0, length - prefix), value=True)
        logits = self._answer(asked, features, cache, mask)
        logits[:, self.config.placeholder_id] = -torch.inf
        shares = _yes_share(logits, self._words(prompts[0]))
        tokens = torch.full((rows, max_tokens), self.config.eos_token_id, device=self.device)
        is_over = torch.zeros(rows, dtype=torch.bool, device=self.device)
        draws = [np.random.default_rng(seed) for seed in seeds]
        for step in range(max_tokens):
            logits[:, self.config.placeholder_id] = -torch.inf
            following = _drawn(logits, temperature, draws).masked_fill(is_over, self.config.eos_token_id)
            tokens[:, step] = following
            is_over |= following == self.config.eos_token_id
            if is_over.all() or step == max_tokens - 1:
                break
            mask = torch.cat([mask, mask.new_ones(rows, 1)], dim=1)
            logits = self._logits(self.model.model.embed_tokens(following)[:, None], None, cache, mask)
        lengths = asked.is_token.sum(1) + length - prefix
        return [
            Written(
                self.processor.decode_answer(row), int(before), row.index(self.config.eos_token_id) if over else max_tokens, not over, share
            )
            for row, before, over, share in zip(tokens.tolist(), lengths.tolist(), is_over.tolist(), shares, strict=True)
        ]

    def _words(self, prompt: str) -> dict[bool, list[int]]:
        return _first_ids(prompt, self.processor.encode_answer)


class AnsweringChatEngine(ChatEngine):
    """Every other backbone, a picture at a time: its prompts differ in length, and not all of these networks take padding."""

    @torch.inference_mode()
    def answer(
        self, prompts: Sequence[str], pixels: np.ndarray, max_tokens: int, temperature: float, seeds: Sequence[int]
    ) -> list[Written]:
        return [self._one(prompt, pixels[i : i + 1], max_tokens, temperature, seeds[i]) for i, prompt in enumerate(prompts)]

    def _one(self, prompt: str, pixels: np.ndarray, max_tokens: int, temperature: float, seed: int) -> Written:
        asked = self._ask(prompt, 1)
        start = asked["input_ids"].shape[1]
        how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature > 0 else {}
        torch.manual_seed(seed)
        made = self.model.generate(
            **asked, **self._look(pixels), **how, max_new_tokens=max_tokens, output_logits=True, return_dict_in_generate=True
        )
        row = made.sequences[0, start:].tolist()
        stop = next((place for place, token in enumerate(row) if token in self.end_ids), None)
        share = _yes_share(made.logits[0], _first_ids(prompt, self.processor.encode_answer))[0]
        text = self.processor.tokenizer.decode(row[:stop], skip_special_tokens=True).strip()
        return Written(text, start, len(row) if stop is None else stop, stop is None, share)


def _first_ids(prompt: str, encode: Callable[[str, str], Sequence[int]]) -> dict[bool, list[int]]:
    """Return the ids with which yes and no begin right behind the prompt; none where they begin alike."""
    space = "" if prompt.endswith('"') else " "
    before, first = encode(prompt, ""), dict[bool, list[int]]({True: [], False: []})
    for yes, no in zip(_YES, _NO, strict=True):
        ids = [encode(prompt, space + word) for word in (yes, no)]
        start = next((place for place, (a, b) in enumerate(zip(*ids, strict=False)) if a != b), 0)
        if list(ids[0][:start]) == list(before[:start]):  # else they part later, at a place whose logits are not at hand
            first[True].append(ids[0][start])
            first[False].append(ids[1][start])
    return first
