"""Every interleaving of the publish protocol in small scopes, and what goes wrong where one of its rules is taken out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from artquant.results import snapshots
from tests.results.publish_model import Asleep, Rules, alone, clean, compact, explore, release, rollback, run, scopes, violation

pytestmark = pytest.mark.slow


def test_no_interleaving_and_no_fault_breaks_a_promise() -> None:
    met: set[str] = set()
    for title, visit in scopes(Rules(), is_large=False):
        found = visit()
        assert not found.problem, f"{title}: {found.problem}: {' | '.join(found.trace)}"
        assert found.is_exhausted, title
        met |= found.met
    for step in ("create snap -> conflict", "create intent -> conflict", "create view -> conflict", "create work -> conflict"):
        assert any(step in one for one in met), f"{step} was never met"
    assert {"clean: delete ('work", "late create snap"} <= {one.split(" ->")[0] for one in met}


def forced_out(rules: Rules) -> str:
    """A compaction is taken back: files that went out come back."""
    one = alone({}, run("A", "1", rules))
    return explore({"merge": partial(compact, "merge", rules), "back": partial(rollback, "back", rules)}, one, kills=1).problem


def slept_over_commits(rules: Rules) -> str:
    """A run that sleeps over another's commit, its rollback and a clean."""
    asleep = Asleep(run("A", "1", rules)).run({}, until="put work/A1/attempt")
    other = Asleep(run("B", "2", rules)).run(asleep.objects)
    objects = alone(alone(other.objects, rollback("back", rules)), clean(rules))
    asleep.run(objects)
    return violation(asleep.objects, (*other.told, *asleep.told), is_at_rest=True)


def slept_over_clean(rules: Rules) -> str:
    """A run is taken over, and what it left is cleaned away, before it wakes up."""
    asleep = Asleep(run("A", "1", rules)).run({}, until="put work/A1/attempt")
    objects = alone(alone(asleep.objects, run("C", "1", rules)), clean(rules))
    return violation(asleep.run(objects).objects, tuple(asleep.told), is_at_rest=True)


def with_rollback(rules: Rules, **faults: int) -> str:
    return explore({"A": partial(run, "A", "1", rules), "back": partial(rollback, "back", rules)}, **faults).problem


def with_clean(rules: Rules) -> str:
    one = alone({}, run("A", "1", rules))
    return explore({"merge": partial(compact, "merge", rules), "clean": partial(clean, rules)}, one).problem


@pytest.mark.parametrize(
    ("rule", "visit", "problem"),
    [
        ("read_back", lambda rules: explore({"A": partial(run, "A", "1", rules)}, lost=1).problem, "was told 'lost', and that is not so"),
        ("tombstones", lambda rules: with_rollback(rules, wires=1), "at rest the view is not the last snapshot"),
        ("last_act", lambda rules: with_rollback(rules, kills=1), "at rest the view is not the last snapshot"),
        ("new_names", forced_out, "at rest the view is not the last snapshot"),
        ("keeps_commits", slept_over_commits, "two runs were told 'published' on one parent"),
        ("keeps_open_work", with_clean, "which is gone"),
        ("keeps_homes", slept_over_clean, "is not what was published"),
    ],
)
def test_each_rule_is_needed(rule: str, visit: Callable[[Rules], str], problem: str) -> None:
    assert problem in visit(Rules(**{rule: False}))


@pytest.mark.parametrize("visit", [slept_over_commits, slept_over_clean])
def test_who_wakes_up_late_can_undo_nothing(visit: Callable[[Rules], str]) -> None:
    assert visit(Rules()) == ""


def test_what_was_taken_back_and_published_again_is_there_under_new_names() -> None:
    rules = Rules()
    objects = alone({}, run("A", "1", rules))
    for program in (rollback("back", rules), release("again", rules)):
        objects = alone(objects, program)
    names = [file.view for file in objects["snap/3"].files]
    assert all(name.endswith(".s3.parquet") for name in names) and len(names) == 2
    assert explore({}, objects).problem == ""


def test_the_model_names_files_as_the_product_does() -> None:
    from tests.results import publish_model

    assert publish_model.with_files is snapshots.with_files
