"""ArtQuant Jobs: `artquant.load(model).score([...])` for pictures at hand, the `artquant` command for collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from artquant.scorer import Scorer


def load(model: str, *, base: str | None = None, device: str = "cpu", dtype: str = "auto", full_decode: bool = False) -> Scorer:
    """Open a model to score pictures in this process, as the score job does; see :class:`artquant.scorer.Scorer`.

    `model`: a folder, an s3:// prefix, a hub name, or `tiny`, the demonstration model; `base`: its base checkpoint, where it is an adapter
    that names none. `device`: cpu or cuda; `dtype`: auto is bfloat16 on a GPU, else float32. Raises UserError.
    """
    from artquant.scorer import open_scorer

    return open_scorer(model, base=base, device=device, dtype=dtype, full_decode=full_decode)
