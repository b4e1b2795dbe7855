"""How many artworks were rejected, as the outcomes come, and whether the run goes on."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.core.errors import RunFailed
from artquant.core.schema import REASON, REJECT_CLASS, Reason, reject_schema

EARLY_AFTER = 1_000  # artworks: of fewer, one damaged folder among the first ones would look like a damaged collection
MAX_KEPT_REJECTS = 100_000  # rows that are kept beside a failed run's page: some 20 MB in memory


class TooManyRejects(RunFailed):
    """More artworks were rejected than `max_rejected_fraction` allows."""


class Tally:
    """Rejects of artworks that are due for another reason than a retry: a night of eleven retries is no broken collection.

    `num_tried`: of those in the whole plan; `min_rejected`: fewer rejects than this fail no run.
    """

    def __init__(self, max_fraction: float, min_rejected: int, num_tried: int):
        self.max_fraction, self.min_rejected, self.num_tried = max_fraction, min_rejected, num_tried
        self.num_came = 0
        self.classes: Counter[str] = Counter()

    def add(self, outcomes: pa.Table) -> None:
        """Count a table with `reason` and `reject_class` ('' for a score)."""
        anew = outcomes.filter(pc.not_equal(outcomes.column(REASON), Reason.RETRY.value)).column(REJECT_CLASS)
        self.num_came += len(anew)
        for pair in anew.filter(pc.not_equal(anew, "")).value_counts().to_pylist():
            self.classes[pair["values"]] += pair["counts"]

    def check(self, is_over: bool) -> None:
        """Raise TooManyRejects where the rejects are too many of the whole plan, or, before it is over, of the many artworks that came."""
        num, num_of = self.classes.total(), self.num_tried if is_over else self.num_came
        if num < self.min_rejected or (num_of < EARLY_AFTER and not is_over) or num <= self.max_fraction * num_of:
            return
        why = ", ".join(f"{name} {count:,}" for name, count in self.classes.most_common(3))
        raise TooManyRejects(
            f"{num:,} of {'the first ' if num_of < self.num_tried else ''}{num_of:,} artworks were rejected ({why}), more than "
            f"max_rejected_fraction={self.max_fraction} allows: look at the reject classes in the report, then mend the collection or "
            "raise the limit."
        )


class KeptRejects:
    """Rows of rejects, the first MAX_KEPT_REJECTS of them."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.num_kept = self.num_seen = 0

    def add(self, rejects: pa.Table) -> None:
        kept = rejects.slice(0, MAX_KEPT_REJECTS - self.num_kept)
        self.num_seen += rejects.num_rows
        self.num_kept += kept.num_rows
        if kept.num_rows:
            self.tables.append(kept)

    def to_parquet(self) -> bytes:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.concat_tables([reject_schema().empty_table(), *self.tables]), sink, compression="zstd")
        return bytes(sink.getvalue())
