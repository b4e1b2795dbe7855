"""The publish protocol as a model of which every interleaving is visited: runs, rollback, release, compaction, clean, and their faults.

A program is a generator that yields one request to the store at a time and is sent its answer; a state is the store, where each program
stands, the faults that are left, what was told, and the requests that are still on the wire. The search is breadth first, so the first
violation has a shortest trace. Larger scopes by hand: python -m tests.results.publish_model

As in artquant/results, with these simplifications: the artworks are x and y, a shard and a file each; the chain and a work's records are
read by one request; every claim may be taken over (a beat may always be stale); `clean` waits for no age.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from artquant.results.snapshots import DataFile, with_files

Request = tuple[Any, ...]
Program = Generator[Request, Any, Any]
Objects = dict[str, Any]
TOMBSTONE = "tombstone"
ARTWORKS = ("x", "y")


@dataclass(frozen=True)
class Rules:
    """What the protocol rests on. Each can be taken out; then the search finds what goes wrong."""

    read_back: bool = True  # a creation that conflicts is read back before a verdict
    tombstones: bool = True  # what goes out of the view becomes an empty file; it is not deleted
    last_act: bool = True  # every command brings the view to the last snapshot, whatever came before
    new_names: bool = True  # what comes back has a name that was never used
    keeps_commits: bool = True  # clean leaves snapshots alone
    keeps_open_work: bool = True  # clean leaves alone what is not of a claim on a number that is taken
    keeps_homes: bool = True  # a file that is there is not built again


class Snap(NamedTuple):
    number: int
    kind: str
    write_id: str
    files: tuple[DataFile, ...]
    removed: tuple[DataFile, ...]
    state: int


NOTHING = Snap(0, "", "", (), (), 0)


def apply(objects: Objects, request: Request) -> tuple[Objects, Any]:
    """Return (objects after it, answer)."""
    what, key, *rest = request
    if what == "get":
        return objects, objects.get(key)
    if what == "list":
        return objects, tuple((name, value) for name, value in sorted(objects.items()) if name.startswith(key))
    if what == "tell":
        return objects, None
    if what == "create" and key in objects:
        return objects, "conflict"
    if what == "delete":
        return {name: value for name, value in objects.items() if name not in key}, "done"
    return objects | {key: rest[0]}, "done"


def file_of(artwork: str, data: str, number: int, work: str) -> DataFile:
    return DataFile("scores", data, f"view/{work}-{artwork}.s{number}.parquet", 1, 1, work)


def last_of(chain: tuple[tuple[str, Snap], ...]) -> Snap:
    return chain[-1][1] if chain else NOTHING


def named(rules: Rules, last: Snap, files: tuple[DataFile, ...], number: int) -> Any:
    """(files, removed) of the next snapshot, by the product's own rule."""
    if rules.new_names:
        return with_files(last, files, number)  # type: ignore[arg-type]
    return files, tuple(file for file in (*last.removed, *last.files) if file not in files)


def repair(rules: Rules) -> Program:
    while True:
        last = last_of((yield "list", "snap/"))
        present = dict((yield "list", "view/"))
        for file in last.removed:
            if not rules.tombstones:
                if file.view in present:
                    yield "delete", (file.view,)
            elif file.view in present:
                if present[file.view] != TOMBSTONE:
                    yield "put", file.view, TOMBSTONE
            elif (yield "create", file.view, TOMBSTONE) == "conflict":
                yield "put", file.view, TOMBSTONE
        for file in last.files:
            if file.view not in present:
                data = yield "get", file.data
                yield "create", file.view, data
        if last_of((yield "list", "snap/")).number == last.number:
            return last


def commit(rules: Rules, snap: Snap) -> Program:
    """Return whether it is committed."""
    if (yield "create", f"snap/{snap.number}", snap) == "done":
        return True
    if not rules.read_back:
        return False
    seen = yield "get", f"snap/{snap.number}"
    return seen is not None and seen.write_id == snap.write_id


