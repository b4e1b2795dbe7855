"""The three texts of a painting, and the way back: which attributes a text names.

Every value of a categorical latent has its own phrases; none of them occurs in another value's phrase or in a template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from artquant.core.scale import Scale
from artquant.core.schema import LEVELS
from artquant.paintings.latents import Latents

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "composition": {
        "centred": ("a centred composition", "a centred layout"),
        "left": ("a composition leaning left", "a layout leaning left"),
        "right": ("a composition leaning right", "a layout leaning right"),
        "diagonal": ("a diagonal composition", "a diagonal layout"),
    },
    "palette": {
        "earth": ("brown earth tones", "brown and umber colours"),
        "blue": ("cool blue tones", "blue and teal colours"),
        "green": ("leafy green tones", "green and olive colours"),
        "rose": ("soft rose tones", "rose and pink colours"),
        "gold": ("golden yellow tones", "gold and amber colours"),
        "violet": ("deep violet tones", "violet and purple colours"),
        "grey": ("silver grey tones", "grey and black colours"),
        "vivid": ("vivid primary tones", "vivid contrasting colours"),
    },
    "line": {
        "crisp": ("crisp contours", "crisp outlines"),
        "soft": ("melting edges", "veiled edges"),
        "broken": ("broken contours", "broken outlines"),
    },
    "brush": {
        "smooth": ("smooth brushwork", "smooth blending"),
        "impasto": ("impasto strokes", "impasto brushwork"),
        "pointillist": ("pointillist dots", "pointillist touches"),
        "hatched": ("hatched strokes", "hatched marks"),
    },
    "light": {
        "dawn": ("pale dawn light", "the haze of dawn"),
        "noon": ("bright noon light", "the clarity of noon"),
        "dusk": ("glowing dusk light", "the glow of dusk"),
        "night": ("dim night light", "the dark of night"),
    },
    "subject": {
        "mountains": ("mountain landscape", "view of snowy mountains"),
        "seascape": ("seascape with a boat", "sailing boat at sea"),
        "desert": ("desert with dunes", "desert with cactus"),
        "forest": ("forest interior", "forest path among trunks"),
        "town": ("town with houses", "town of steep roofs"),
        "still_life": ("still life with fruit", "bowl of fruit"),
        "flowers": ("vase of flowers", "flower bouquet in a vase"),
        "portrait": ("portrait of a sitter", "portrait of a quiet face"),
        "cat": ("cat at a window", "cat on a cushion"),
        "abstract": ("geometric abstraction", "abstract play of shapes"),
    },
    "technique": {
        "glaze": ("thin oil glazes", "layered glazes"),
        "knife": ("palette knife work", "thick oil paint"),
        "dots": ("divided colour", "dotted oil paint"),
        "pastel": ("dry pastel", "chalky pastel"),
    },
    "mood": {
        "serene": ("serene", "serenity"),
        "joyful": ("joyful", "joy"),
        "tender": ("tender", "tenderness"),
        "melancholic": ("melancholic", "melancholy"),
        "mysterious": ("mysterious", "mystery"),
        "dramatic": ("dramatic", "drama"),
    },
}
_STYLE = {"smooth": "classical", "impasto": "expressionist", "pointillist": "modern", "hatched": "impressionist"}

# best grade first, as LEVELS
_SIGHT = (
    ("masterly", "superbly unified"),
    ("well balanced", "nicely unified"),
    ("fairly balanced", "partly unified"),
    ("poorly balanced", "weakly unified"),
    ("chaotic", "utterly shattered"),
)
_CRAFT = (
    ("excellent craft, sure in every passage", "excellent skill, rich and fully resolved"),
    ("good craft with few weak passages", "good skill, confident and nearly resolved"),
    ("fair craft with several weak passages", "fair skill, honest but uneven"),
    ("poor craft, clumsy and unfinished", "poor skill, awkward and unsure"),
    ("bad craft, failing in every passage", "bad skill, crude and abandoned"),
)
_FEELING = (
    ("moves the viewer deeply and stays in memory", "holds the viewer spellbound to the end"),
    ("touches the viewer and invites a longer look", "speaks warmly and keeps the viewer close"),
    ("reaches the viewer only in part", "interests the viewer for a short moment"),
    ("barely reaches the viewer and soon fades", "leaves the viewer mostly unmoved and tired"),
    ("leaves the viewer cold and confused", "fails to reach the viewer at all"),
)
_PERCEPTION = (
    "{composition} in {palette}, with {line} and {brush} in {light}; it looks {grade}.",
    "{brush} and {line} build {composition} of {palette} in {light}; it looks {grade}.",
    "In {light}, {palette} fill {composition} with {line} and {brush}; it seems {grade}.",
)
_COGNITION = (
    "The picture shows a {subject} in {technique}, {style} in style, with {grade}.",
    "A {style} {subject}, painted in {technique}; we find {grade}.",
    "This {style} {subject} uses {technique}, and the hand shows {grade}.",
)
_EMOTION = {
    "adjective": ("The mood is {mood}; the picture {grade}.", "A {mood} feeling fills the whole picture; it {grade}."),
    "noun": ("It breathes {mood} from edge to edge; the picture {grade}.", "There is {mood} in the air of this picture; it {grade}."),
}


def write(latents: Latents, score: float, rng: np.random.Generator) -> tuple[str, str, str]:
    """Write perception, cognition and emotion, each of 12 to 25 words."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    chosen = {name: pick(PHRASES[name][value]) for name, value in _values(latents).items()}
    grade = LEVELS.index(str(Scale().level(np.array([score]))[0]))
    perception = pick(_PERCEPTION).format(**chosen, grade=pick(_SIGHT[grade]))
    cognition = pick(_COGNITION).format(**chosen, style=_STYLE[latents.brush], grade=pick(_CRAFT[grade]))
    kind = "noun" if chosen["mood"] in {phrases[1] for phrases in PHRASES["mood"].values()} else "adjective"
    emotion = pick(_EMOTION[kind]).format(**chosen, grade=pick(_FEELING[grade]))
    cognition = re.sub(r"\b([Aa]) (?=[aei])", r"\1n ", cognition)
    return tuple(text[0].upper() + text[1:] for text in (perception, cognition, emotion))  # type: ignore[return-value]


def attributes_of(latents: Latents) -> dict[str, str]:
    """Return the attributes that the painting's three texts name, latent name -> value."""
    return _values(latents)


def attributes_in(text: str) -> dict[str, str]:
    """Return the attributes that a text names; the first value named wins.

    `"A joyful cat at a window."` -> `{"subject": "cat", "mood": "joyful"}`
    """
    attributes = {}
    for name, pattern in _PATTERNS.items():
        if match := pattern.search(text.lower()):
            attributes[name] = _VALUES[name][match.group(1)]
    return attributes


def _values(latents: Latents) -> dict[str, str]:
    return {name: getattr(latents, name) for name in PHRASES}


_VALUES = {name: {phrase: value for value, phrases in values.items() for phrase in phrases} for name, values in PHRASES.items()}
_PATTERNS = {
    name: re.compile(r"\b(" + "|".join(sorted(map(re.escape, values), key=len, reverse=True)) + r")\b") for name, values in _VALUES.items()
}
