"""The evaluate job: annotations -> one split of them -> plan -> the score job's own pipeline -> join -> agreement and theory -> page."""

import io
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from artquant.annotations import read_annotations
from artquant.annotations.split import content_digests, split_of
from artquant.config import EvaluateSpec, ScoreSpec
from artquant.engines.open import resolve
from artquant.errors import RunFailed, UserError
from artquant.pipelines.measure import Compared, Terms, figures, misses, numbers, other_columns, theory_of
from artquant.pipelines.progress import ProgressCounter
from artquant.pipelines.score import EngineRecipe, check_capacity, execute, said_only, spec_yaml, thumbnail_of
from artquant.pipelines.theory import theory_terms
from artquant.report.evaluation_facts import EvaluationReport
from artquant.report.evaluation_page import render_evaluation
from artquant.results import layout
from artquant.results.plan import due, write_plan
from artquant.results.publish import drop_staging, read_footer, reconcile
from artquant.scale import Scale
from artquant.schema import CRITIQUE_PARTS, Reason, RejectClass, reject_schema, score_schema
from artquant.storage import Store, open_store

MIN_ARTWORKS = 2


@dataclass(frozen=True)
class Chosen:
    """What is to be evaluated, decided before anything is started."""

    annotations: pa.Table  # of the split, by artwork_id
    content: Mapping[str, str]  # artwork_id -> digest of its bytes
    vanished: list[str]  # annotated, but not below the images: nobody knows in which split they would be
    facts: dict[str, Any]  # what metrics.json says of the annotations


@dataclass(frozen=True)
class Evaluation:
    """The page's facts, and the document that is metrics.json."""

    report: EvaluationReport
    document: dict[str, Any]


def choose(spec: EvaluateSpec) -> Chosen:
    """Reads the annotations and takes the split. Raises UserError where there is nothing to evaluate."""
    given = spec.annotations
    assert given.uri and given.images
    annotations, source = read_annotations(given), open_store(given.images)
    table = annotations.table
    columns = other_columns(table)
    if lacking := [name for name in spec.subgroups or () if name not in columns]:
        raise UserError(f"The annotations have no column {lacking[0]!r} to look at apart: they have {', '.join(columns) or 'none'}.")
    ids = table.column("artwork_id").to_pylist()
    content = content_digests(source, ids)
    if not content:
        raise UserError(f"None of the {len(ids)} annotated artworks, such as {ids[0]}, is below {source.uri}: correct annotations.images.")
    fractions = given.validation_fraction, given.test_fraction
    members = [
        artwork_id
        for artwork_id in sorted(content, key=lambda artwork_id: (content[artwork_id], artwork_id))
        if spec.split == "all" or split_of(content[artwork_id], given.split_seed, *fractions) == spec.split
    ]
    if len(members) < MIN_ARTWORKS:
        raise UserError(
            f"The split {spec.split!r} holds {len(members)} of the {len(content)} annotated artworks: "
            "choose another split, or bring more annotations."
        )
    kept = members[: spec.limit]
    return Chosen(
        table.filter(pc.is_in(table.column("artwork_id"), pa.array(kept, pa.string()))),
        {artwork_id: content[artwork_id] for artwork_id in kept},
        [artwork_id for artwork_id in ids if artwork_id not in content],
        {
            "digest": annotations.digest,
            "num_rows": annotations.num_rows,
            "num_refused_rows": annotations.rejects.num_rows,
            "refused": annotations.reasons,
            "num_artworks": len(ids),
            "num_in_split": len(members),
        },
    )


def run_evaluation(spec: EvaluateSpec, recipe: EngineRecipe, chosen: Chosen) -> Evaluation:
    """Scores the chosen artworks and writes `evaluations/<run_id>/` below `spec.output`; nothing comes into `scores/`. Ray is running.

    Raises RunFailed where too many artworks get no score, and UserError where a store fails.
    """
    assert spec.annotations.images and spec.output
    check_capacity(spec.fetch, recipe.engine or resolve(spec.engine))
    started_at = datetime.now(UTC)
    source, store = open_store(spec.annotations.images), open_store(spec.output)
    key = partial(layout.evaluation_key, spec.run_id)
    store.put(key("spec.yaml"), spec_yaml(spec).encode())
    counter: Any = ray.remote(num_cpus=0)(ProgressCounter).remote()
    scores, rejects = predict(spec, recipe, chosen, source, store, counter)
    rejects = pa.concat_tables([rejects, vanished(spec, recipe, chosen, source, scores, rejects)])
    put_table(store, key("rejects.parquet"), rejects)
    num_planned = chosen.annotations.num_rows
    if num_planned - scores.num_rows > spec.max_failed_fraction * num_planned:
        raise RunFailed(
            f"{num_planned - scores.num_rows} of {num_planned} artworks got no score, more than "
            f"max_failed_fraction={spec.max_failed_fraction} allows: {store.uri_of(key('rejects.parquet'))} says why."
        )
    if scores.num_rows < MIN_ARTWORKS:
        raise RunFailed(
            f"{scores.num_rows} of {num_planned} artworks got a score, and it takes {MIN_ARTWORKS} to measure anything: "
            f"{store.uri_of(key('rejects.parquet'))} says why the others got none."
        )
    compared = Compared.join(scores, chosen.annotations, Scale(spec.annotations.level_values))
    terms = terms_of(spec, recipe, chosen, compared, counter) if spec.theory and recipe.open_network else {}
    evaluation = describe(spec, recipe, chosen, compared, terms, rejects, source, started_at)
    put_table(store, key("scores.parquet"), compared.table(evaluation.report.fitted, terms))
    store.put(key("metrics.json"), json.dumps(evaluation.document, indent=1, allow_nan=False, default=str).encode())
    with said_only("The evaluation is written, but its page is not"):
        store.put(key("report.html"), render_evaluation(evaluation.report).encode())
    return evaluation