def run(name: str, asked: str, rules: Rules) -> Program:
    """A night. `asked`: what decides its rows; who asks for the same goes on with the same work."""
    last = yield from repair(rules)
    number, taken = last.number + 1, {row for file in last.files for row in file.view.split(".")[0].split("-")[1]}
    due = [artwork for artwork in ARTWORKS if artwork not in taken]
    if not due:
        yield "tell", ("nothing due", name)
        return
    work = f"{name}{number}"
    while True:
        claims = yield "list", f"intent/{number}-"
        if claims and claims[-1][1][0] == asked:
            work = claims[-1][1][1]
        elif claims and (yield "list", f"work/{claims[-1][1][1]}/shard"):
            yield "tell", ("another at work", name)
            return
        mine = (asked, work, name)
        key = f"intent/{number}-{len(claims) + 1}"
        if (yield "create", key, mine) == "done" or (yield "get", key) == mine:
            break
    done = dict((yield "list", f"work/{work}/shard"))
    for artwork in due:
        record = f"work/{work}/shard-{artwork}"
        if record not in done:
            attempt = f"work/{work}/attempt-{artwork}-{name}"
            yield "put", attempt, (artwork, name)
            if (yield "create", record, attempt) == "conflict" and (yield "get", record) != attempt:
                yield "delete", (attempt,)
    records = yield "list", f"work/{work}/shard"
    if len(records) < len(due):
        yield "tell", ("failed", name)
        return
    files = []
    for artwork, (_, attempt) in zip(due, records, strict=True):
        outcome = yield "get", attempt
        if outcome is None:
            yield "tell", ("failed", name)
            return
        home = f"work/{work}/data-{artwork}"
        if not rules.keeps_homes or (yield "get", home) is None:
            yield "put", home, outcome
        files.append(file_of(artwork, home, number, work))
    kept, removed = named(rules, last, (*last.files, *files), number)
    is_ours = yield from commit(rules, Snap(number, "run", work, kept, removed, number))
    yield "tell", ("published" if is_ours else "lost", work, number)
    yield from repair(rules)


def rollback(name: str, rules: Rules) -> Program:
    last = last_of((yield "list", "snap/")) if not rules.last_act else (yield from repair(rules))
    newest = (yield "get", f"snap/{last.state}") if last.state else None
    if newest is None or not newest.files:
        return
    base = ((yield "get", f"snap/{newest.number - 1}") if newest.number > 1 else None) or NOTHING
    files, removed = named(rules, last, base.files, last.number + 1)
    if (yield from commit(rules, Snap(last.number + 1, "rollback", name, files, removed, base.state))):
        yield "tell", ("done", name)
    yield from repair(rules)


def release(name: str, rules: Rules) -> Program:
    """Publish the newest run again, where it was taken back and nothing came after it."""
    last = yield from repair(rules)
    again = next((snap for _, snap in reversed((yield "list", "snap/")) if snap.kind == "run"), None)
    if last.kind != "rollback" or again is None or last.number != again.number + 1:
        return
    files, removed = named(rules, last, again.files, last.number + 1)
    yield from commit(rules, Snap(last.number + 1, "release", name, files, removed, again.state))
    yield from repair(rules)


def compact(name: str, rules: Rules) -> Program:
    """Rewrite both files as one: as forget does, and whatever supersedes rows."""
    last = yield from repair(rules)
    if len(last.files) < 2:
        return
    rows = []
    for file in last.files:
        rows.append((yield "get", file.data))
    number, home = last.number + 1, f"work/{name}{last.number + 1}/data-xy"
    yield "put", home, ("xy", tuple(rows))
    files, removed = named(rules, last, (file_of("xy", home, number, name),), number)
    yield from commit(rules, Snap(number, "compact", name, files, removed, number))
    yield from repair(rules)


def clean(rules: Rules) -> Program:
    yield from repair(rules)
    chain = yield "list", "snap/"
    claims = yield "list", "intent/"
    there = yield "list", "work/"
    used = {file.data for _, snap in chain for file in snap.files}
    head = last_of(chain).number
    over = {value[1] for key, value in claims if int(key.split("/")[1].split("-")[0]) <= head}
    doomed = [key for key, _ in there if key not in used and (key.split("/")[1] in over or not rules.keeps_open_work)]
    if doomed:
        yield "delete", tuple(doomed)
    if not rules.keeps_commits and head > 1:
        yield "delete", ("snap/1",)


def rows_of(value: Any) -> str:
    return "" if value in (None, TOMBSTONE) else value[0]


