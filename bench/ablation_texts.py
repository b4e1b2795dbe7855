"""The ablation's texts: each part tells other qualities of a painting, and none says how good it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from artquant.core.schema import CRITIQUE_PARTS
from artquant.paintings.latents import QUALITIES, Latents
from artquant.paintings.words import PHRASES, attributes_of

STEPS = {  # of a quality, low to high; what one sees, not what it is worth
    "harmony": ("hues that stand against each other", "hues that partly agree", "hues of one family"),
    "balance": ("all weight on one side", "weight that leans a little", "weight spread evenly"),
    "control": ("contours that wander", "contours mostly kept", "contours kept throughout"),
    "depth": ("a flat space", "a shallow space", "a deep space"),
    "finish": ("much bare canvas", "some bare canvas", "paint up to every edge"),
}
_TEMPLATES = {
    "perception": (
        "{composition} in {palette}, {line}, {brush}, {light}; one sees {harmony} and {balance}.",
        "In {light} there is {composition} of {palette}, with {harmony}, {balance}, {line} and {brush}.",
        "{brush} and {line} build {composition}; {palette} in {light}, {balance}, {harmony}.",
    ),
    "cognition": (
        "A {subject} in {technique}, with {control} and {depth}.",
        "We see {depth} and {control}: a {subject}, painted with {technique}.",
        "The picture shows a {subject}; {technique} makes {depth} with {control}.",
    ),
    "emotion": (
        "The mood is {mood}; it leaves {finish}.",
        "With {finish}, the picture speaks of {mood}.",
        "There is {mood} in it, and {finish}.",
    ),
}
_COMMENT = ("I see {one} and {two}.", "{one}, {two}; that is what strikes me.", "What I notice is {one}, then {two}.")


def texts_of(latents: Latents, rng: np.random.Generator) -> dict[str, str]:
    """Return part -> text, and under `comment` what a person may say in one sentence: two of the same things."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    said = {name: pick(PHRASES[name][value]) for name, value in attributes_of(latents).items()}
    said |= {name: STEPS[name][min(2, int(3 * getattr(latents, name)))] for name in QUALITIES}
    texts = {part: pick(_TEMPLATES[part]).format(**said) for part in CRITIQUE_PARTS}
    one, two = (said[name] for name in rng.choice(sorted(said), 2, replace=False))
    return {part: text[0].upper() + text[1:] for part, text in {**texts, "comment": pick(_COMMENT).format(one=one, two=two)}.items()}
