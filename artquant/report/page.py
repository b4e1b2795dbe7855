"""`render` makes the page of a scoring run: one HTML file that can be read offline and printed, and that loads nothing."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from artquant.core.schema import RejectClass
from artquant.records.run import GROUPS, Artwork, Findings, RunReport
from artquant.report.template import fill
from artquant.report.words import REJECT_MEANINGS, critique_outcomes, headline, model_check

MAX_FILES = 40  # listed on the page; the manifest has them all

_SECRETS = {  # what DuckDB needs to read of a store
    "s3://": "-- with a store of your own, add ENDPOINT 'host:port', URL_STYLE 'path'\n"
    "CREATE SECRET (TYPE s3, PROVIDER credential_chain);\n\n",
    "az://": "-- with your account's name\nCREATE SECRET (TYPE azure, PROVIDER credential_chain, ACCOUNT_NAME 'account');\n\n",
    "gs://": "-- with a key and a secret of your own\nCREATE SECRET (TYPE gcs, KEY_ID 'HMAC key', SECRET 'its secret');\n\n",
}
_NOTES = {
    "best": "The highest scores.",
    "middling": "Of the others, the nearest to the scale’s middle level.",
    "worst": "Of the others, the lowest scores.",
    "most uncertain": "The highest entropy over the five levels: where the model hesitates most.",
}


def render(report: RunReport) -> str:
    """Render the complete page, UTF-8 text: about 40 KB plus its thumbnails, each a third larger than its JPEG."""
    findings = report.findings
    files = sorted(report.files, key=lambda file: (-file.num_bytes, file.path))
    rooms = _rooms(findings)
    return fill(
        "report.html",
        report=report,
        findings=findings,
        headline=headline(report),
        model_check=model_check(report),
        critique_outcomes=critique_outcomes(report),
        rooms=rooms,
        frontispiece=next((works[0] for _, _, works in rooms), None) if report.status == "published" else None,
        rejects=[_reject_class(findings, name, count) for name, count in findings.rejects_by_class.items()],
        longest_stage=max((stage.seconds for stage in report.stages), default=0.0),
        files=files[:MAX_FILES],
        num_file_rows=sum(file.num_rows for file in files),
        num_file_bytes=sum(file.num_bytes for file in files),
        queries=_queries(report),
    )


def _rooms(findings: Findings) -> list[tuple[str, str, list[Artwork]]]:
    """Return the gallery as (title, note, artworks); a single room if the groups would all show the same few artworks."""
    best = list(findings.gallery.get("best", []))
    if best and findings.num_scored <= len(best):
        return [("every artwork", "Best first.", best)]
    return [(group, _NOTES[group], list(findings.gallery[group])) for group in GROUPS if findings.gallery.get(group)]


def _reject_class(findings: Findings, name: str, count: int) -> dict[str, object]:
    is_class = name in set(RejectClass)
    return {
        "name": name.replace("_", " "),
        "count": count,
        "meaning": REJECT_MEANINGS[RejectClass(name)] if is_class else None,
        "is_transient": RejectClass(name).is_transient if is_class else None,
        "examples": [example for example in findings.reject_examples if example.reject_class == name],
    }


def _queries(report: RunReport) -> str:
    """Return SQL that DuckDB runs, on S3 unchanged, given the job's credentials; '' for a held run, and a failed one without rejects."""
    root = unquote(urlsplit(report.output_uri).path) if report.output_uri.startswith("file:") else report.output_uri
    scores = _sql(root.rstrip("/") + "/scores/*/*/*.parquet")
    access = next((secret for scheme, secret in _SECRETS.items() if root.startswith(scheme)), "")
    if report.status == "held":
        return ""
    if report.status == "failed":
        if not report.findings.num_rejected:
            return ""
        rejects = _sql(f"{root.rstrip('/')}/runs/{report.run_id}/rejects.parquet")
        return f"{access}-- what was rejected, by class\nFROM read_parquet({rejects}) ORDER BY reject_class, artwork_id;\n"
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
    return access + this_run + latest


def _sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