def violation(objects: Objects, told: tuple[Any, ...], is_at_rest: bool) -> str:
    """Return the first promise that is broken, '' for none."""
    chain = [value for key, value in sorted(objects.items()) if key.startswith("snap/")]
    view = {key: value for key, value in objects.items() if key.startswith("view/")}
    rows = "".join(rows_of(value) for value in view.values())
    if len(rows) != len(set(rows)):
        return "a reader by glob meets a row twice"
    if not set(view) <= {file.view for snap in chain for file in (*snap.files, *snap.removed)}:
        return "a file of no snapshot is visible"
    for snap in chain:
        for file in snap.files:
            if file.data not in objects:
                return f"snapshot {snap.number} names {file.data}, which is gone"
            if view.get(file.view, TOMBSTONE) not in (TOMBSTONE, objects[file.data]):
                return f"{file.data} is not what was published"
    winners = {(told_of[2], told_of[1]) for told_of in told if told_of[0] == "published"}
    if len({number for number, _ in winners}) < len(winners):
        return "two runs were told 'published' on one parent"
    for verdict, who, *_ in told:
        is_there = any(snap.write_id == who for snap in chain)
        if verdict == "published" and not is_there or verdict == "lost" and is_there:
            return f"{who} was told {verdict!r}, and that is not so"
    if is_at_rest:
        wanted = {file.view for file in chain[-1].files} if chain else set()
        if {key for key, value in view.items() if value != TOMBSTONE} != wanted:
            return "at rest the view is not the last snapshot"
    return ""


@dataclass(frozen=True)
class Found:
    """What a search came to: `problem` and its shortest `trace`, or '' and whether all states were visited; `met`: the kinds of steps."""

    problem: str
    trace: tuple[str, ...]
    num_states: int
    is_exhausted: bool
    met: frozenset[str]


class Positions:
    """Where a program stands: its place in the code and its variables, so that histories that lead to one place are one."""

    def __init__(self, make: Callable[[], Program]):
        self.make = make
        self.known: dict[Any, int] = {}
        self.histories: list[tuple[Any, ...]] = []
        self.requests: list[Request | None] = []
        self.after: dict[tuple[int, Any], int] = {}
        self.start = self._stand(())

    def _stand(self, history: tuple[Any, ...]) -> int:
        program, request = self.make(), None
        try:
            request = next(program)
            for answer in history:
                request = program.send(answer)
            place, inner = [], program
            while inner is not None:
                variables = {name: value for name, value in inner.gi_frame.f_locals.items() if not hasattr(value, "gi_frame")}
                place.append((inner.gi_frame.f_lasti, repr(sorted(variables.items(), key=lambda item: item[0]))))
                inner = inner.gi_yieldfrom
            key: Any = tuple(place)
        except StopIteration:
            request, key = None, "end"
        if key not in self.known:
            self.known[key] = len(self.histories)
            self.histories.append(history)
            self.requests.append(request)
        return self.known[key]

    def step(self, position: int, answer: Any) -> int:
        if (position, answer) not in self.after:
            self.after[position, answer] = self._stand((*self.histories[position], answer))
        return self.after[position, answer]


class State(NamedTuple):
    objects: tuple[tuple[str, Any], ...]
    stands: tuple[int, ...]
    faults: tuple[int, int, int]  # lost answers, kills, requests left on the wire by a kill
    told: tuple[Any, ...]
    wire: tuple[Request, ...]


def explore(
    programs: dict[str, Callable[[], Program]],
    objects: Objects | None = None,
    *,
    lost: int = 0,
    kills: int = 0,
    wires: int = 0,
    max_states: int = 1_000_000,
) -> Found:
    """Visit every state, until one breaks a promise."""
    names, positions = list(programs), [Positions(make) for make in programs.values()]
    first = State(tuple(sorted((objects or {}).items())), tuple(one.start for one in positions), (lost, kills, wires), (), ())
    came: dict[State, tuple[State, str] | None] = {first: None}
    queue, met = deque([first]), set()
    while queue:
        state = queue.popleft()
        is_at_rest = not state.wire and all(one.requests[at] is None for one, at in zip(positions, state.stands, strict=True))
        if problem := violation(dict(state.objects), state.told, is_at_rest):
            return Found(problem, _trace(came, state), len(came), False, frozenset(met))
        for what, following in _steps(state, names, positions):
            met.add(what.split("/")[0] + what[what.find(" -> ") :] if " -> " in what else what.split("/")[0])
            if following not in came:
                came[following] = state, what
                queue.append(following)
        if len(came) > max_states:
            return Found("", (), len(came), False, frozenset(met))
    return Found("", (), len(came), True, frozenset(met))


