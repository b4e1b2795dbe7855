"""What is sent to a cluster: this package, its lock and the settings; and which submissions are the same run."""

import hashlib
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from artquant.cli.settings import CONFIG, split_config
from artquant.config import Section, read_document
from artquant.core.addresses import is_object_store
from artquant.core.errors import UserError
from artquant.core.lock import LOCK

PACKAGE = Path(__file__).resolve().parents[1]
_LOOPBACK = ("localhost", "127.", "::1", "0.0.0.0")
# Who scores, how fast, and what the run is called: the rows are the same.
_NOT_DECIDING = ("run_date", "rows_per_file", "stall_minutes", "stale_seconds", "price_per_hour", "deadline", "max_cost")
_DECIDING = {"engine": ("name", "dtype", "critique"), "fetch": ("max_pixels", "full_decode")}


def check_reachable(needed: Mapping[str, str | Iterable[str] | None], others: Mapping[str, str | None]) -> None:
    """Raise UserError for the first address that is not given, or that other machines cannot reach, before anything is sent.

    `others` may be missing, and may be names of models: `current`, `tiny`, or a hub's.
    """
    for name, value in needed.items():
        if not value:
            raise UserError(f"{name} is needed where the job runs on a cluster: the embedded store is for this machine alone.")
    for name, value in needed.items():
        for uri in (value,) if isinstance(value, str) else value or ():
            _check(name, uri, is_name_allowed=False)
    for name, other in others.items():
        if other:
            _check(name, other, is_name_allowed=name in ("model", "base"))


def _check(name: str, uri: str, is_name_allowed: bool) -> None:
    if uri.startswith("file:///"):
        return  # said by whoever has a file system that every node mounts
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if is_object_store(uri):
        if uri.startswith("s3://") and (urlsplit(endpoint).hostname or "").startswith(_LOOPBACK):
            raise UserError(
                f"{name}={uri} lies in the store at {endpoint}, which no other machine reaches: give a store of the network, or unset "
                "AWS_ENDPOINT_URL if the nodes have their own."
            )
        return
    if is_name_allowed and not Path(uri).expanduser().exists():
        return  # a hub name, or one of ours
    raise UserError(
        f"{name}={uri} is a folder or file of this machine, and the job runs on a cluster: give an s3:// address, or file:///... for a "
        "file system that every node mounts there."
    )


def run_digest(job: str, spec: Section) -> str:
    """Return eight characters that are the same for two submissions of the same run: of what decides its rows or its model."""
    deciding = {name: value for name, value in spec.model_dump(mode="json").items() if name not in _NOT_DECIDING}
    if job == "score" or "run_id" not in spec.model_fields_set:
        deciding.pop("run_id", None)
    for section, names in _DECIDING.items():
        if section in deciding:
            deciding[section] = {name: deciding[section][name] for name in names}
    return hashlib.sha256(json.dumps([job, deciding], sort_keys=True).encode()).hexdigest()[:8]


def pack(folder: Path, job: str, overrides: list[str]) -> str:
    """Fill the folder with what the cluster needs and return the command. Credentials are not sent: the nodes have their own."""
    path, settings = split_config(overrides)
    needs_tiny = any("tiny" in setting for setting in settings) or (path is not None and "tiny" in path.read_text())
    skipped = ("__pycache__", "*.pyc", *(() if needs_tiny or job != "score" else ("checkpoints",)))  # most of what there is
    shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns(*skipped))
    if LOCK.exists():
        shutil.copy(LOCK, folder / LOCK.name)
    if path:
        (folder / "config.yaml").write_text(yaml.safe_dump(read_document(path)))
        settings = [f"{CONFIG}config.yaml", *settings]
    # A shell of its own would be all that Ray stops, where a stop comes just as the job starts: the run would go on unseen.
    return "exec " + shlex.join(["python", "-m", "artquant", job, *settings])
