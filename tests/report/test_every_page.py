"""Whatever is missing, every page is whole; and no text in it is ever more than text."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest

from artquant.report.description_page import render_description
from artquant.report.evaluation_page import render_evaluation
from artquant.report.page import render
from artquant.report.shadow_page import render_shadow
from artquant.report.training_page import render_training
from tests.report import descriptions, sample, studies
from tests.report.outline import Outline

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "gpj.\u202egnp\u2066\u200f\ufeff",
    "line\none\r\nline\u2028two\x00\x1b[31m",
    "\udcff\udc80.jpg",
    "n" * 5000,
    "<!-- ",
    "]]>",
]
HOSTILE_PAGES = {
    "run": lambda text: render(sample.hostile_report(text)),
    "training": lambda text: render_training(studies.hostile_training(text)),
    "evaluation": lambda text: render_evaluation(studies.hostile_evaluation(text)),
    "shadow": lambda text: render_shadow(studies.hostile_shadow(text)),
    "description": lambda text: render_description(descriptions.hostile(text)),
}
PAGES = {
    "run": lambda: render(sample.report()),
    "bare run": lambda: render(sample.report(findings=sample.EMPTY)),
    "training": lambda: render_training(studies.training()),
    "first model": lambda: render_training(studies.training(verdict=studies.verdict(**studies.FIRST_EVER), parent=None)),
    "failed": lambda: render_training(studies.FAILED),
    "bare training": lambda: render_training(studies.BARE),
    "evaluation": lambda: render_evaluation(studies.evaluation()),
    "large evaluation": lambda: render_evaluation(studies.evaluation(60_000, misses=[])),
    "bare evaluation": lambda: render_evaluation(studies.NOTHING),
    "shadow": lambda: render_shadow(studies.shadow()),
    "description": lambda: render_description(descriptions.report()),
    "bare description": lambda: render_description(descriptions.BARE),
    "bare shadow": lambda: render_shadow(studies.shadow(num_artworks=0, human=[], candidate_scores=[], current_scores=[], flips=[])),
}


@cache
def harmless(name: str) -> Outline:
    return Outline(HOSTILE_PAGES[name]("harm/less.jpg"))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_adds_no_element_attribute_or_link_and_no_invisible_character(name, text):
    page = HOSTILE_PAGES[name](text)
    page.encode("utf-8")
    hostile, plain = Outline(page), harmless(name)
    counts = [Counter(tag for tag, _ in outline.tags if tag != "wbr") for outline in (hostile, plain)]
    assert counts[0] == counts[1]
    assert (hostile.attributes, hostile.links) == (plain.attributes, plain.links)
    assert all(link.startswith(("#", "data:,")) for link in hostile.links)
    assert all(attrs["src"].startswith("data:image/jpeg;base64,") for tag, attrs in hostile.tags if tag == "img")
    assert not re.search("[\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\x00-\x09\x0b-\x1f\x7f-\x9f]", page)


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_hostile_text_is_there_to_be_read(name):
    assert Outline(HOSTILE_PAGES[name]("<i>x</i>")).text.count("<i>x</i>") >= 5


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_whole_named_and_show_no_python(name):
    page = PAGES[name]()
    outline = Outline(page)
    assert not re.search(r"\b(nan|inf|None|NaN)\b", page), "a number that is none shows as a dash"
    assert all(attrs["alt"] for tag, attrs in outline.tags if tag == "img")
    charts = [attrs for tag, attrs in outline.tags if tag == "svg" and "class" in attrs]
    assert all(attrs.get("aria-hidden") == "true" or (attrs["aria-label"] and attrs["role"] == "img") for attrs in charts)
    headings = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(headings, headings[1:], strict=False))
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in outline.links if link.startswith("#")} == set(ids) - {"plate"}  # the section that the cover leads to
    assert " style=" not in page and len(page.encode()) < (1_500_000 if name == "run" else 700_000)
