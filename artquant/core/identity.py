"""What a score depends on beside the artwork's content."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """The engine's half of a score identity; the same artwork content under the same identity is not scored twice."""

    model_id: str
    model_digest: str
    prompt_digest: str
    preprocessing_digest: str
    dtype: str


SEEN = "seen/artworks.safetensors"  # below a checkpoint's folder; `artquant.annotations.seen` says what is in it
