"""The three terms of H(Y|Z) <= H(Y|D) + H(D|Z) (ARTQUANT, arXiv 2512.23413, section on theory) as the model itself estimates them, in nats.

Y is the level, D the description in its three parts, Z the image. H(Y|Z) is the entropy of a score row; the other two are here.
"""

from collections.abc import Mapping, Sequence
from os.path import commonprefix
from typing import cast

import numpy as np
import torch

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines.torch_engine import TorchEngine
from artquant.model.vision import normalise

Description = Mapping[str, str]  # part -> text, all three parts
_LOGIT_ROWS = 512  # positions whose logits over the vocabulary are held at a time: 64 MB at full size


class TheoryEngine:
    """Asks the network of a :class:`TorchEngine` how likely it finds descriptions that people wrote.

    An answer depends on its artwork alone, whatever the batch: rows are padded at the right, where no token looks.
    """

    def __init__(self, engine: TorchEngine):
        self.engine, self.model, self.processor = engine, engine.model, engine.processor
        self.max_tokens = int(engine.config.max_position_embeddings)

    def fits(self, description: Description) -> bool:
        """Tell whether the network has enough positions for the texts."""
        answers = (self._with_answer(part, description[part])[0] for part in CRITIQUE_PARTS)
        return max(len(self._without_image(description)), *map(len, answers)) <= self.max_tokens

    @torch.inference_mode()
    def entropy_given_text(self, descriptions: Sequence[Description]) -> np.ndarray:
        """Return the entropy of the five levels, closed set, (N,) float64 nats.

        The score's prompt has the three texts in the image's place.
        """
        ids, lengths = self._pad([self._without_image(description) for description in descriptions])
        hidden = self.model.model.hidden(self.model.model.embed_tokens(ids))
        logits = self.model.lm_head(hidden[torch.arange(len(ids), device=ids.device), lengths - 1])
        levels = logits.float().log_softmax(-1)[:, self.engine.level_ids].double().log_softmax(-1)
        return cast(np.ndarray, -(levels.exp() * levels).sum(-1).cpu().numpy())

    @torch.inference_mode()
    def description_nll(self, pixels: np.ndarray, descriptions: Sequence[Description]) -> tuple[np.ndarray, np.ndarray]:
        """Return each description's negative log-likelihood given its image, (N,) float64 nats, and the tokens it sums over, (N,) int64.

        pixels (N, S, S, 3) uint8. Each part is an answer to its own prompt, tokenised as in training, with its end token; parts are added.
        """
        images = normalise(torch.from_numpy(pixels).to(self.engine.device)).to(self.engine.dtype)
        features = self.model.get_image_features(images)
        total, num_tokens = np.zeros(len(pixels)), np.zeros(len(pixels), np.int64)
        for part in CRITIQUE_PARTS:
            rows = [self._with_answer(part, description[part]) for description in descriptions]
            total += self._nll(features, [ids for ids, _ in rows], [start for _, start in rows])
            num_tokens += [len(ids) - start for ids, start in rows]
        return total, num_tokens

    def _nll(self, features: torch.Tensor, rows: list[list[int]], starts: list[int]) -> np.ndarray:
        """Sum -log p of each row's tokens from its start on, (N,); the image stands at the same place in all rows."""
        ids, _ = self._pad(rows)
        image = rows[0].index(self.engine.config.image_token_index)
        span = (image, image + features.shape[1])
        hidden = self.model.model.hidden(self.model.model.embed(ids, features), span)
        at = [(row, position) for row, tokens in enumerate(rows) for position in range(starts[row], len(tokens))]
        total = np.zeros(len(rows))
        for begin in range(0, len(at), _LOGIT_ROWS):
            row, position = torch.tensor(at[begin : begin + _LOGIT_ROWS], device=ids.device).T
            likelihoods = self.model.lm_head(hidden[row, position - 1]).float().log_softmax(-1)
            chosen = likelihoods.gather(1, ids[row, position][:, None]).squeeze(1).double()
            np.subtract.at(total, row.cpu().numpy(), chosen.cpu().numpy())
        return total

    def _without_image(self, description: Description) -> list[int]:
        """Tokenise the score's prompt with the texts in place of the image; each piece is tokenised separately, as beside an image."""
        before, after = self.engine.prompts.score.split(IMAGE_PLACEHOLDER)
        pieces = [before, " ".join(description[part].strip() for part in CRITIQUE_PARTS), after]
        return [self.processor.tokenizer.bos_token_id, *(i for piece in pieces if piece for i in self.processor.tokenize_text(piece))]

    def _with_answer(self, part: str, text: str) -> tuple[list[int], int]:
        """Return the ids of a critique's prompt, image expanded, answered by the text as in training; and where the answer starts."""
        prompt = self.engine.prompts.critique[part]
        asked = self.processor.expand(self.processor.tokenize(prompt))
        behind = self.processor.tokenize_text(prompt.split(IMAGE_PLACEHOLDER)[1])
        answered = self.processor.tokenize_text(f"{prompt.split(IMAGE_PLACEHOLDER)[1]} {text.strip()}")
        prefix = len(asked) - len(behind)
        # Where the text's first token merges with the prompt's last one, the merged one is the answer's.
        return asked[:prefix] + answered + [self.processor.tokenizer.eos_token_id], prefix + len(commonprefix([behind, answered]))

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pad the ids at the right; return ids (N, T) and lengths (N,), on the device."""
        longest = max(map(len, rows))
        padding = self.engine.config.pad_token_id or 0
        ids = torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows], device=self.engine.device)
        return ids, torch.tensor([len(row) for row in rows], device=self.engine.device)
