"""`render` makes the page: one HTML file that reads offline, prints, and asks nobody for anything.

Text in it may come from a model or from a file name, so it is hostile: every string passes `visible` and is then escaped,
none becomes a link, and a content security policy allows this page's own style sheet, `data:` images and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jinja2
from markupsafe import Markup, escape

from artquant.report import charts
from artquant.report.facts import GROUPS, Artwork, Findings, OutputFile, RejectExample, RunReport, StageTime
from artquant.report.words import REJECT_MEANINGS, count_of, duration, file_size, headline, rate, shorten
from artquant.schema import CRITIQUE_PARTS, LEVELS, RejectClass

__all__ = ["GROUPS", "Artwork", "Findings", "OutputFile", "RejectExample", "RunReport", "StageTime", "render"]

MAX_FILES = 40  # listed on the page; the manifest has them all

_HERE = Path(__file__).parent
_NOTES = {
    "best": "The highest scores.",
    "middling": "The nearest to the scale’s middle level.",
    "worst": "The lowest scores.",
    "most uncertain": "The widest spread over the levels: where the model hesitates most.",
}
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+(?=@)|(?<=[?&]X-Amz-Signature=)[^&\s]+|(?<=[?&]X-Amz-Security-Token=)[^&\s]+")
_JOINERS = "\u200c\u200d"  # zero-width, but part of how several scripts and emoji are written


def render(report: RunReport) -> str:
    """The complete page, UTF-8 text. About 40 KB and its thumbnails, each a third larger than its JPEG."""
    findings = report.findings
    files = sorted(report.files, key=lambda file: (-file.num_bytes, file.path))
    rooms = _rooms(findings)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            findings=findings,
            headline=headline(report),
            rooms=rooms,
            frontispiece=next((works[0] for _, _, works in rooms), None),
            rejects=[_reject_class(findings, name, count) for name, count in findings.rejects_by_class.items()],
            longest_stage=max((stage.seconds for stage in report.stages), default=0.0),
            files=files[:MAX_FILES],
            num_file_rows=sum(file.num_rows for file in files),
            num_file_bytes=sum(file.num_bytes for file in files),
            config=json.dumps(report.config, indent=2, ensure_ascii=False, default=str),
            queries=_queries(report),
        )
    )


def _rooms(findings: Findings) -> list[tuple[str, str, list[Artwork]]]:
    """The gallery as (title, note, artworks); one room where the groups would all show the same few artworks."""
    best = list(findings.gallery.get("best", []))
    if best and findings.num_scored <= len(best):
        return [("every artwork", "Best first.", best)]
    return [(group, _NOTES[group], list(findings.gallery[group])) for group in GROUPS if findings.gallery.get(group)]


def _reject_class(findings: Findings, name: str, count: int) -> dict[str, object]:
    known = name in set(RejectClass)
    return {
        "name": name.replace("_", " "),
        "count": count,
        "meaning": REJECT_MEANINGS[RejectClass(name)] if known else None,
        "is_transient": RejectClass(name).is_transient if known else None,
        "examples": [example for example in findings.reject_examples if example.reject_class == name],
    }


def _queries(report: RunReport) -> str:
    """SQL that DuckDB runs as it stands, given the credentials that the job had."""
    root = unquote(urlsplit(report.output_uri).path) if report.output_uri.startswith("file:") else report.output_uri
    scores = _sql(root.rstrip("/") + "/scores/*/*/*.parquet")
    access = (
        "-- with a store of your own, add ENDPOINT 'host:port', URL_STYLE 'path'\nCREATE SECRET (TYPE s3, PROVIDER credential_chain);\n\n"
    )
    this_run = (
        f"-- this run, best first\n"
        f"SELECT artwork_id, score, score_std, level\n"
        f"FROM read_parquet({scores})\n"
        f"WHERE run_id = {_sql(report.run_id)}\n"
        f"ORDER BY score DESC LIMIT 20;\n\n"
    )
    latest = (
        f"-- the latest score of every artwork\n"
        f"SELECT *\n"
        f"FROM read_parquet({scores})\n"
        f"QUALIFY row_number() OVER (PARTITION BY artwork_id ORDER BY scored_at DESC) = 1;\n"
    )
    return (access if root.startswith("s3://") else "") + (this_run if report.status == "published" else "") + latest


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def visible(text: str) -> str:
    """`text` without a character that hides, reorders or breaks what stands around it, and without credentials.

    >>> visible("a\\u202egpj.exe")
    'a[U+202E]gpj.exe'
    """
    return "".join(_spell(character) for character in _CREDENTIALS.sub("…", text))


def _finalize(value: object) -> object:
    """What the template puts on the page: plain strings made visible, before the template escapes them; the rest as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _spell(character: str) -> str:
    if character in "\n\r\t":
        return " "
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _JOINERS:
        return f"[U+{ord(character):04X}]"
    return character


def _lines(text: str) -> Markup:
    """`text` made visible and escaped, with its line breaks."""
    return Markup("\n").join(escape(visible(line)) for line in re.split(r"\r\n|\r|\n", text))


def _breakable(text: str) -> Markup:
    """`text` made visible and escaped; a line may break after a separator before it breaks inside a word."""
    return Markup("<wbr>").join(escape(piece) for piece in re.split(r"(?<=[/_.=-])", visible(text)))


def _jpeg_uri(thumbnail: bytes | None) -> str | None:
    """None, too, for bytes that are no JPEG."""
    if thumbnail is None or not thumbnail.startswith(b"\xff\xd8\xff"):
        return None
    return "data:image/jpeg;base64," + base64.b64encode(thumbnail).decode()


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
        levels=LEVELS,
        critique_parts=CRITIQUE_PARTS,
        count_of=count_of,
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
    )
    filters: Mapping[str, object] = {
        "breakable": _breakable,
        "bytes": file_size,
        "duration": duration,
        "jpeg_uri": _jpeg_uri,
        "lines": _lines,
        "per_second": rate,
        "shorten": lambda text, longest: shorten(visible(text), longest),  # no credential loses the marks that it is known by
        "utc": lambda moment: moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"),
    }
    environment.filters.update(filters)
    return environment
