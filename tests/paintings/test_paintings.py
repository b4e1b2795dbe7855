"""The sample paintings: the same everywhere, as large as asked, rated like a jury rates, and described truthfully."""

import dataclasses
import io
import re

import numpy as np
import pytest
from PIL import Image

from artquant.core.scale import Scale
from artquant.core.schema import LEVELS
from artquant.paintings import attributes_in, attributes_of, jpeg, paint, render
from artquant.paintings.latents import BRUSHES, COMPOSITIONS, LIGHTS, LINES, PALETTES, QUALITIES, SUBJECTS, worth
from artquant.paintings.words import PHRASES

MANY = [paint(seed) for seed in range(3000)]


def with_qualities(latents, value):
    return dataclasses.replace(latents, **dict.fromkeys(QUALITIES, value))


def test_a_seed_gives_the_same_painting_and_the_same_pixels():
    assert paint(7) == paint(7)
    assert np.array_equal(render(paint(7), 160), render(paint(7), 160))
    assert paint(7) != paint(8)


def test_a_known_seed_keeps_its_latents_and_ratings():
    """A change here changes the sample collection and asks for a new checkpoint."""
    painting = paint(0)
    assert (painting.latents.subject, painting.latents.palette, painting.latents.light) == ("cat", "violet", "dusk")
    assert painting.ratings == (7.5, 6.0, 7.5, 6.0, 7.0, 7.5, 7.0, 7.0)


@pytest.mark.parametrize("long_side", [112, 160, 333])
@pytest.mark.parametrize("aspect", ["square", "landscape", "portrait"])
def test_a_rendering_has_the_size_that_was_asked(long_side, aspect):
    latents = dataclasses.replace(paint(3).latents, aspect=aspect)
    pixels = render(latents, long_side)
    short = round(long_side * 3 / 4)
    assert (
        pixels.shape == {"square": (long_side, long_side, 3), "landscape": (short, long_side, 3), "portrait": (long_side, short, 3)}[aspect]
    )
    assert pixels.dtype == np.uint8


def test_a_painting_looks_the_same_at_every_size():
    for seed in range(6):
        small = render(paint(seed), 112).astype(float)
        height, width = small.shape[:2]
        reduced = Image.fromarray(render(paint(seed), 500)).resize((width, height), Image.Resampling.BOX)
        coarse = [
            np.asarray(Image.fromarray(np.uint8(p)).resize((8, 8), Image.Resampling.BOX), float) for p in (small, np.asarray(reduced))
        ]
        assert np.abs(coarse[0] - coarse[1]).mean() < 12


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_can_be_painted_in_every_manner(subject):
    base = paint(11).latents
    for index in range(16):
        latents = dataclasses.replace(
            with_qualities(base, index / 15),
            subject=subject,
            palette=PALETTES[index % 8],
            light=LIGHTS[index % 4],
            composition=COMPOSITIONS[index // 4],
            brush=BRUSHES[(index + index // 4) % 4],
            line=LINES[index % 3],
            aspect=("square", "landscape", "portrait")[index % 3],
            variation=index,
        )
        assert render(latents, 112).std() > 8


@pytest.mark.parametrize("quality", QUALITIES)
def test_each_quality_leaves_a_trace_that_survives_a_thumbnail(quality):
    for painting in MANY[:8]:
        best = with_qualities(painting.latents, 1.0)
        spoilt = dataclasses.replace(best, **{quality: 0.0})
        slightly = dataclasses.replace(best, **{quality: 0.6})
        images = [render(latents, 112)[::4, ::4].astype(float) for latents in (best, slightly, spoilt)]
        assert np.abs(images[2] - images[0]).mean() > max(4, np.abs(images[1] - images[0]).mean())


def test_ratings_are_a_jury_of_eight_around_the_worth():
    errors = [p.score - worth(p.latents) for p in MANY if 2.5 < worth(p.latents) < 9]
    assert np.std(errors) < 0.3
    assert 0.4 < np.mean([p.score_std for p in MANY]) < 0.8
    assert all(len(p.ratings) == 8 and min(p.ratings) >= 1 and max(p.ratings) <= 10 for p in MANY)
    assert all(min(p.ratings) <= p.score <= max(p.ratings) for p in MANY)


def test_scores_fill_all_five_levels():
    scores = np.array([p.score for p in MANY])
    assert 1.8 < scores.std() < 2.4
    levels = Scale().level(scores)
    shares = {level: np.mean(levels == level) for level in LEVELS}
    assert min(shares.values()) > 0.015
    assert max(shares.values()) < 0.5


def test_better_qualities_never_lower_the_worth():
    for painting in MANY[:50]:
        worths = [worth(with_qualities(painting.latents, value)) for value in np.linspace(0, 1, 11)]
        assert worths == sorted(worths) and worths[-1] > worths[0] + 5


def test_reading_the_texts_back_gives_exactly_the_latents():
    for painting in MANY:
        told = " ".join((painting.perception, painting.cognition, painting.emotion))
        assert attributes_in(told) == attributes_of(painting.latents)
        assert set(attributes_in(painting.perception)) == {"composition", "palette", "line", "brush", "light"}
        assert set(attributes_in(painting.cognition)) == {"subject", "technique"}
        assert set(attributes_in(painting.emotion)) == {"mood"}


def test_a_palette_that_nobody_can_see_is_not_named():
    latents = dataclasses.replace(MANY[0].latents, palette="grey", light="noon", harmony=0.2)
    assert attributes_of(latents) | {"palette": "clashing", "mood": "joyful"} == attributes_of(latents)
    seen = attributes_of(dataclasses.replace(latents, harmony=0.8))
    assert (seen["palette"], seen["mood"]) == ("grey", "melancholic")


def test_texts_open_in_many_ways():
    for part, few in (("perception", 40), ("cognition", 25), ("emotion", 25)):
        assert len({" ".join(getattr(p, part).split()[:3]) for p in MANY}) >= few


def test_a_text_that_names_nothing_has_no_attributes():
    assert attributes_in("The picture is there.") == {}
    assert attributes_in("A joyful cat at a window.") == {"subject": "cat", "mood": "joyful"}


def test_every_phrase_belongs_to_one_value():
    for values in PHRASES.values():
        phrases = [phrase for options in values.values() for phrase in options]
        assert len(phrases) == len(set(phrases))
        assert not any(a != b and re.search(rf"\b{re.escape(a)}\b", b) for a in phrases for b in phrases)


def test_texts_are_short_and_their_vocabulary_small():
    texts = [text for p in MANY for text in (p.perception, p.cognition, p.emotion)]
    assert min(len(text.split()) for text in texts) >= 12
    assert max(len(text.split()) for text in texts) <= 25
    assert len({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())}) < 400


def test_jpeg_is_the_rendering_compressed():
    painting = paint(5)
    image = Image.open(io.BytesIO(jpeg(painting, 200, quality=95)))
    assert image.format == "JPEG"
    assert np.abs(np.asarray(image, float) - render(painting, 200)).mean() < 8
