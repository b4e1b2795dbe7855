"""What was scored before, and what follows for tonight. No store is asked here, and no cluster: tables in, tables out.

The ledger has a row for every outcome that a snapshot brought: of which artwork, which content, by which scorer, and how it ended.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from artquant.core.identity import Identity
from artquant.core.schema import ARTWORK_ID, ETAG, REASON, SIZE_BYTES, Reason, RejectClass
from artquant.results.source import EXCLUDED

SCORED, GONE, PRESENT, FORGOTTEN = "scored", "gone", "present", "forgotten"
PART_SCORE, PART_CRITIQUE, PART_PRESENCE = "score", "critique", "presence"


def ledger_schema() -> pa.Schema:
    """Sorted by artwork_id. `part`: what was asked for, the score alone or the critique with it, or presence, which was asked of nobody;
    `status`: scored, a reject class, gone or present; `scorer`: see :func:`scorer_digest`."""
    return pa.schema(
        [
            (ARTWORK_ID, pa.string()),
            ("part", pa.string()),
            ("content", pa.string()),
            ("scorer", pa.string()),
            ("status", pa.string()),
            ("collection", pa.string()),
            ("snapshot", pa.int64()),
        ]
    )


def scorer_digest(identity: Identity) -> str:
    """Of all that a score depends on beside the content; not of the model's name."""
    parts = {name: value for name, value in asdict(identity).items() if name != "model_id"}
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True)
class Night:
    """What tonight's run is asked: its scorer, those of earlier nights by digest, and the collections that are listed. `retry`: reject
    classes that are tried again beside the transient ones; `critique`: the texts are asked for too; `force`: nothing is reused."""

    identity: Identity
    scorers: Mapping[str, Mapping[str, str]]
    collections: frozenset[str]
    retry: frozenset[str] = frozenset()
    critique: bool = False
    force: bool = False

    @property
    def scorer(self) -> str:
        return scorer_digest(self.identity)

    def reason_of(self, scorer: str) -> Reason:
        """Return what sets another scorer apart: the first that differs of model, prompt, preprocessing and dtype."""
        other, ours = self.scorers.get(scorer, {}), asdict(self.identity)
        for name, reason in (
            ("model_digest", Reason.MODEL),
            ("prompt_digest", Reason.PROMPT),
            ("preprocessing_digest", Reason.PREPROCESSING),
            ("dtype", Reason.DTYPE),
        ):
            if other.get(name) != ours[name]:
                return reason
        return Reason.MODEL


def content_of(catalog: pa.Table) -> pa.ChunkedArray:
    """Return by what a changed artwork is known in a catalog or plan: its etag, its size where it has none, '' where it has neither."""
    sizes = pc.fill_null(pc.binary_join_element_wise("size=", catalog.column(SIZE_BYTES).cast(pa.string()), ""), "")
    return pc.if_else(pc.equal(catalog.column(ETAG), ""), sizes, catalog.column(ETAG))


PERMANENT = frozenset(kind.value for kind in RejectClass if not kind.is_transient)


def decide(catalog: pa.Table | None, ledger: pa.Table | None, night: Night, counts: Counter[str]) -> tuple[pa.Table | None, pa.Table]:
    """Of one range of ids: the catalog's rows that are due, with their reason, and the ledger rows on what went or came back.

    `catalog`: unique ids; `ledger`: rows of `ledger_schema()`, older ones first. `counts` is added to: the reasons, `reused`, `excluded`,
    `rejected for good` and `gone`.
    """
    known = ledger if ledger is not None else ledger_schema().empty_table()
    if catalog is None:
        return None, _gone(known, night, counts)
    counts["excluded"] += pc.sum(catalog.column(EXCLUDED)).as_py() or 0
    wanted = catalog.filter(pc.invert(catalog.column(EXCLUDED)))
    in_catalog = pc.is_in(known.column(ARTWORK_ID), catalog.column(ARTWORK_ID).combine_chunks())
    presence = pa.concat_tables([_gone(known.filter(pc.invert(in_catalog)), night, counts), _back(known.filter(in_catalog), night)])
    if not wanted.num_rows:
        return None, presence
    reasons = _reasons(wanted, known.filter(in_catalog), night)
    names, numbers = np.unique(reasons, return_counts=True)
    for name, number in zip(names.tolist(), numbers.tolist(), strict=True):
        counts[name or "reused"] += number
    is_due = np.isin(reasons, [reason.value for reason in Reason])
    due = wanted.append_column(REASON, pa.array(reasons, pa.string())).filter(pa.array(is_due))
    return due, presence


