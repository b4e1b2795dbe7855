"""The five level words as tokens: scores are read off them, whatever the tokenizer."""

from collections.abc import Callable

from artquant.core.schema import LEVELS


def level_token_ids(words: Callable[[str], list[int]], unknown: int | None) -> list[int]:
    """Return the ids of the five levels as the first token after a prompt, in the order of `schema.LEVELS`.

    `words(answer)` are the ids of the prompt's text and the answer, tokenised together. Raises ValueError if a level is not a single token
    of its own there, or shares one with another level.
    """
    before = words("")
    answers = {level: words(f" {level}") for level in LEVELS}
    unfit = [level for level, ids in answers.items() if ids[:-1] != before]
    if unfit:
        raise ValueError(f"the tokenizer has no single token for the level {', '.join(unfit)}: scores need one token for each level")
    ids = [answer[-1] for answer in answers.values()]
    if len(set(ids)) != len(LEVELS) or unknown in ids:
        raise ValueError(f"the tokenizer does not tell the levels {', '.join(LEVELS)} apart")
    return ids
