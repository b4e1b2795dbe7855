"""The three texts of a painting, and the way back: which attributes a text names.

Every value of a categorical latent has its own phrases; none of them occurs in another value's phrase or in a template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from artquant.core.scale import Scale
from artquant.core.schema import LEVELS
from artquant.paintings.latents import LIGHTS, Latents

MIN_HARMONY = 0.5  # from here on the palette can be told from the colours in 0.89 of the paintings, below it in half (bench.palettes)
_RESTLESS = ("tender", "joyful", "dramatic", "mysterious")  # the mood of clashing colours, in the order of LIGHTS
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
        "clashing": ("clashing tones", "colours at odds"),
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
# best grade first, as LEVELS
_SIGHT = (
    ("wholly unified", "surely balanced", "complete", "finely ordered"),
    ("well balanced", "nicely unified", "clearly ordered", "mostly well placed"),
    ("fairly balanced", "partly unified", "loosely ordered", "plain"),
    ("poorly balanced", "weakly unified", "restless", "badly crowded"),
    ("chaotic", "utterly shattered", "broken apart", "without order"),
)
_CRAFT = (
    ("excellent craft, sure in every passage", "a hand that never hesitates", "fully resolved work"),
    ("good craft with few weak passages", "a steady hand", "sound, confident work"),
    ("fair craft with several weak passages", "an honest but uneven hand", "half resolved work"),
    ("poor craft, clumsy and unfinished", "an awkward and unsure hand", "barely begun work"),
    ("bad craft, failing in every passage", "a crude hand", "abandoned work"),
)
_FEELING = (
    ("moves the viewer deeply and stays in memory", "rewards a long look", "says much without effort"),
    ("touches the viewer and invites a longer look", "speaks warmly", "holds the eye for a while"),
    ("reaches the viewer only in part", "interests for a short moment", "says a little and stops"),
    ("barely reaches the viewer and soon fades", "leaves the viewer mostly unmoved", "says hardly anything"),
    ("leaves the viewer cold and confused", "fails to reach the viewer at all", "says nothing"),
)
_PERCEPTION = (
    "{composition} in {palette}, with {line} and {brush} in {light}; it looks {grade}.",
    "{brush} and {line} build {composition} of {palette} in {light}; it looks {grade}.",
    "In {light}, {palette} fill {composition} with {line} and {brush}; it seems {grade}.",
    "{palette} meet {light} in {composition}; {line} and {brush} make it look {grade}.",
    "One sees {composition}, {palette} in {light}, {brush} and {line}; it is {grade}.",
    "{line} and {brush}, {composition}, {palette} in {light}: on the whole {grade}.",
)
_COGNITION = (
    "The picture shows a {subject} in {technique}, painted with {grade}.",
    "A {subject}, painted with {technique}; in all of it we find {grade}.",
    "This {subject} uses {technique}, and what we are shown is {grade}.",
    "We see a {subject}; the means are {technique}, and they show {grade}.",
    "With {technique} the painter gives us a {subject}, and shows {grade}.",
    "It is a {subject} in {technique}, and one sees {grade}.",
)
_EMOTION = {
    "adjective": (
        "The mood of it is {mood}, and as a whole the picture {grade}.",
        "A {mood} feeling fills the whole picture from edge to edge; it {grade}.",
        "All is {mood} here, from near to far, and the picture {grade}.",
    ),
    "noun": (
        "It breathes {mood} from edge to edge; as a whole the picture {grade}.",
        "There is {mood} in the air of this picture, and it {grade}.",
        "What one feels first is {mood}, and after that the picture {grade}.",
    ),
}


def write(latents: Latents, score: float, rng: np.random.Generator) -> tuple[str, str, str]:
    """Write perception, cognition and emotion, each of 12 to 25 words."""

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    chosen = {name: pick(PHRASES[name][value]) for name, value in attributes_of(latents).items()}
    grade = LEVELS.index(str(Scale().level(np.array([score]))[0]))
    perception = pick(_PERCEPTION).format(**chosen, grade=pick(_SIGHT[grade]))
    cognition = pick(_COGNITION).format(**chosen, grade=pick(_CRAFT[grade]))
    kind = "noun" if chosen["mood"] in {phrases[1] for phrases in PHRASES["mood"].values()} else "adjective"
    emotion = pick(_EMOTION[kind]).format(**chosen, grade=pick(_FEELING[grade]))
    cognition = re.sub(r"\b([Aa]) (?=[aei])", r"\1n ", cognition)
    return tuple(text[0].upper() + text[1:] for text in (perception, cognition, emotion))  # type: ignore[return-value]


def attributes_of(latents: Latents) -> dict[str, str]:
    """Return the attributes that the painting's three texts name, latent name -> value: those that can be seen. A poor harmony turns every
    other colour, until nobody can tell which palette was meant."""
    attributes = {name: getattr(latents, name) for name in PHRASES}
    if latents.harmony < MIN_HARMONY:
        attributes |= {"palette": "clashing", "mood": _RESTLESS[LIGHTS.index(latents.light)]}
    return attributes


def attributes_in(text: str) -> dict[str, str]:
    """Return the attributes that a text names; the first value named wins.

    `"A joyful cat at a window."` -> `{"subject": "cat", "mood": "joyful"}`
    """
    attributes = {}
    for name, pattern in _PATTERNS.items():
        if match := pattern.search(text.lower()):
            attributes[name] = _VALUES[name][match.group(1)]
    return attributes


_VALUES = {name: {phrase: value for value, phrases in values.items() for phrase in phrases} for name, values in PHRASES.items()}
_PATTERNS = {
    name: re.compile(r"\b(" + "|".join(sorted(map(re.escape, values), key=len, reverse=True)) + r")\b") for name, values in _VALUES.items()
}
