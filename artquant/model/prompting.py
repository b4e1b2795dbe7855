"""Prompts as token ids, exactly as the published code makes them; answers as text."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.core.schema import LEVELS
from artquant.model.levels import level_token_ids


def spaces_last(merges: list[Any]) -> list[Any]:
    """Put the merges of a tokenizer that transformers made from a `tokenizer.model` into SentencePiece's order.

    transformers orders them by id, SentencePiece by score; they differ in runs of spaces, which have low ids and the lowest scores.
    """
    return sorted(merges, key=lambda pair: not "".join(pair).strip("▁"))


class Prompting:
    """What a processor does with text. `tokenizer` is transformers', or :class:`artquant.model.network.PlainTokenizer`."""

    tokenizer: Any
    num_image_tokens: int
    image_token_index: int

    def tokenize(self, prompt: str) -> list[int]:
        """Return the token ids of one prompt, with one `image_token_index` per image.

        The prompt is split at the placeholder and each piece is tokenised on its own, with SentencePiece's leading space; only the first
        piece has the begin-of-sequence token, which the prompt may spell.
        """
        ids = [self.tokenizer.bos_token_id]
        for i, piece in enumerate(prompt.removeprefix(self.tokenizer.bos_token).split(IMAGE_PLACEHOLDER)):
            ids += [self.image_token_index] if i else []
            ids += self.tokenize_text(piece) if piece else []
        return ids

    def tokenize_as_written(self, text: str) -> list[int]:
        """Return the token ids of text that goes on from other text or spells its begin-of-sequence token: nothing goes before it."""
        if text.startswith(self.tokenizer.bos_token):
            return self.tokenize(text)
        first, image, others = text.partition(IMAGE_PLACEHOLDER)
        return [*self.tokenizer.encode(first, add_special_tokens=False), *self.tokenize(image + others)[1:]]

    def tokenize_text(self, text: str) -> list[int]:
        """Return the token ids of one piece of text that follows the start or an image; `</s>` in it is the end token."""
        return self.tokenizer.encode(" " + text, add_special_tokens=False)

    def encode_answer(self, prompt: str, answer: str = "") -> list[int]:
        """Return the token ids of the text after the image and of its answer, which begins with a space, tokenised together."""
        return self.tokenize_text(prompt.split(IMAGE_PLACEHOLDER)[-1] + answer)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Return the token ids of a whole prompt, including the image's; they end with `encode_answer(prompt)`."""
        return self.expand(self.tokenize(prompt))

    def level_token_ids(self, prompt: str, levels: Sequence[str] = LEVELS) -> list[int]:
        """Do as :func:`artquant.model.levels.level_token_ids`, after `prompt`."""
        return level_token_ids(partial(self.encode_answer, prompt), self.tokenizer.unk_token_id, levels)

    def decode_answer(self, ids: Sequence[int]) -> str:
        """Decode generated ids up to their end token, if there is one."""
        stop = ids.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in ids else len(ids)
        return self.tokenizer.decode(ids[:stop], skip_special_tokens=True).strip()

    def expand(self, ids: Sequence[int]) -> list[int]:
        """Replace each image's one id by `num_image_tokens` of them."""
        return [token for i in ids for token in ([i] * self.num_image_tokens if i == self.image_token_index else [i])]
