"""Where things lie below an output root. Every key is made here."""

from datetime import date
from typing import Literal
from urllib.parse import quote

CURRENT = "CURRENT"
RESULT_FOLDERS = ("scores", "rejects", "runs", "evaluations", "_staging")  # no collection lies in one of these
Kind = Literal["scores", "rejects"]


def run_key(run_id: str, name: str) -> str:
    return f"runs/{run_id}/{name}"


def evaluation_key(run_id: str, name: str) -> str:
    """Outside `scores/`: what was predicted to be measured is no published score."""
    return f"evaluations/{run_id}/{name}"


def staging_prefix(run_id: str) -> str:
    """Outside `scores/` and `rejects/`: nobody who reads these by glob sees rows before they are published."""
    return f"_staging/{run_id}"


def staged_key(run_id: str, kind: Kind, attempt: str) -> str:
    return f"{staging_prefix(run_id)}/{kind}/{attempt}.parquet"


def published_key(kind: Kind, model_id: str, run_date: date, run_id: str, number: int) -> str:
    """`scores/model=artquant-tiny/run_date=2026-11-21/part-<run_id>-00000.parquet`; rejects have no model partition."""
    model = f"model={quote(model_id, safe='')}/" if kind == "scores" else ""
    return f"{kind}/{model}run_date={run_date.isoformat()}/part-{run_id}-{number:05d}.parquet"
