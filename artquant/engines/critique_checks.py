"""Whether a critique can be believed as a text, by its words alone: pure functions, the same for every engine.

They look for what goes wrong in generation, not for style. A good text that is flagged costs a second try and has a status that misleads,
so each bound is where ordinary prose does not come. On artquant-tiny's critiques of 120 generated paintings, of all five levels, none is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from artquant.core.prompts import turns
from artquant.core.schema import LEVELS, CritiqueStatus

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # scripts without spaces: a character is a word
_MARKERS = re.compile(r"<\|[^<>|]*\|>|\b(?:USER|ASSISTANT|SYSTEM|HUMAN)\s*:|\[/?INST\]", re.IGNORECASE)
_COPIED_WORDS = 7  # in a row, of the question: answers take up its aspects, which are five words at most between two commas
_LONGEST_PERIOD = 24  # words: a sentence
_TIMES = 3  # a phrase in a row; a single word twice as often
_MIN_DISTINCT, _MANY_WORDS = 0.2, 40  # of a long text, the share of its words that are different
_FOREIGN_WORDS = 3
_LATIN_SHARE = 0.7
_FUNCTION_WORDS = {  # no word is in two languages
    "English": "the of and with this that is are it its from by an which while as to at has have into where",
    "German": "der das und ist mit von dem den ein eine einer eines nicht auf sich werden wird durch für sind zu bei",
    "French": "le les et est avec des du une dans qui sur pas ce cette sont aux par plus elle il",
    "Spanish": "el los las y con una que del por su está son como pero esta este sus muy",
    "Italian": "il gli di che e con una della dello nel nella sono è questo questa degli delle",
    "Dutch": "het een en van op zijn wordt deze niet voor bij uit aan naar",
    "Portuguese": "o os um uma com não na no do da das dos são pela pelo seu sua",
}
_PRAISE = frozenset(
    _WORD.findall(
        "excellent superb superbly outstanding exceptional exceptionally masterly masterful masterfully brilliant brilliantly magnificent "
        "exquisite stunning spellbound impressive impressively remarkable remarkably accomplished skilful skillful skillfully admirable "
        "beautifully splendid flawless good nicely balanced confident resolved compelling captivating delightful virtuoso"
    )
)
# Words of what may be painted, such as abandoned or chaotic, are in neither.
_BLAME = frozenset(
    _WORD.findall(
        "bad badly poor poorly awful terrible clumsy clumsily crude crudely amateurish awkward awkwardly sloppy "
        "incoherent unfinished unconvincing failing fails failed weak weakly mediocre uninspired disjointed unbalanced "
        "flawed muddled unskilled unmoved"
    )
)
_TURNED = frozenset(
    _WORD.findall(
        "not no never neither nor without lacks lack lacking hardly barely scarcely less isn't doesn't fairly partly poorly weakly "
        "somewhat nothing few"
    )
)


def status_of(critique: Mapping[str, str], is_truncated: bool, questions: Mapping[str, str], probabilities: Sequence[float]) -> str:
    """Return the `CritiqueStatus` of one artwork: the first that holds of empty, looping, truncated, copied_prompt, wrong_language and
    contradicts_score, else ok. The first four are of any part.

    critique, questions: part -> text, and -> the prompt that asked for it; probabilities: five, best level first.
    """
    parts = critique.keys()
    if any(not _words(critique[part]) for part in parts):
        return CritiqueStatus.EMPTY
    if any(is_looping(critique[part]) for part in parts):
        return CritiqueStatus.LOOPING
    if is_truncated:
        return CritiqueStatus.TRUNCATED
    asked = {part: turns(questions[part])[0] for part in parts}
    if any(is_copied(critique[part], asked[part]) for part in parts):
        return CritiqueStatus.COPIED_PROMPT
    whole = " ".join(critique.values())
    if is_foreign(whole, " ".join(asked.values())):
        return CritiqueStatus.WRONG_LANGUAGE
    return CritiqueStatus.CONTRADICTS_SCORE if contradicts(whole, probabilities) else CritiqueStatus.OK


def is_looping(text: str) -> bool:
    """Whether a phrase of up to 24 words stands there three times in a row (a word six times), or a long text has next to no vocabulary."""
    words = _words(text)
    for period in range(1, min(_LONGEST_PERIOD, len(words) // _TIMES) + 1):
        needed = period * (_TIMES - 1) if period > 1 else 2 * _TIMES - 1
        run = 0
        for word, before in zip(words[period:], words, strict=False):
            run = run + 1 if word == before else 0
            if run == needed:
                return True
    return len(words) >= _MANY_WORDS and len(set(words)) < _MIN_DISTINCT * len(words)


def is_copied(text: str, question: str) -> bool:
    """Whether a text has a mark of the chat template, or seven words in a row of the question (all, of a shorter one)."""
    if _MARKERS.search(text):
        return True
    asked, answered = _words(question), f" {' '.join(_words(text))} "
    length = min(_COPIED_WORDS, len(asked))
    runs = (f" {' '.join(asked[start : start + length])} " for start in range(len(asked) - length + 1))
    return length > 2 and any(run in answered for run in runs)


def is_foreign(text: str, question: str) -> bool:
    """Whether a text is in another script than the question, or in another of seven languages by its function words."""
    if (_latin_share(text) < _LATIN_SHARE) if _latin_share(question) > 0.5 else (_latin_share(text) > _LATIN_SHARE):
        return True
    own, counts = function_words(question), function_words(text)
    language = max(own, key=own.__getitem__)
    if not own[language]:
        return False
    other = max(count for name, count in counts.items() if name != language)
    return other >= _FOREIGN_WORDS and other > 2 * counts[language]


def contradicts(text: str, probabilities: Sequence[float]) -> bool:
    """Whether a text praises, and blames nothing, where the likeliest level is poor or bad; or the other way round for good and excellent.

    Two different words of one kind and none of the other: critiques that weigh both are never counted. English only.
    """
    likeliest = max(range(len(LEVELS)), key=probabilities.__getitem__)
    words = _words(text)
    meant = {word for place, word in enumerate(words) if _TURNED.isdisjoint(words[max(0, place - 3) : place])}
    num_praise, num_blame = len(meant & _PRAISE), len(set(words) & _BLAME)
    is_high, is_low = likeliest < 2, likeliest > 2
    return (is_low and num_praise >= 2 and not num_blame) or (is_high and len(meant & _BLAME) >= 2 and not num_praise)


def _words(text: str) -> list[str]:
    return _WORD.findall(_WIDE.sub(lambda character: f" {character[0]} ", text.lower()))


def _latin_share(text: str) -> float:
    letters = [character for character in text if character.isalpha()]
    return sum(ord(character) < 0x250 for character in letters) / len(letters) if letters else 1.0


def function_words(text: str) -> dict[str, int]:
    """Return language -> how many of the text's words are its commonest ones."""
    words = _words(text)
    return {name: sum(word in known for word in words) for name, known in _LANGUAGES.items()}


_LANGUAGES = {name: frozenset(words.split()) for name, words in _FUNCTION_WORDS.items()}