def _reasons(wanted: pa.Table, known: pa.Table, night: Night) -> np.ndarray:
    """(N,) texts: a Reason, '' for what is reused, 'rejected for good', 'forgotten'."""
    reasons = np.full(wanted.num_rows, Reason.NEW.value, dtype=object)
    forgotten = known.filter(pc.equal(known.column("status"), FORGOTTEN)).column(ARTWORK_ID).combine_chunks()
    is_forgotten = pc.is_in(wanted.column(ARTWORK_ID), forgotten).to_numpy(zero_copy_only=False)
    known = known.filter(pc.not_equal(known.column("part"), PART_PRESENCE))
    row = pc.index_in(known.column(ARTWORK_ID), wanted.column(ARTWORK_ID).combine_chunks()).to_numpy(zero_copy_only=False)
    is_here = ~np.isnan(row.astype(float))
    known, row = known.filter(pa.array(is_here)), row[is_here].astype(np.int64)
    if not len(row):
        reasons[is_forgotten] = FORGOTTEN
        return reasons
    reasons[row] = Reason.CHANGED.value
    content = known.column("content").to_numpy(zero_copy_only=False)
    tonight = content_of(wanted).to_numpy(zero_copy_only=False)[row]
    same_content = (content == tonight) | (tonight == "")  # what the catalog says nothing of did not change
    scorer, status = known.column("scorer").to_numpy(zero_copy_only=False), known.column("status").to_numpy(zero_copy_only=False)
    is_critique = known.column("part").to_numpy(zero_copy_only=False) == PART_CRITIQUE
    others = {name: night.reason_of(name).value for name in set(scorer[same_content].tolist())}
    for at in np.flatnonzero(same_content):  # of rows of one artwork the last one counts
        reasons[row[at]] = others[scorer[at]]
    same = same_content & (scorer == night.scorer)
    reasons[row[same]] = Reason.RETRY.value
    scored = same & (status == SCORED)
    for_good = same & np.isin(status, list(PERMANENT - night.retry))
    is_for_good = np.zeros(len(reasons), bool)
    is_for_good[_last(row, for_good, same)] = True
    reasons[is_for_good] = "rejected for good"
    reasons[row[scored]] = ""
    if night.critique:
        lacks = np.zeros(len(reasons), bool)
        lacks[row[scored]] = True
        lacks[_last(row, scored & is_critique, scored)] = False  # what has the texts may have been scored again without them
        failed = np.zeros(len(reasons), bool)
        failed[_last(row, for_good & is_critique, same)] = True
        reasons[lacks & ~failed] = Reason.CRITIQUE.value
    if night.force:
        reasons[(reasons == "") | (reasons == "rejected for good") | (reasons == Reason.CRITIQUE.value)] = Reason.FORCED.value
    reasons[is_forgotten] = FORGOTTEN
    return reasons


def _last(row: np.ndarray, chosen: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Artworks whose last ledger row of `among` is one of `chosen`. `row`: (L,) a ledger row's artwork; the others: (L,) bool."""
    last = np.full(row.max(initial=-1) + 1, -1)
    last[row[among]] = np.flatnonzero(among)
    found: np.ndarray = row[chosen & (last[row] == np.arange(len(row)))]
    return found


def _gone(known: pa.Table, night: Night, counts: Counter[str]) -> pa.Table:
    """Presence rows for the artworks of tonight's collections that the catalog has no more, and that were not gone before."""
    table, was_gone = _last_presence(known, night)
    counts["gone"] += table.num_rows
    return _presence(table.filter(pa.array(~was_gone)), GONE)


def _back(known: pa.Table, night: Night) -> pa.Table:
    table, was_gone = _last_presence(known, night)
    return _presence(table.filter(pa.array(was_gone)), PRESENT)


def _last_presence(known: pa.Table, night: Night) -> tuple[pa.Table, np.ndarray]:
    """Return the artworks among `known` that were last seen in one of tonight's collections, one row each, and whether they were gone."""
    if not known.num_rows:
        return known, np.zeros(0, bool)
    status = known.column("status").to_numpy(zero_copy_only=False)
    encoded = known.column(ARTWORK_ID).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()
    last = np.full(len(encoded.dictionary), -1)
    last[codes] = np.arange(len(codes))
    was_gone = np.zeros(len(last), bool)
    is_presence = known.column("part").to_numpy(zero_copy_only=False) == PART_PRESENCE
    for at in np.flatnonzero(is_presence):
        was_gone[codes[at]] = status[at] == GONE
    table = known.take(pa.array(last))
    is_ours = pc.is_in(table.column("collection"), pa.array(sorted(night.collections), pa.string()))
    return table.filter(is_ours), was_gone[is_ours.to_numpy()]


def _presence(table: pa.Table, status: str) -> pa.Table:
    number = table.num_rows
    columns = [
        table.column(ARTWORK_ID),
        pa.array([PART_PRESENCE] * number, pa.string()),
        pa.array([""] * number, pa.string()),
        pa.array([""] * number, pa.string()),
        pa.array([status] * number, pa.string()),
        table.column("collection"),
        pa.array([0] * number, pa.int64()),
    ]
    return pa.table(columns, schema=ledger_schema())


def merged(tables: Sequence[pa.Table | None]) -> pa.Table | None:
    """Return the same range of several ledgers, older ones first, as one table in the order of artwork_id, and of age within an artwork."""
    present = [table for table in tables if table is not None and table.num_rows]
    if not present:
        return None
    if len(present) == 1:
        return present[0]
    ages = [pa.array(np.full(table.num_rows, age), pa.int64()) for age, table in enumerate(present)]
    table = pa.concat_tables(present).append_column("age", pa.chunked_array(ages))
    return table.sort_by([(ARTWORK_ID, "ascending"), ("age", "ascending")]).drop_columns("age")
