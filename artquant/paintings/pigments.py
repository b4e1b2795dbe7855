"""Palettes and what the light of an hour and a clumsy eye make of them. Colours are float arrays of 3 sRGB values in 0..1."""

from __future__ import annotations

from typing import cast

import numpy as np

Colour = np.ndarray

# sky top, sky low, far, mid, near, dark, accent, second accent, light, spark (a little of the opposite colour)
ROLES = ("sky", "horizon", "far", "mid", "near", "dark", "accent", "second", "light", "spark")
_HEX = {
    "earth": "a89a86 f2dfb6 c09a72 96633c 5d4427 2c1b13 bf4f26 d39a50 fbeed2 4f8f9c",
    "blue": "2a6cb6 d6ebef 86b5d8 3a7fb2 1b4c84 0a2146 22b4c4 a9d6e4 f6fbfa f4a950",
    "green": "7cbfa4 f3f3bf a3c98c 569a4a 22683e 0d3022 c6cf38 8abb38 fcfbdc e4664c",
    "rose": "dd86a8 ffdcc8 e0a6c0 c9658c 7d3a68 3f1a3c f04a72 f9b8a0 fff2ea 5fb5a6",
    "gold": "f2ba3a fff0b0 ecc067 d8951c 8a6414 3f280a ee6a1a f9c62e fffbe2 2f7fb4",
    "violet": "5c42aa ecc6ea a98cd8 7a50b8 432a80 1c0e42 d455cc 8f8cf4 faefff ffcb58",
    "grey": "82888f e4e5e4 b2b5b8 7b7f85 494e55 191b1f d2d3d3 5f6a74 fcfcfa c63a28",
    "vivid": "1f78e6 ffd45e 9a62d8 f0623a 0f9270 18245c ec2848 ffb400 fff7da 10c0b4",
}
PIGMENTS = {
    name: {role: np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]) for role, code in zip(ROLES, codes.split(), strict=True)}
    for name, codes in _HEX.items()
}
_GREY = np.array([0.299, 0.587, 0.114])
# hour -> (gain, tint, how much tint, colour of the lamp)
_HOURS = {
    "dawn": (1.0, (0.98, 0.90, 0.84), 0.20, (1.0, 0.84, 0.66)),
    "noon": (1.03, (1.0, 1.0, 0.96), 0.02, (1.0, 0.99, 0.90)),
    "dusk": (0.84, (0.70, 0.26, 0.12), 0.15, (1.0, 0.56, 0.20)),
    "night": (0.54, (0.03, 0.07, 0.26), 0.18, (0.93, 0.95, 1.0)),
}


def mix(a: Colour, b: Colour, amount: float) -> Colour:
    return cast(Colour, a + (b - a) * amount)


def turn_hue(colour: Colour, radians: float | np.ndarray) -> Colour:
    """Rotate colours (..., 3) about the grey axis; brightness is kept."""
    grey = (colour @ _GREY)[..., None]
    off = colour - grey
    across = (np.roll(off, -2, axis=-1) - np.roll(off, -1, axis=-1)) * 3**-0.5
    return cast(Colour, grey + off * np.cos(radians) + across * np.sin(radians))


def in_light(colour: Colour, light: str) -> Colour:
    gain, tint, amount, _ = _HOURS[light]
    grey = (colour @ _GREY)[..., None]
    richer = grey + (colour - grey) * (1.35 if light == "night" else 1.0)
    return np.clip(mix(richer * gain, np.array(tint), amount), 0, 1)


def lamp(light: str, palette: str) -> Colour:
    """Return the colour of sun, moon and lit windows."""
    return mix(np.array(_HOURS[light][3]), PIGMENTS[palette]["light"], 0.3)


def clash(colour: Colour, strength: float, sign: int | np.ndarray) -> Colour:
    """Return a discordant colour: another hue, louder; even greys get one. `strength` 0 or `sign` 0 changes nothing."""
    louder = (
        colour
        + (colour - (colour @ _GREY)[..., None]) * 0.5 * strength * np.abs(sign)
        + strength * 0.12 * sign * np.array([0.6, -1.0, 0.8])
    )
    return np.clip(turn_hue(louder, sign * 1.5 * strength), 0, 1)
