"""What becomes of an artwork that was rejected, class by class."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest

from artquant.core.schema import RejectClass
from artquant.results.catalog import catalog_schema
from artquant.results.ledger import PERMANENT, Night, decide, ledger_schema, scorer_digest
from tests.results.nights import IDENTITY

SCORER = scorer_digest(IDENTITY)


def reason_of(reject_class: RejectClass, etag: str = "v1", retry: tuple[RejectClass, ...] = (), later: str = "") -> str:
    """Why tonight's artwork, which was rejected as v1, is due; what it counts as where it is not."""
    statuses = [reject_class.value, *([later] if later else [])]
    ledger = pa.Table.from_pylist(
        [
            {"artwork_id": "a", "part": "score", "content": "v1", "scorer": SCORER, "status": status, "collection": "c", "snapshot": number}
            for number, status in enumerate(statuses)
        ],
        ledger_schema(),
    )
    row = {"artwork_id": "a", "uri": "s3://b/a", "etag": etag, "size_bytes": 1, "excluded": False}
    counts: Counter[str] = Counter()
    night = Night(IDENTITY, {}, "c", frozenset(retry))
    due, _ = decide(pa.Table.from_pylist([row], catalog_schema()), ledger, night, counts)
    (reason,) = [name for name, count in counts.items() if count]
    assert due is not None and due.column("reason").to_pylist() == ([reason] if reason in ("retry", "changed") else [])
    return reason


@pytest.mark.parametrize("reject_class", list(RejectClass))
def test_what_passes_is_tried_again_and_what_stays_is_remembered_until_the_object_changes(reject_class: RejectClass) -> None:
    is_transient = reject_class in ("missing", "denied", "throttled", "timeout", "unanswered", "budget")
    assert (reject_class.value in PERMANENT) is not is_transient
    assert reason_of(reject_class) == ("retry" if is_transient else "rejected for good")
    assert reason_of(reject_class, etag="v2") == "changed"
    assert reason_of(reject_class, retry=(reject_class,)) == "retry"
    others = tuple(other for other in RejectClass if other is not reject_class)
    assert reason_of(reject_class, retry=others) == ("retry" if is_transient else "rejected for good")


@pytest.mark.parametrize("reject_class", sorted(PERMANENT))
def test_of_several_verdicts_on_one_content_the_last_counts(reject_class: str) -> None:
    assert reason_of(RejectClass.TIMEOUT, later=reject_class) == "rejected for good"
    assert reason_of(RejectClass(reject_class), later="timeout") == "retry"
