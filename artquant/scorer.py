"""Pictures at hand -> rows as in `scores/`, in this process: the job's own preprocessing, engine and columns, without Ray or a store."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from PIL import Image, ImageOps

from artquant.config import EngineSpec, FetchSpec, ReviewSpec
from artquant.core.errors import Reject, UserError
from artquant.core.identity import Identity
from artquant.core.schema import ARTWORK_ID, HEIGHT, MESSAGE, REJECT_CLASS, WIDTH
from artquant.engines import Engine
from artquant.engines.halving import assess_each
from artquant.engines.open import open_engine, resolve
from artquant.engines.recipe import identity_of, open_checkpoint, refusing
from artquant.images import square
from artquant.pipelines.rows import score_columns

Picture = str | os.PathLike[str] | bytes | Image.Image


class Scorer:
    """An opened model. It holds one device and is used by one thread at a time."""

    def __init__(self, engine: Engine, identity: Identity, batch_size: int, full_decode: bool = False):
        self.engine, self.identity, self.batch_size, self.full_decode = engine, identity, batch_size, full_decode

    def score(self, pictures: Sequence[Picture], critique: bool = False) -> list[dict[str, Any]]:
        """Return one row per picture, in their order, with the values that the score job writes for the same bytes.

        `pictures`: paths, the bytes of picture files, or PIL images (taken upright, with their profile and transparency). A row holds
        the columns of `scores/` that the picture and the model decide, and `artwork_id`: the path, or the picture's place in the list.
        A picture that cannot be scored has `reject_class` and `message` instead. Raises UserError for a path that cannot be read.
        """
        rows: list[dict[str, Any]] = []
        for start in range(0, len(pictures), self.batch_size):
            rows += self._score(list(pictures[start : start + self.batch_size]), start, critique)
        return rows

    def _score(self, pictures: list[Picture], start: int, critique: bool) -> list[dict[str, Any]]:
        size = self.engine.image_size
        pixels = np.zeros((len(pictures), size, size, 3), np.uint8)
        rows: list[dict[str, Any]] = [{ARTWORK_ID: _name(picture, start + i)} for i, picture in enumerate(pictures)]
        usable = []
        for i, picture in enumerate(pictures):
            try:
                loaded = square.load(_bytes(picture), size, max_pixels=FetchSpec().max_pixels, fast=not self.full_decode, out=pixels[i])
            except Reject as reject:
                rows[i] |= {REJECT_CLASS: reject.reject_class.value, MESSAGE: reject.message}
            else:
                rows[i] |= {WIDTH: loaded.width, HEIGHT: loaded.height}
                usable.append(i)
        if not usable:
            return rows
        scored = []
        for i, outcome in zip(usable, assess_each(self.engine, pixels[usable], critique), strict=True):
            if isinstance(outcome, Reject):
                rows[i] |= {REJECT_CLASS: outcome.reject_class.value, MESSAGE: outcome.message}
            else:
                scored.append((i, outcome))
        columns = score_columns([outcome for _, outcome in scored], self.engine.scale, ReviewSpec())
        for place, (i, _) in enumerate(scored):
            rows[i] |= {name: values[place] for name, values in columns.items()} | vars(self.identity)
        return rows


def open_scorer(model: str, *, base: str | None, device: str, dtype: str, full_decode: bool) -> Scorer:
    """Do as :func:`artquant.load`."""
    checkpoint = open_checkpoint(model, base)
    spec = EngineSpec(
        name="torch",
        device=cast(Literal["cpu", "cuda"], device),
        dtype=cast(Literal["auto"], dtype),
        num_gpus=1 if device == "cuda" else 0,
    )
    resolved = resolve(spec, checkpoint.is_mplug_owl2)
    with refusing(checkpoint.location):
        engine = open_engine(resolved, checkpoint)
    return Scorer(engine, identity_of(checkpoint, spec, full_decode), resolved.batch_size or 1, full_decode)


def _name(picture: Picture, place: int) -> str:
    return os.fspath(picture) if isinstance(picture, str | os.PathLike) else str(place)


def _bytes(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Image.Image):
        upright, buffer = ImageOps.exif_transpose(picture), io.BytesIO()
        upright.save(buffer, "TIFF" if picture.mode in ("CMYK", "YCbCr") else "PNG", icc_profile=picture.info.get("icc_profile"))
        return buffer.getvalue()
    try:
        return Path(picture).read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {os.fspath(picture)}: {error.strerror}.") from error
