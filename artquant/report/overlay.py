"""Heat over a picture, in two colours that colour-blind people can tell."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

SIDE = 448  # pixels of the square
_RAISES, _LOWERS = (230.0, 97.0, 1.0), (94.0, 60.0, 153.0)  # orange and purple (ColorBrewer PuOr)
_STRONGEST = 0.8  # how far the strongest patch is coloured


def overlay(picture: np.ndarray, heat: np.ndarray) -> bytes:
    """Return a JPEG of the picture (S, S, 3) uint8 in grey, its patches coloured by heat (G, G): orange above zero, purple below."""
    peak = np.abs(heat).max()
    scaled = heat / peak if peak > 0 else heat
    fine = np.asarray(Image.fromarray(scaled.astype(np.float32)).resize(picture.shape[1::-1], Image.Resampling.BICUBIC))[..., None]
    grey = np.repeat((picture @ (0.299, 0.587, 0.114))[..., None], 3, axis=2) * 0.75 + 64
    amount = np.clip(np.abs(fine), 0, 1) * _STRONGEST
    colour = np.where(fine > 0, _RAISES, _LOWERS)
    return jpeg(np.clip(grey + (colour - grey) * amount, 0, 255).astype(np.uint8))


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=85)
    return stream.getvalue()
