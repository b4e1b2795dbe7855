"""What all pages share: their templates, with one style sheet, one policy, and every string made visible and escaped.

None of that text becomes a link, and a content security policy allows the style sheet, `data:` images and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from artquant.core.format import count_of, duration, figure, file_size, rate, shorten, signed
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.report import charts, intervals, plots
from artquant.report.text import breakable, jpeg_uri, lines, visible
from artquant.report.words import METRICS

_HERE = Path(__file__).parent


def fill(name: str, **facts: object) -> str:
    """Fill the template `name` with `facts` and return the page, UTF-8 text."""
    return _environment().get_template(name).render(**facts)


def _finalize(value: object) -> object:
    """Make plain strings visible before the template escapes them; other values stay as they are."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _environment() -> jinja2.Environment:
    style = (_HERE / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        charts=charts,
        intervals=intervals,
        plots=plots,
        levels=LEVELS,
        metric_names=METRICS,
        critique_parts=CRITIQUE_PARTS,
        count_of=count_of,
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
    )
    filters: Mapping[str, object] = {
        "breakable": breakable,
        "bytes": file_size,
        "duration": duration,
        "figure": figure,
        "jpeg_uri": jpeg_uri,
        "json": lambda value: json.dumps(value, indent=2, ensure_ascii=False, default=str),
        "lines": lines,
        "per_second": rate,
        "shorten": lambda text, longest: shorten(visible(text), longest),  # no credential loses the characters by which it is recognised
        "signed": signed,
        "utc": lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    }
    environment.filters.update(filters)
    return environment
