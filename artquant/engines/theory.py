"""How likely the network finds descriptions that people wrote, given a picture: what `evaluate` measures a picture's part in a text by."""

from collections.abc import Mapping, Sequence
from os.path import commonprefix

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
        return max(len(self._with_answer(part, description[part])[0]) for part in CRITIQUE_PARTS) <= self.max_tokens

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
        ids = self._pad(rows)
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

    def _with_answer(self, part: str, text: str) -> tuple[list[int], int]:
        """Return the ids of a critique's prompt, image expanded, answered by the text as in training; and where the answer starts."""
        prompt = self.engine.prompts.critique[part]
        asked = self.processor.expand(self.processor.tokenize(prompt))
        behind = self.processor.tokenize_text(prompt.split(IMAGE_PLACEHOLDER)[1])
        answered = self.processor.tokenize_text(f"{prompt.split(IMAGE_PLACEHOLDER)[1]} {text.strip()}")
        prefix = len(asked) - len(behind)
        # Where the text's first token merges with the prompt's last one, the merged one is the answer's.
        return asked[:prefix] + answered + [self.processor.tokenizer.eos_token_id], prefix + len(commonprefix([behind, answered]))

    def _pad(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Pad the ids at the right: (N, T), on the device."""
        longest, padding = max(map(len, rows)), self.engine.config.pad_token_id or 0
        return torch.tensor([[*row, *[padding] * (longest - len(row))] for row in rows], device=self.engine.device)