def predict(
    spec: EvaluateSpec, recipe: EngineRecipe, chosen: Chosen, source: Store, store: Store, counter: Any
) -> tuple[pa.Table, pa.Table]:
    """(scores, rejects) of the chosen artworks, each in just one of them. Nothing is left in the staging area. Raises RunFailed."""
    counts: Counter = Counter()
    listed = (info for info in source.list() if info.key in chosen.content)
    plan_key = f"{layout.staging_prefix(spec.run_id)}/plan.parquet"
    try:
        plan = write_plan(store, plan_key, due(listed, source.uri_of, (), counts), counts)
        written = execute(score_spec(spec), recipe, plan, plan_key, counter)
        footers = [read_footer(store, part) for part in written.parts]
        reconcile(plan, footers)
        tables = {
            kind: [pq.read_table(store.open_input(part.key), schema=schema) for part in footers if part.kind == kind]
            for kind, schema in (("scores", score_schema()), ("rejects", reject_schema()))
        }
    finally:
        drop_staging(store, spec.run_id)
    return (
        pa.concat_tables([score_schema().empty_table(), *tables["scores"]]),
        pa.concat_tables([reject_schema().empty_table(), *tables["rejects"]]),
    )


def score_spec(spec: EvaluateSpec) -> ScoreSpec:
    """What the score job would be told to score the same artworks with the same model."""
    return ScoreSpec(
        input=spec.annotations.images,
        output=spec.output,
        model=spec.model,
        base=spec.base,
        run_id=spec.run_id,
        fetch=spec.fetch,
        engine=spec.engine,
        stall_minutes=spec.stall_minutes,
    )


def vanished(spec: EvaluateSpec, recipe: EngineRecipe, chosen: Chosen, source: Store, *seen: pa.Table) -> pa.Table:
    """Rejects for the annotated artworks that are not there, and for chosen ones that went before the pipeline listed them."""
    gone = set(chosen.content) - {artwork_id for table in seen for artwork_id in table.column("artwork_id").to_pylist()}
    same = {"etag": "", "reject_class": RejectClass.MISSING.value, "message": "annotated, but not in the listing", "attempts": 0}
    same |= {"model_id": recipe.identity.model_id, "reason": Reason.NEW.value, "run_id": spec.run_id, "rejected_at": datetime.now(UTC)}
    rows = [{"artwork_id": name, "uri": source.uri_of(name), **same} for name in [*chosen.vanished, *sorted(gone)]]
    return pa.Table.from_pylist(rows, reject_schema())


def terms_of(spec: EvaluateSpec, recipe: EngineRecipe, chosen: Chosen, compared: Compared, counter: Any) -> Terms:
    """The theory's terms of `theory_limit` artworks with all three texts, drawn by their content; of none where none has them."""
    assert spec.annotations.images
    texts = compared.people.select(["artwork_id", *CRITIQUE_PARTS]).to_pylist()
    rows = [row for row in texts if all((row[part] or "").strip() for part in CRITIQUE_PARTS)]
    rows.sort(key=lambda row: (chosen.content[row["artwork_id"]], row["artwork_id"]))
    rows = rows[: spec.theory_limit]
    assert recipe.open_network
    given = spec.annotations.images, spec.fetch, spec.engine, spec.stall_minutes
    return theory_terms(rows, recipe.open_network, *given, counter) if rows else {}


def describe(
    spec: EvaluateSpec,
    recipe: EngineRecipe,
    chosen: Chosen,
    compared: Compared,
    terms: Terms,
    rejects: pa.Table,
    source: Store,
    started_at: datetime,
) -> Evaluation:
    facts = figures(compared, spec)
    theory = theory_of(compared, terms, spec.bootstrap_rounds)
    shown = misses(compared, spec.num_misses, partial(thumbnail_of, source, spec.fetch))
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
        "run_id": spec.run_id,
        "identity": asdict(recipe.identity),
        "engine": recipe.description,
        "split": spec.split,
        "seconds": (report.finished_at - started_at).total_seconds(),
        "annotations": {**chosen.facts, "num_vanished": len(chosen.vanished)},
        "num_planned": chosen.annotations.num_rows,
        **numbers(compared, facts, rejects),
        "theory": theory[1] if theory else None,
        "misses": [{"artwork_id": miss.artwork_id, "human": miss.human, "predicted": miss.predicted} for miss in shown],
    }
    return Evaluation(report, document)


def put_table(store: Store, key: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    store.put(key, sink.getvalue())