def _trace(came: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    while (before := came[state]) is not None:
        state, what = before
        steps.append(what)
    return tuple(reversed(steps))


def _steps(state: State, names: list[str], positions: list[Positions]) -> Iterator[tuple[str, State]]:
    lost, kills, wires = state.faults
    objects = dict(state.objects)

    def changed(after: Objects, **changes: Any) -> State:
        return state._replace(objects=state.objects if after is objects else tuple(sorted(after.items())), **changes)

    for i, request in enumerate(state.wire):
        yield f"late {request[0]} {request[1]}", changed(apply(objects, request)[0], wire=state.wire[:i] + state.wire[i + 1 :])
    for i, (name, program) in enumerate(zip(names, positions, strict=True)):
        request = program.requests[state.stands[i]]
        if request is None:
            continue

        def stands(position: int, i: int = i) -> tuple[int, ...]:
            return (*state.stands[:i], position, *state.stands[i + 1 :])

        after, answer = apply(objects, request)
        what = f"{name}: {request[0]} {request[1]}" + (f" -> {answer}" if request[0] == "create" else "")
        told = (*state.told, request[1]) if request[0] == "tell" and request[1] not in state.told else state.told
        yield what, changed(after, stands=stands(program.step(state.stands[i], answer)), told=told)
        if request[0] in ("put", "create", "delete"):
            if lost:
                yield f"{what}, answer lost, sent again", changed(after, faults=(lost - 1, kills, wires))
            if wires:
                faults, again = (lost, kills, wires - 1), stands(program.start)
                yield f"{what}, killed with it on the wire", changed(objects, stands=again, faults=faults, wire=(*state.wire, request))
        if kills and state.stands[i] != program.start:
            yield f"{name}: killed, started again", changed(objects, stands=stands(program.start), faults=(lost, kills - 1, wires))


def alone(objects: Objects, program: Program, until: str = "nothing") -> Objects:
    """Return what is there when the program has run by itself; it falls asleep before the first request whose words begin with `until`."""
    asleep = Asleep(program)
    asleep.run(objects, until)
    return asleep.objects


class Asleep:
    """A program that stops where it is told, sleeps over what others do, and wakes up."""

    def __init__(self, program: Program):
        self.program, self.objects, self.told = program, Objects(), list[Any]()
        self.request: Request | None = next(program)

    def run(self, objects: Objects, until: str = "nothing") -> Asleep:
        self.objects = objects
        while self.request and not f"{self.request[0]} {self.request[1]}".startswith(until):
            if self.request[0] == "tell":
                self.told.append(self.request[1])
            self.objects, answer = apply(self.objects, self.request)
            try:
                self.request = self.program.send(answer)
            except StopIteration:
                self.request = None
        return self


def scopes(rules: Rules, is_large: bool) -> Iterator[tuple[str, Callable[[], Found]]]:
    """Name each scope, and how to visit it."""
    more = int(is_large)
    a, b, same = (partial(run, name, asked, rules) for name, asked in (("A", "1"), ("B", "2"), ("C", "1")))
    back, back2 = partial(rollback, "back", rules), partial(rollback, "back2", rules)
    sweep, merge, again = partial(clean, rules), partial(compact, "merge", rules), partial(release, "again", rules)
    one = alone({}, a())
    taken = alone(one, back())
    yield "one run", lambda: explore({"A": a}, lost=1 + more, kills=1 + more)
    yield "two runs", lambda: explore({"A": a, "B": b}, lost=more, kills=more)
    yield "the same run twice", lambda: explore({"A": a, "C": same}, lost=more, kills=more)
    yield "a run and a rollback", lambda: explore({"A": a, "back": back}, lost=more, kills=1)
    yield "a run and a rollback, a request on the wire", lambda: explore({"A": a, "back": back}, wires=1)
    yield "two rollbacks", lambda: explore({"back": back, "back2": back2}, one, kills=1, lost=1)
    yield "a compaction and a rollback", lambda: explore({"merge": merge, "back": back}, one, kills=1, lost=more)
    yield "a release and a run", lambda: explore({"again": again, "B": b}, taken, kills=more)
    yield "a run and a clean", lambda: explore({"A": a, "clean": sweep}, taken, kills=1)
    yield "a compaction and a clean", lambda: explore({"merge": merge, "clean": sweep}, one, kills=1, lost=more)
    if is_large:
        yield "the same run twice and a clean", lambda: explore({"A": a, "C": same, "clean": sweep})
        yield "two runs and a clean", lambda: explore({"A": a, "B": b, "clean": sweep}, kills=1)
        yield "two runs, a rollback and a clean", lambda: explore({"A": a, "B": b, "back": back, "clean": sweep})


def main() -> None:
    for title, visit in scopes(Rules(), is_large=True):
        started = time.monotonic()
        found = visit()
        how = f"FAIL {found.problem}: {' | '.join(found.trace)}" if found.problem else "pass" if found.is_exhausted else "open"
        print(f"{how:<5} {title}: {found.num_states:,} states, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
