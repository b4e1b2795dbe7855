"""Procedural paintings with known latents, ratings and critiques: the sample collection and the tiny model's training data."""

from artquant.paintings.latents import Latents
from artquant.paintings.painting import Painting, paint
from artquant.paintings.render import jpeg, render
from artquant.paintings.words import attributes_in, attributes_of

__all__ = ["Latents", "Painting", "attributes_in", "attributes_of", "jpeg", "paint", "render"]
