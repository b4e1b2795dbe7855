"""`artquant plan describe ...`: what is due, and what it would take, before anything is asked."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from artquant.cli.describe import players_of, read_spec

_SAMPLED = 50  # artworks whose questions are written to price them


def print_describe_plan(overrides: list[str], meanings: Mapping[str, str]) -> int:
    """Print the plan; `meanings`: of the reasons for which artworks are due, and of what becomes of the others. Raises UserError."""
    spec = read_spec(overrides).model_copy(update={"allow_external": True})  # a plan sends nothing
    from rich.console import Console

    from artquant.cli.places import describe_places
    from artquant.cli.summary import plain_table
    from artquant.core.format import count_of
    from artquant.core.schema import GIVEN
    from artquant.descriptions.collection import read_collection
    from artquant.descriptions.pricing import price_of
    from artquant.descriptions.purse import read_spent
    from artquant.pipelines.describe import asked_of
    from artquant.results.nights import draft, opened
    from artquant.results.trust import as_trusted
    from artquant.storage.store import open_store

    with describe_places(spec) as (placed, _), tempfile.TemporaryDirectory(prefix="artquant-plan-") as folder:
        players, collection = players_of(placed), read_collection(placed)
        store = as_trusted(open_store(placed.output))
        parent = opened(store)
        plan = draft(store, parent, asked_of(placed, players, collection), Path(folder)).summary
        statistics = collection.statistics if placed.statistics else None
        givens = collection.rows.column(GIVEN).to_pylist()[:_SAMPLED]
        price = price_of(placed, players.templates, givens, statistics, collection.scale)
        spent = read_spent(store)
    console, table = Console(highlight=False), plain_table("left", "right", "left")
    console.print(
        f"\n[bold]{count_of(plan.num_planned, 'artwork')} to describe[/bold], by {players.generator.name} and {players.judge.name}."
    )
    for name, number in (*plan.reasons.items(), *plan.counts.items()):
        table.add_row(name, f"{number:,}", meanings.get(name, "").replace("scored", "described"))
    for name, rounds, each in (("one round each", 1, price.round), ("all rounds", placed.max_rounds, price.round)):
        tokens, money = (rounds * plan.num_planned * value for value in each)
        table.add_row(name, f"{tokens:,.0f} tokens", f"about {money:,.2f}, with answers of half their tokens")
    table.add_row("the judge's exam", f"{price.exam[0]:,.0f} tokens", f"about {price.exam[1]:,.2f}, once for each judge")
    table.add_row("single claims", f"{price.claims[0]:,.0f} tokens", f"about {price.claims[1]:,.2f}, for the page; none with claims=0")
    table.add_row("reserved at once", f"{price.most[0]:,.0f} tokens", "for one round of an artwork, at the most")
    table.add_row("spent until now", f"{spent.tokens:,} tokens", f"{spent.money:,.2f}")
    if any(player.is_external for player in (players.generator, players.judge)):
        table.add_row("leaves the house", f"{placed.picture_size} pixels", "pictures without metadata, comments: needs allow_external=true")
    console.print(table)
    print(f"\nresults  {placed.output}")
    return 0
