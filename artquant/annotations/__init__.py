"""What people said about artworks: from the files that annotators send to one checked table, and from content to a split."""

from artquant.annotations.read import Annotations, read_annotations

__all__ = ["Annotations", "read_annotations"]
