"""A score run as it is watched from outside: what metrics, log and hooks hear of it, and when."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from artquant.cli.hooks import status_of, tell_end
from artquant.cli.terminal import say
from artquant.config import ResolvedScoreSpec, ScoreSpec
from artquant.core.errors import AnotherRun, Held, Reject
from artquant.progress import log
from artquant.progress.watch import WATCH

if TYPE_CHECKING:
    from artquant.results.nights import Work


class Seen:
    """What is known of the run so far; `summary` is what the hooks get."""

    def __init__(self, spec: ScoreSpec):
        self.summary: dict[str, Any] = {"status": "failed", "job": "score", "run_id": spec.run_id, "output": spec.output}

    def begins(self, spec: ResolvedScoreSpec, work: "Work", num_engines: int) -> None:
        """Tell what the plan says."""
        from artquant.results.state import last_published, unix_time, view_number

        run_id, summary = work.intent.run_id, work.summary
        log.add_fields(run_id=run_id)
        self.summary |= {"run_id": run_id, "output": spec.output, "num_planned": summary.num_planned}
        WATCH.know(
            run_id=run_id,
            model_digest=work.asked.identity.model_digest,
            version=version("artquant-jobs"),
            num_planned=WATCH.state.num_done + summary.num_planned,  # a night with a deadline is several runs
            num_done_before=WATCH.state.num_done_before + summary.num_planned - sum(work.due.values()),
            num_engines=num_engines,
            head=work.parent.number if work.parent else 0,
        )
        try:
            published = last_published(work.store, work.parent)
            WATCH.know(published_at=unix_time(published) if published else None, view=view_number(work.store))
        except Reject as error:  # of interest to a dashboard alone
            say(f"When the last run was published is not known to the metrics: {error.message}.")

    def is_published(self, spec: ResolvedScoreSpec, seconds: float, num_scored: int) -> None:
        """Tell of the end of a run whose rows are current."""
        from artquant.results.snapshots import head
        from artquant.results.state import last_published, unix_time, view_number
        from artquant.storage.store import open_store

        self.summary["status"] = "published"
        if spec.price_per_hour is not None and num_scored:
            cost = spec.price_per_hour * seconds / 3600 / num_scored * 1000
            self.summary["cost_per_thousand"] = cost
            WATCH.know(cost_per_thousand=cost)
        WATCH.know(succeeded_at=time.time())
        store = open_store(spec.output)
        try:
            last = head(store)
            published = last_published(store, last)
            if last and published:
                self.summary["snapshot"] = last.number
                WATCH.know(published_at=unix_time(published), head=last.number, view=view_number(store))
        except Reject as error:
            say(f"What was published is not known to the metrics: {error.message}.")

    def has_numbers(self, page: str) -> None:
        """Add what the run wrote of its numbers, and where its page is."""
        from artquant.results.state import metrics_of
        from artquant.storage.store import open_store

        self.summary = {**metrics_of(open_store(self.summary["output"]), self.summary["run_id"]), **self.summary, "page": page}

    def is_to_end(self, end: datetime) -> None:
        """Tell until when the night is to be over."""
        WATCH.know(deadline_at=end.timestamp())

    def nothing_is_due(self, num_reused: int) -> None:
        self.summary |= {"status": "nothing due", "num_reused": num_reused}
        WATCH.know(succeeded_at=time.time())


@contextmanager
def watched(spec: ScoreSpec) -> Iterator[Seen]:
    """Show the run for the block, and say at its end how it ended."""
    if spec.log_format == "json":
        log.as_json(job="score", run_id=spec.run_id)
    seen = Seen(spec)
    with WATCH.shown(spec.watch, say):
        try:
            yield seen
        except BaseException as error:
            seen.summary |= {"status": status_of(error), "message": str(error)}
            WATCH.know(is_held=isinstance(error, Held), refused_at=time.time() if isinstance(error, AnotherRun) else None)
            raise
        finally:
            if log.is_json():  # a person reads the summary, or the last sentence
                log.tell("ended", **seen.summary)
            tell_end(spec.watch, seen.summary)
