"""The evaluate job: annotations -> one split of them -> plan -> the score job's own pipeline -> join -> agreement and theory -> page."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artquant.agreement.comparison import Compared, Terms, metrics_document, other_columns, report_fields, theory_of, worst_predictions
from artquant.agreement.records import EvaluationReport
from artquant.annotations import read_annotations
from artquant.annotations.seen import Seen
from artquant.annotations.split import assign_splits
from artquant.config import LossSpec, ResolvedEvaluateSpec, spec_yaml
from artquant.core.errors import RunFailed, UserError
from artquant.core.scale import Scale
from artquant.core.schema import (
    ARTWORK_ID,
    ATTEMPTS,
    CRITIQUE_PARTS,
    ETAG,
    MESSAGE,
    MODEL_ID,
    REASON,
    REJECT_CLASS,
    REJECTED_AT,
    RUN_ID,
    SCORE,
    URI,
    VOTES,
    Reason,
    RejectClass,
    reject_schema,
)
from artquant.descriptions.measures import masked, word_features
from artquant.engines.recipe import EngineRecipe
from artquant.pipelines.run import ScoringRun, check_capacity, predict, warn_only
from artquant.pipelines.theory import TheorySettings, theory_terms
from artquant.progress.stages import Counter as ProgressCounter
from artquant.progress.stages import start_counter
from artquant.report.evaluation_page import render_evaluation
from artquant.results import layout
from artquant.results.thumbnails import thumbnail_of
from artquant.storage.store import Store, open_store
from artquant.training.lessons import soft_labels

MIN_ARTWORKS = 2


@dataclass(frozen=True)
class Evaluation:
    """The page's facts, and the document that is metrics.json."""

    report: EvaluationReport
    document: dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """What is to be evaluated, decided before anything is started."""

    annotations: pa.Table  # of the split, by artwork_id
    content: Mapping[str, str]  # artwork_id -> digest of its bytes
    vanished: list[str]  # annotated, but not below the images: nobody knows in which split they would be
    facts: dict[str, Any]  # what metrics.json says of the annotations


def choose(spec: ResolvedEvaluateSpec, seen: Seen | None = None) -> Chosen:
    """Read the annotations and take the split, without what the model has `seen` unless that split is asked for.

    Raises UserError where there is nothing to evaluate.
    """
    annotations = read_annotations(spec.annotations)
    table = annotations.table
    columns = other_columns(table)
    if unknown := [name for name in spec.subgroups or () if name not in columns]:
        raise UserError(f"The annotations have no column {unknown[0]!r} to look at apart: they have {', '.join(columns) or 'none'}.")
    ids = table.column(ARTWORK_ID).to_pylist()
    found = assign_splits(spec.annotations, table)
    content, split = found.content, found.split
    members = [
        artwork_id
        for artwork_id in sorted(content, key=lambda artwork_id: (content[artwork_id], artwork_id))
        if spec.split in ("all", split[artwork_id])
    ]
    known = (seen or Seen()).among({name: content[name] for name in members}, found.signatures)
    if spec.split in ("all", "test"):
        if known and len(members) - len(known) < MIN_ARTWORKS:
            raise UserError(
                f"The model was trained or validated on {len(known)} of the {len(members)} artworks of the split {spec.split!r}: "
                "nothing is left to judge it on, give annotations of other artworks."
            )
        members = [name for name in members if name not in known]
    if len(members) < MIN_ARTWORKS:
        raise UserError(
            f"The split {spec.split!r} holds {len(members)} of the {len(content)} annotated artworks: "
            "choose another split, or bring more annotations."
        )
    members_kept = members[: spec.limit]
    return Chosen(
        table.filter(pc.is_in(table.column(ARTWORK_ID), pa.array(members_kept, pa.string()))),
        {artwork_id: content[artwork_id] for artwork_id in members_kept},
        [artwork_id for artwork_id in ids if artwork_id not in content],
        {
            "digest": annotations.digest,
            "num_rows": annotations.num_rows,
            "num_refused_rows": annotations.rejects.num_rows,
            "refused": annotations.reasons,
            "num_artworks": len(ids),
            "num_in_split": len(members),
            "num_seen": len(known),
            "split_by": found.source,
            "num_linked": found.num_left_out,
        },
    )


