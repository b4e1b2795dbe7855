"""A night with an end (`deadline=`, `max_cost=`): scores first, then texts as far as the time goes; the rest waits for the next night."""

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.cli.terminal import say
from artquant.config import ResolvedScoreSpec
from artquant.core.format import count_of, duration
from artquant.core.moments import moment
from artquant.pipelines.pacing import OVERHEAD_SECONDS, Piece, pieces
from artquant.progress.watch import WATCH
from artquant.results.claims import is_ended, last_intent
from artquant.results.nights import Asked, draft, opened
from artquant.results.plan import PlanSummary
from artquant.results.queue import Queue
from artquant.results.trust import as_trusted
from artquant.storage.store import open_store

if TYPE_CHECKING:
    from artquant.engines.recipe import EngineRecipe
    from artquant.records.run import RunReport

NEW_HOURS = 24.0  # an artwork that was scored within them is new: its texts come first


def end_of(spec: ResolvedScoreSpec, now: datetime) -> datetime | None:
    """Return when the run is to be over, by its deadline or by what it may cost; None where nothing says."""
    ends = [moment(spec.deadline, now)] if spec.deadline else []
    if spec.max_cost is not None and spec.price_per_hour:
        ends.append(now + timedelta(hours=spec.max_cost / spec.price_per_hour))
    return min(ends, default=None)


def score_until(
    end: datetime,
    spec: ResolvedScoreSpec,
    ask: Callable[[ResolvedScoreSpec], Asked],
    recipe_of: Callable[[ResolvedScoreSpec], "EngineRecipe"],
    score: Callable[..., "RunReport | None"],
    ray: Callable[[], AbstractContextManager[Callable[[], None] | None]],
    since: datetime | None = None,
    seconds_left: Callable[[], float] | None = None,
    overhead: float = OVERHEAD_SECONDS,
) -> int:
    """Score in pieces on one Ray, each a run with a snapshot of its own, until `end` or until nothing is due; say what is left. Returns 0.

    Texts of artworks that were new since `since`, a day ago, come first.

    Raises what `score` raises: a piece that fails ends the night, and what was published before it stays.
    """
    from artquant.pipelines.rates import MIN_PACED, PACES
    from artquant.pipelines.score import claimed_night

    recipe_for = cache(lambda texts: recipe_of(_spec_for(spec, texts, 0)))
    store = as_trusted(open_store(spec.output))
    parent = opened(store)
    number = (parent.number if parent else 0) + 1
    last = last_intent(store, number)
    rates = parent.rates if parent else {}
    numbers = {False: 0, True: 0}
    until = time.monotonic() + (end - datetime.now(UTC)).total_seconds()
    seconds_left = seconds_left or (lambda: until - time.monotonic())

    since = since or datetime.now(UTC) - timedelta(hours=NEW_HOURS)

    def asked_for(texts: bool, room: int) -> Asked:
        asked = ask(_spec_for(spec, texts, 0))
        return replace(asked, queue=Queue(room, since)) if texts else replace(asked, room=room)

    with ExitStack() as stack:

        def run(texts: bool, room: int) -> Piece:
            numbers[texts] += 1
            piece_spec, asked = _spec_for(spec, texts, numbers[texts]), asked_for(texts, room)
            with claimed_night(piece_spec, asked.identity, asked) as work:
                if isinstance(work, PlanSummary):
                    return Piece(0, work.counts.get("queued", 0))
                if not is_up:
                    stack.enter_context(ray())
                    is_up.append(True)
                report = score(piece_spec, work, lambda: recipe_for(texts), None, nullcontext)
                is_long = report is not None and work.summary.num_planned >= MIN_PACED
                pace = report.images_per_second or None if report and is_long else None
                return Piece(work.summary.num_planned, work.summary.counts.get("queued", 0), pace)

        is_up: list[bool] = []
        left = pieces(
            run,
            seconds_left,
            {texts: rates.get(PACES[texts]) for texts in (False, True)},
            overhead,
            last is not None and not is_ended(store, last) and last.digest == asked_for(True, 0).digest,
            spec.engine.critique,
        )
    for texts, name in ((False, "score"), (True, "critique"))[: 1 + spec.engine.critique]:
        num = left[texts] if left[texts] is not None else _count(spec, asked_for(texts, 0))
        WATCH.know(num_left=WATCH.state.num_left | {name: num or 0})
        if num:
            say(f"{count_of(num, name)} left for the next night: the same command does them, after what is new then")
    spare = seconds_left()
    say(f"The night is over {duration(abs(spare))} {'before' if spare >= 0 else 'after'} its end, {end:%Y-%m-%d %H:%M %Z}")
    return 0


def _spec_for(spec: ResolvedScoreSpec, texts: bool, number: int) -> ResolvedScoreSpec:
    """Return the settings of one piece. Texts are written for scores that were compared already, and not for a sample of them: no gate."""
    name = f"{spec.run_id}-{'critiques' if texts else 'scores'}-{number}"
    gates = spec.gates.model_copy(update={"enabled": False}) if texts else spec.gates
    return spec.model_copy(update={"run_id": name, "gates": gates, "engine": spec.engine.model_copy(update={"critique": texts})})


def _count(spec: ResolvedScoreSpec, asked: Asked) -> int:
    """Return how many are due of what there was no time to begin with."""
    store = as_trusted(open_store(spec.output))
    with tempfile.TemporaryDirectory(prefix="artquant-plan-") as folder:
        return draft(store, opened(store), asked, Path(folder)).summary.counts.get("queued", 0)
