"""`artquant explain OUTPUT ARTWORK [model=...]`: what the model looked at, how a score came about, and whether it comes again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from artquant.core.errors import Reject, UserError
from artquant.core.home import home
from artquant.core.schema import ARTWORK_ID, CRITIQUE_PARTS, DTYPE, ETAG, MODEL_DIGEST, PROBABILITY_COLUMNS, RUN_ID, SCORE, SCORED_AT, URI
from artquant.records.explanation import Explanation, Look, Second
from artquant.storage.store import Store, open_store

if TYPE_CHECKING:
    from artquant.engines.torch_engine import TorchEngine

USAGE = "say artquant explain OUTPUT ARTWORK, the artwork's id as in its row, and model=... where the weights have moved."


def run(arguments: list[str]) -> int:
    """Write the page of one artwork and say where it is. Raises UserError."""
    model = next((one.removeprefix("model=") for one in arguments if one.startswith("model=")), None)
    names = [one for one in arguments if not one.startswith("model=")]
    if len(names) != 2:
        raise UserError(f"One output and one artwork are needed: {USAGE}")
    if names[0] == "embedded":
        from artquant.cli.places import embedded_bucket

        with embedded_bucket() as (bucket, _):
            return show(explain(bucket.child("results"), names[1], model))
    return show(explain(open_store(names[0]), names[1], model))


def show(explanation: Explanation) -> int:
    from artquant.report.explanation_page import again, render_explanation

    name = hashlib.blake2b(explanation.artwork_id.encode(), digest_size=6).hexdigest()
    page = home() / "reports" / f"explain-{explanation.run_id}-{name}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_explanation(explanation), encoding="utf-8")
    row = explanation.row
    print(f"{explanation.artwork_id}: {row[SCORE]:.2f}, {row['level']}, by {row['model_id']} in run {row[RUN_ID]}")
    print(again(explanation.second))
    print(f"page  {page.absolute().as_uri()}")
    return 0


def explain(store: Store, artwork_id: str, model: str | None) -> Explanation:
    """Read what is published of the artwork, score it once more, and look where its model looked. Raises UserError."""
    row, history = read_rows(store, artwork_id)
    spec = settings_of_run(store, row[RUN_ID])
    import torch

    from artquant.engines.torch_engine import TorchEngine
    from artquant.images import square
    from artquant.report.overlay import SIDE, jpeg
    from artquant.scorer import open_scorer
    from artquant.storage.address import locate

    full_decode = bool((spec.get("fetch") or {}).get("full_decode"))
    scorer = open_scorer(
        model or spec.get("model") or "tiny",
        base=spec.get("base"),
        device="cuda" if torch.cuda.is_available() else "cpu",
        dtype=row[DTYPE].partition("+")[0],  # quantised weights are vLLM's: here they are whole
        full_decode=full_decode,
    )
    if not isinstance(scorer.engine, TorchEngine):
        raise UserError("What a model looked at is shown of ArtQuant's own network only, and this model is of another kind.")
    try:
        source, key = locate(row[URI])
        fetched = source.fetch(key)
        texts = {part: row[part] for part in CRITIQUE_PARTS if row[part]}
        (second,) = scorer.score([fetched.data], critique=bool(texts))
        if SCORE not in second:
            raise UserError(f"{artwork_id} cannot be scored any more: {second['message']}.")
        pixels = square.load(fetched.data, scorer.engine.image_size, fast=not full_decode).pixels
        picture = square.load(fetched.data, SIDE).pixels
    except Reject as reject:
        raise UserError(f"{artwork_id} cannot be read any more: {reject.message}.") from reject
    return Explanation(
        artwork_id=artwork_id,
        output_uri=store.uri,
        made_at=datetime.now(UTC),
        row=row,
        history=history,
        second=compared(row, second, fetched.etag),
        picture=jpeg(picture),
        looks=looks_of(scorer.engine, pixels, picture, texts),
    )


def looks_of(engine: TorchEngine, pixels: np.ndarray, picture: np.ndarray, texts: Mapping[str, str]) -> list[Look]:
    from artquant.engines.heat import heat_maps
    from artquant.report.overlay import overlay

    heats = heat_maps(engine, pixels, texts)
    return [
        Look(name, texts.get(name, ""), overlay(picture, heat.attention), overlay(picture, heat.gradient)) for name, heat in heats.items()
    ]


def compared(row: Mapping[str, Any], second: Mapping[str, Any], etag: str) -> Second:
    """Compare the published row with a second one."""
    texts = [(row[part], second[part]) for part in CRITIQUE_PARTS if row[part]]
    return Second(
        score=second[SCORE],
        difference=second[SCORE] - row[SCORE],
        largest=max(abs(second[name] - row[name]) for name in PROBABILITY_COLUMNS),
        has_same_texts=all(old == new for old, new in texts) if texts else None,
        is_same_content=row[ETAG] == etag if row[ETAG] and etag else None,
        model_digest=second[MODEL_DIGEST],
        dtype=second[DTYPE],
    )


def read_rows(store: Store, artwork_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the artwork's last row of scores, and what the ledger says of it, oldest first. Raises UserError where there is none."""
    import pyarrow.compute as pc

    from artquant.results.datafiles import read_table
    from artquant.results.readers import kind_of, open_snapshot, snapshot_of
    from artquant.results.rows import SCORES
    from artquant.results.snapshots import history

    snapshot = snapshot_of(store)
    if kind_of(snapshot) is not SCORES:
        raise UserError(f"{store.uri} holds descriptions and no scores: name the output of a score job.")
    is_it = pc.field(ARTWORK_ID) == artwork_id
    rows = open_snapshot(store.uri).to_table(filter=is_it).sort_by(SCORED_AT).to_pylist()
    runs = {one.number: {"run_id": one.run_id, "created_at": one.created_at[:16].replace("T", " ")} for one in history(store)}
    told = [one for key in snapshot.ledger for one in read_table(store, key, filters=is_it).to_pylist()]
    if not rows:
        why = f": its last outcome is {told[-1]['status']}" if told else ""
        raise UserError(f"{store.uri} has no score of {artwork_id}{why}; {USAGE}")
    return rows[-1], [one | runs.get(one["snapshot"], {"run_id": "", "created_at": ""}) for one in told]


def settings_of_run(store: Store, run_id: str) -> dict[str, Any]:
    """Return the settings that the run left, {} where they are gone."""
    import yaml

    from artquant.results import layout
    from artquant.storage.store import FetchError

    try:
        found = yaml.safe_load(store.get(layout.run_key(run_id, "spec.yaml")))
    except FetchError:
        return {}
    return found if isinstance(found, dict) else {}