def run_evaluation(spec: ResolvedEvaluateSpec, recipe: EngineRecipe, chosen: Chosen) -> Evaluation:
    """Scores the chosen artworks and writes `evaluations/<run_id>/` below `spec.output`; nothing comes into `scores/`. Ray is running.

    Raises RunFailed where too many artworks get no score, and UserError where a store fails.
    """
    check_capacity(spec.fetch, recipe.engine)
    started_at = datetime.now(UTC)
    source, store = open_store(spec.annotations.images), open_store(spec.output)
    key = partial(layout.evaluation_key, spec.run_id)
    store.put(key("spec.yaml"), spec_yaml(spec).encode())
    counter = start_counter()
    run = ScoringRun(
        run_id=spec.run_id, input=spec.annotations.images, output=spec.output, fetch=spec.fetch, stall_minutes=spec.stall_minutes
    )
    scores, rejects = predict(run, recipe, chosen.content, store, counter)
    rejects = pa.concat_tables([rejects, vanished(spec, recipe, chosen, source, scores, rejects)])
    put_table(store, key("rejects.parquet"), rejects)
    num_planned = chosen.annotations.num_rows
    if num_planned - scores.num_rows > spec.max_rejected_fraction * num_planned:
        raise RunFailed(
            f"{num_planned - scores.num_rows} of {num_planned} artworks got no score, more than "
            f"max_rejected_fraction={spec.max_rejected_fraction} allows: {store.uri_of(key('rejects.parquet'))} says why."
        )
    if scores.num_rows < MIN_ARTWORKS:
        raise RunFailed(
            f"{scores.num_rows} of {num_planned} artworks got a score, and it takes {MIN_ARTWORKS} to measure anything: "
            f"{store.uri_of(key('rejects.parquet'))} says why the others got none."
        )
    compared = Compared.join(scores, chosen.annotations, Scale(spec.annotations.level_values))
    terms = terms_of(spec, recipe, chosen, compared, counter) if spec.theory else {}
    evaluation = build_report(spec, recipe, chosen, compared, terms=terms, rejects=rejects, source=source, started_at=started_at)
    put_table(store, key("scores.parquet"), compared.table(evaluation.report.fitted, terms))
    store.put(key("metrics.json"), json.dumps(evaluation.document, indent=1, allow_nan=False, default=str).encode())
    with warn_only("The evaluation is written, but its page is not"):
        store.put(key("report.html"), render_evaluation(evaluation.report).encode())
    return evaluation


def vanished(spec: ResolvedEvaluateSpec, recipe: EngineRecipe, chosen: Chosen, source: Store, *seen: pa.Table) -> pa.Table:
    """Rejects for the annotated artworks that are not there, and for chosen ones that went before the pipeline listed them."""
    gone = set(chosen.content) - {artwork_id for table in seen for artwork_id in table.column(ARTWORK_ID).to_pylist()}
    same = {ETAG: "", REJECT_CLASS: RejectClass.MISSING.value, MESSAGE: "annotated, but not in the listing", ATTEMPTS: 0}
    same |= {MODEL_ID: recipe.identity.model_id, REASON: Reason.NEW.value, RUN_ID: spec.run_id, REJECTED_AT: datetime.now(UTC)}
    rows = [{ARTWORK_ID: name, URI: source.uri_of(name), **same} for name in [*chosen.vanished, *sorted(gone)]]
    return pa.Table.from_pylist(rows, reject_schema())


def terms_of(spec: ResolvedEvaluateSpec, recipe: EngineRecipe, chosen: Chosen, compared: Compared, counter: ProgressCounter) -> Terms:
    """Return the theory's terms of `theory_limit` artworks with all three texts, drawn by their content; of none where none has them."""
    texts = compared.people.select([ARTWORK_ID, *CRITIQUE_PARTS]).to_pylist()
    rows = [row for row in texts if all((row[part] or "").strip() for part in CRITIQUE_PARTS)]
    rows.sort(key=lambda row: (chosen.content[row[ARTWORK_ID]], row[ARTWORK_ID]))
    rows = rows[: spec.theory_limit]
    if not (rows and recipe.open_network):
        return {}
    settings = TheorySettings(
        open_engine=recipe.open_network,
        images=spec.annotations.images,
        fetch=spec.fetch,
        stall_seconds=spec.stall_minutes * 60,
        counter=counter,
    )
    return theory_terms(rows, settings, recipe.engine)


def build_report(
    spec: ResolvedEvaluateSpec,
    recipe: EngineRecipe,
    chosen: Chosen,
    compared: Compared,
    *,
    terms: Terms,
    rejects: pa.Table,
    source: Store,
    started_at: datetime,
) -> Evaluation:
    facts = report_fields(compared, spec)
    theory = theory_of(compared, terms, spec.bootstrap_rounds, _labels(compared), _features) if terms else None
    shown = worst_predictions(compared, spec.num_misses, partial(thumbnail_of, source, fetch=spec.fetch))
    report = EvaluationReport(
        run_id=spec.run_id,
        model_id=recipe.identity.model_id,
        model_digest=recipe.identity.model_digest,
        engine=recipe.description,
        split=spec.split,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        num_artworks=len(compared.ids),
        num_rejected=rejects.num_rows,
        theory=theory[0] if theory else None,
        misses=shown,
        config=spec.model_dump(mode="json"),
        **facts,
    )
    document = {
        RUN_ID: spec.run_id,
        "identity": asdict(recipe.identity),
        "engine": recipe.description,
        "split": spec.split,
        "seconds": report.seconds,
        "annotations": {**chosen.facts, "num_vanished": len(chosen.vanished)},
        "num_planned": chosen.annotations.num_rows,
        **metrics_document(compared, facts, rejects),
        "theory": theory[1] if theory else None,
        "misses": [{ARTWORK_ID: miss.artwork_id, "human": miss.human, "predicted": miss.predicted} for miss in shown],
    }
    return Evaluation(report, document)


def _labels(compared: Compared) -> np.ndarray:
    """Return what people said, (N, 5): as training reads it."""
    clamped = np.clip(compared.human, compared.scale.low, compared.scale.high).tolist()
    rows = compared.people.select([SCORE, "sigma", VOTES]).to_pylist()
    return soft_labels([row | {SCORE: score} for row, score in zip(rows, clamped, strict=True)], compared.scale, LossSpec())


def _features(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return which words and pairs of words texts have, with and without those that name a level."""
    return word_features(texts), word_features([masked(text) for text in texts])


def put_table(store: Store, key: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    store.put(key, sink.getvalue())
