"""What a page is made of, as a parser sees it, and what it says."""

from __future__ import annotations

import html
import html.parser
import re

VOID = {"meta", "link", "img", "br", "wbr"}


class Outline(html.parser.HTMLParser):
    """Tags with their attributes, text, and whether every tag was closed in its turn."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    @property
    def attributes(self) -> set[str]:
        return {name for _, attrs in self.tags for name in attrs}

    @property
    def links(self) -> set[str | None]:
        return {attrs["href"] for _, attrs in self.tags if "href" in attrs}

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs))
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def text_of(page: str) -> str:
    """What the page says, a space for every tag but a possible line break."""
    bare = re.sub("<style>.*?</style>|<[^>]*>", " ", page.replace("<wbr>", ""), flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(bare))
