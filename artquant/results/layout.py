"""Where things lie below an output root. Every key is made here.

`_artquant/` is the truth: numbered snapshots that never change, and what they name. `scores/` and `rejects/` are a view of the last
snapshot for whoever reads by glob, and `CURRENT` is a hint for people: both are repaired, never trusted.
"""

import hashlib
import re
from collections.abc import Collection
from datetime import date
from typing import Literal, get_args
from urllib.parse import quote

CURRENT = "CURRENT"
RESULT_FOLDERS = ("scores", "descriptions", "rejects", "runs", "evaluations", "_artquant")  # no collection lies in one of these
ROOT = "_artquant"
FORMAT = f"{ROOT}/format.json"
PROBE, PROBE_FOLDER = f"{ROOT}/probe.json", f"{ROOT}/probe"  # what the store keeps of what publishing rests on
SNAPSHOTS, INTENTS = f"{ROOT}/snapshots", f"{ROOT}/intents"
Kind = Literal["scores", "descriptions", "rejects"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def run_key(run_id: str, name: str) -> str:
    """Return what a person looks at: the spec, the page, the metrics."""
    return f"runs/{run_id}/{name}"


def evaluation_key(run_id: str, name: str) -> str:
    """Outside `scores/`: what was predicted to be measured is no published score."""
    return f"evaluations/{run_id}/{name}"


def snapshot_key(number: int) -> str:
    return f"{SNAPSHOTS}/{number:012d}.json"


def intent_key(number: int, epoch: int) -> str:
    """Who builds the snapshot `number`; a higher epoch took the work over."""
    return f"{INTENTS}/{number:012d}-{epoch:04d}.json"


def beat_key(number: int, epoch: int) -> str:
    return f"{INTENTS}/{number:012d}-{epoch:04d}.beat"


def end_key(number: int, epoch: int) -> str:
    """Beside an intent that came to an end without a snapshot: whoever comes next plans anew."""
    return f"{INTENTS}/{number:012d}-{epoch:04d}.end"


def left_key(number: int, epoch: int) -> str:
    """Beside an intent whose process has left its work as it is."""
    return f"{INTENTS}/{number:012d}-{epoch:04d}.left"


def work_prefix(work: str) -> str:
    """All that one piece of work writes before its snapshot."""
    return f"{ROOT}/runs/{work}"


def plan_key(work: str) -> str:
    return f"{work_prefix(work)}/plan.parquet"


def suspicions_prefix(plan_key: str) -> str:
    """Return where the workers on this plan keep what killed them."""
    return f"{plan_key.rpartition('/')[0]}/suspicions"


def attempt_key(work: str, shard: int, attempt: str) -> str:
    return f"{work_prefix(work)}/attempts/{shard:06d}-{attempt}.parquet"


def shards_prefix(work: str) -> str:
    return f"{work_prefix(work)}/shards"


def shard_key(work: str, shard: int, plan_digest: str) -> str:
    return f"{shards_prefix(work)}/{shard:06d}-{plan_digest}.json"


def held_key(work: str) -> str:
    """Where a finished run waits that looks unlike the last one."""
    return f"{work_prefix(work)}/held.json"


def data_key(work: str, name: str, number: int) -> str:
    """Return the immutable home of a file: `name` is scores, rejects or ledger, or "rewritten-" and a kind."""
    return f"{work_prefix(work)}/data/{name}-{number:05d}.parquet"


def answers_prefix(artwork_id: str) -> str:
    """Return where a describe job keeps what models answered about an artwork: none of its letters, whatever they are."""
    return f"{ROOT}/answers/{hashlib.sha256(artwork_id.encode()).hexdigest()[:16]}"


def view_key(kind: Kind, model_id: str, run_date: date, run_id: str, number: int, snapshot: int) -> str:
    """`scores/model=artquant-tiny/run_date=2026-11-21/part-<run_id>-00000.s7.parquet`; rejects have no model partition. The snapshot that
    brings a file in is part of its name: a name is used once."""
    model = f"model={quote(model_id, safe='')}/" if kind != "rejects" else ""
    return f"{kind}/{model}run_date={run_date.isoformat()}/part-{run_id}-{number:05d}.s{snapshot}.parquet"


def renamed_view(view: str, snapshot: int, taken: Collection[str]) -> str:
    """Return the name under which a file comes back, or goes on without some of its rows: none of those in `taken`."""
    stem = re.sub(r"(\.s\d+(-\d+)?)?\.parquet$", "", view)
    name, again = f"{stem}.s{snapshot}.parquet", 0
    while name in taken:
        again += 1
        name = f"{stem}.s{snapshot}-{again}.parquet"
    return name
