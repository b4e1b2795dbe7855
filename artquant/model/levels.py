"""The words of a score as tokens: scores are read off them, whatever the tokenizer."""

from collections.abc import Callable, Sequence

from artquant.core.schema import LEVELS


def level_token_ids(words: Callable[[str], list[int]], unknown: int | None, levels: Sequence[str] = LEVELS) -> list[int]:
    """Return the ids of the levels, or of a checkpoint's own score words, as the first token after a prompt, in their order.

    `words(answer)` are the ids of the prompt's text and the answer, tokenised together. Raises ValueError if a level is not a single token
    of its own there, or shares one with another level.
    """
    before = words("")
    answers = {level: words(f" {level}") for level in levels}
    unfit = [level for level, ids in answers.items() if ids[:-1] != before]
    if unfit:
        raise ValueError(f"the tokenizer has no single token for the level {_listed(unfit)}: scores need one token for each level")
    ids = [answer[-1] for answer in answers.values()]
    if len(set(ids)) != len(levels) or unknown in ids:
        raise ValueError(f"the tokenizer does not tell the levels {_listed(levels)} apart")
    return ids


def _listed(levels: Sequence[str]) -> str:
    return ", ".join(levels[:5]) + (f" and {len(levels) - 5} more" if len(levels) > 5 else "")
