"""Whether a text is in the language that was asked for, as far as its commonest words tell."""

from __future__ import annotations

from artquant.engines.critique_checks import function_words

_FEW_WORDS = 3


def is_in_language(text: str, language: str) -> bool:
    """Return False where the function words of another of seven languages are three or more and twice as many; True for languages whose
    words are not known here."""
    counts = function_words(text)
    if language not in counts:
        return True
    other = max(count for name, count in counts.items() if name != language)
    return not (other >= _FEW_WORDS and other > 2 * counts[language])
