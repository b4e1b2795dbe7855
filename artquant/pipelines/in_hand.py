"""What a worker process is at work on, written down where its death leaves it: so one artwork that takes its process down, or that never
comes to an end, is found and rejected, and its neighbours keep their scores.

Each death leaves the artworks that were in hand. In the process that takes over they are suspects, and each is handled with nothing else
in hand; one that is alone in hand at the next death is poison. Ray is not asked here, but for the folder in `of_this_worker`.
"""

import faulthandler
import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from artquant.core.errors import Reject, RunFailed
from artquant.core.schema import RejectClass
from artquant.engines.halving import is_out_of_memory

T = TypeVar("T")

FETCHING, _NO_ANSWER = "fetching", "no answer within"
OPENING, IDLE = "opening the engine", "between two artworks"
MAX_OPENINGS = 3  # a process that dies three times before its engine is open will not open it the fourth time
MAX_DEATHS_AT_FIRST = 5  # in a row, while it never brought an artwork through: then it is not the artworks
MAX_DEATHS = 20  # in a row, after it did: then it is not the artworks any more


class Task(NamedTuple):
    """What is done to which artwork, as in ("decoding", "a.jpg")."""

    doing: str
    artwork_id: str


class InHand:
    """The journal of one worker in `folder`, which the process that takes over reads. Many threads may use it.

    A thread's entry is a file of its own, cut to nothing when the thread is done: two writes into the page cache, some microseconds, and it
    outlives every kind of death but the node's. Raises RunFailed where the worker dies whatever it is given.
    """

    def __init__(self, folder: str | os.PathLike[str], stall_seconds: float):
        self.folder, self.stall_seconds = Path(folder), stall_seconds
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.suspects: set[Task] = set()
        self.poison: dict[Task, str] = {}
        self.deaths: Counter[str] = Counter()  # by what was done, in a row
        self.succeeded: set[str] = set()  # what was done, once at least
        self.num_out_of_memory = 0  # deaths for want of memory, of all processes before this
        self.news: list[str] = []  # what to report about the deaths before this process
        self._own = threading.local()
        self._changed = threading.Condition()
        self._holders: dict[int, float] = {}  # a thread's entry -> since when
        self._is_alone = False
        self._take_over()
        self._stack = open(self.folder / "stack.txt", "w")  # noqa: SIM115  # open as long as the process lives
        threading.Thread(target=self._watch, name="in-hand", daemon=True).start()

    @contextmanager
    def holding(self, doing: str, artwork_ids: Sequence[str] = (), alone: bool = False) -> Iterator[None]:
        """Record these artworks as in hand for the block; `alone`: and nothing else of this process. Must not be nested."""
        entry = self._entry()
        with self._changed:
            self._changed.wait_for(lambda: not self._is_alone)
            if alone:
                self._is_alone = True
                self._changed.wait_for(lambda: not self._holders)
            self._holders[entry] = time.monotonic()
        os.pwrite(entry, json.dumps([doing, *artwork_ids]).encode(), 0)
        is_ending = False
        try:
            yield
        except SystemExit as error:  # the process ends deliberately, and with this in hand
            is_ending = True
            (self.folder / "last_words").write_text(str(error))
            raise
        finally:
            if not is_ending:
                os.ftruncate(entry, 0)
            with self._changed:
                del self._holders[entry]
                self._is_alone &= not alone
                self._changed.notify_all()
        if self.deaths[doing] or doing not in self.succeeded:
            with self._changed:
                self.deaths[doing] = 0
                self.succeeded.add(doing)
                self._save()

    def handle(self, doing: str, artwork_ids: Sequence[str], action: Callable[[list[int]], Sequence[T | Reject]]) -> list[T | Reject]:
        """Call `action(indices)`, which returns as many results, for all artworks together; for a suspect alone. Poison gets a Reject."""
        tasks = [Task(doing, artwork_id) for artwork_id in artwork_ids]
        results: dict[int, T | Reject] = {
            i: Reject(_class_of(task, self.poison[task]), self.poison[task]) for i, task in enumerate(tasks) if task in self.poison
        }
        for i, task in enumerate(tasks):
            if task in self.suspects:
                with self.holding(doing, [task.artwork_id], alone=True):
                    results[i] = action([i])[0]
        usual = [i for i in range(len(tasks)) if i not in results]
        if usual:
            with self.holding(doing, [artwork_ids[i] for i in usual]):
                results.update(zip(usual, action(usual), strict=True))
        return [results[i] for i in range(len(tasks))]

    def _entry(self) -> int:
        if not hasattr(self._own, "entry"):
            self._own.entry = os.open(self.folder / f"{threading.get_native_id()}.entry", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        return int(self._own.entry)

    def _take_over(self) -> None:
        """Read what the previous process left, and draw the conclusion."""
        state = self.folder / "state.json"
        if state.exists():
            saved = json.loads(state.read_text())
            self.suspects = {Task(*task) for task in saved["suspects"]}
            self.poison = {Task(doing, artwork_id): why for doing, artwork_id, why in saved["poison"]}
            self.deaths, self.succeeded = Counter(saved["deaths"]), set(saved["succeeded"])
            stack = self.folder / "stack.txt"
            is_stalled = stack.exists() and stack.stat().st_size > 0
            words = self.folder / "last_words"
            how = " ".join(words.read_text().split())[:300] if words.exists() else "the process died"
            how = f"{_NO_ANSWER} {self.stall_seconds / 60:g} minutes" if is_stalled else how
            words.unlink(missing_ok=True)
            self.num_out_of_memory = saved["num_out_of_memory"] + is_out_of_memory(how)
            entries = [json.loads(text) for path in self.folder.glob("*.entry") if (text := _whole_json(path))]
            self._conclude(how, entries)
        for path in self.folder.glob("*.entry"):
            path.unlink()
        self._save()

    def _conclude(self, how: str, entries: list[list[str]]) -> None:
        """Conclude from `entries`, which hold what each thread did, and to which artworks."""
        held = [Task(doing, artwork_id) for doing, *artwork_ids in entries for artwork_id in artwork_ids]
        doings = {doing for doing, *_ in entries} or {IDLE}
        self.deaths.update(doings)
        if len(held) == 1 and held[0] in self.suspects:
            task = held[0]
            self.suspects.discard(task)
            self.poison[task] = f"{how} while {task.doing} this artwork alone"
            self.news.append(f"{task.artwork_id} is rejected as {_class_of(task, how)}: {self.poison[task]}.")
        elif held:
            self.suspects |= set(held)
            named = ", ".join(task.artwork_id for task in held[:5]) + (f" and {len(held) - 5} more" if held[5:] else "")
            self.news.append(f"A worker is lost ({how}) with {named} in hand: another takes over and tries them one by one.")
        else:
            self.news.append(f"A worker is lost ({how}{f' while {OPENING}' if OPENING in doings else ''}): another takes over.")
        for doing in sorted(doings):
            limit = MAX_DEATHS if doing in self.succeeded else MAX_DEATHS_AT_FIRST
            limit = {OPENING: MAX_OPENINGS, IDLE: MAX_DEATHS}.get(doing, limit)
            if self.deaths[doing] >= limit:
                last = f", whatever artwork it was given, {held[0].artwork_id} the last" if held else ""
                raise RunFailed(
                    f"A worker was lost {self.deaths[doing]} times in a row while {doing} ({how}){last}: "
                    "look at the engine, at the memory it needs and at Ray's logs."
                )

    def verdicts(self) -> dict[str, list[list[str]]]:
        """Return the suspects and the poison, as :meth:`learn` takes them."""
        return {
            "suspects": [list(task) for task in sorted(self.suspects)],
            "poison": [[*task, why] for task, why in sorted(self.poison.items())],
        }

    def learn(self, verdicts: dict[str, list[list[str]]]) -> None:
        """Take over what another worker found out."""
        self.poison |= {Task(doing, artwork_id): why for doing, artwork_id, why in verdicts["poison"]}
        self.suspects |= {Task(doing, artwork_id) for doing, artwork_id in verdicts["suspects"]}
        self.suspects -= self.poison.keys()
        self._save()

    def _save(self) -> None:
        document = self.verdicts() | {
            "deaths": self.deaths,
            "succeeded": sorted(self.succeeded),
            "num_out_of_memory": self.num_out_of_memory,
        }
        draft = self.folder / "state.draft"
        draft.write_text(json.dumps(document))
        draft.replace(self.folder / "state.json")

    def _watch(self) -> None:
        """End the process when something has been in hand for too long, after writing the threads' stacks to stack.txt."""
        pause = min(1.0, self.stall_seconds / 10)
        while True:
            # The C thread behind this needs no GIL: it ends the process too where native code never gives the GIL back.
            faulthandler.dump_traceback_later(self.stall_seconds + 2 * pause, exit=True, file=self._stack)
            time.sleep(pause)
            with self._changed:
                oldest = min(self._holders.values(), default=time.monotonic())
            if time.monotonic() - oldest > self.stall_seconds:
                faulthandler.dump_traceback(file=self._stack)
                os._exit(1)


def _class_of(task: Task, why: str) -> RejectClass:
    """Return timeout where the store did not answer for the object, which it may tomorrow; poison for all else."""
    return RejectClass.TIMEOUT if task.doing == FETCHING and why.startswith(_NO_ANSWER) else RejectClass.POISON


def _whole_json(entry: Path) -> str:
    """Return the entry's text; '' if the thread was done, or had not begun because the process died during the write."""
    text = entry.read_text(errors="replace")
    return text if text.endswith("]") else ""


@cache
def of_this_worker(stall_seconds: float) -> InHand:
    """Open the journal of the Ray actor that this process is; outside Ray, a new one.

    It lies in Ray's session folder, where a restarted actor finds it.
    """
    import ray

    if not ray.is_initialized():
        return InHand(tempfile.mkdtemp(prefix="artquant-in-hand-"), stall_seconds)
    context = ray.get_runtime_context()
    folder = Path(context.get_temp_dir()) / context.get_session_name() / "artquant-in-hand" / str(context.get_actor_id() or os.getpid())
    return InHand(folder, stall_seconds)
