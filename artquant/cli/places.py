"""Where a job reads and writes, and which model is meant; the embedded store if none is named."""

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from artquant.cli.sample import fill_annotations, fill_sample
from artquant.cli.terminal import say
from artquant.config import (
    AnnotationSpec,
    DescribeSpec,
    EvaluateSpec,
    PlacedTrainSpec,
    ResolvedAnnotationSpec,
    ResolvedDescribeSpec,
    ResolvedEvaluateSpec,
    ResolvedScoreSpec,
    ScoreSpec,
    TrainSpec,
    resolved,
)
from artquant.core.addresses import is_object_store
from artquant.core.errors import UserError
from artquant.core.home import home
from artquant.core.scale import Scale
from artquant.registry import Registry
from artquant.results import layout
from artquant.results.catalog import Source, check_not_empty
from artquant.results.plan import refuse_nested, refuse_overlap
from artquant.results.source import check_carry
from artquant.results.trust import remember_embedded
from artquant.storage.embedded import BUCKET, EmbeddedStore
from artquant.storage.store import FetchError, Store, open_store

Reopen = str | None
"""The command that opens the store again where it is the embedded one."""


@contextmanager
def score_places(spec: ScoreSpec) -> Iterator[tuple[ResolvedScoreSpec, Reopen]]:
    """Yield the spec with its input, output and model filled in. Raises UserError."""
    check_carry(spec.carry, bool(spec.manifest))
    collections = {"input": spec.inputs, "manifest": (spec.manifest,), "inventory": (spec.inventory,)}
    given = {name: tuple(uri for uri in uris if uri) for name, uris in collections.items() if any(uris)}
    if given and spec.output:
        yield _with_score_places(spec, given, spec.output, spec.registry or f"{spec.output.rstrip('/')}/models"), None
        return
    for name, uris in given.items():
        for uri in uris:
            refuse_other_stores({name: uri}, "input and output")
    refuse_other_stores({name: getattr(spec, name) for name in ("output", "model", "base", "registry")}, "input and output")
    for place in (*(uri for uris in given.values() for uri in uris), spec.output):
        if place and not is_object_store(place):
            open_store(place)  # an address of another kind is refused before anything is started
    with embedded_bucket() as (bucket, reopen):
        if not given:
            fill_sample(bucket)
        given, output = given or {"input": (bucket.uri_of("sample"),)}, spec.output or _results(bucket)
        yield _with_score_places(spec, given, output, spec.registry or bucket.uri_of("models")), reopen


def _with_score_places(spec: ScoreSpec, given: Mapping[str, tuple[str, ...]], output: str, registry: str) -> ResolvedScoreSpec:
    """Return the spec with whole addresses. `model=current` becomes the address of the model that is current now, which never changes: a
    promotion during the run touches no part of it, and the run's spec says which model it was."""
    output = open_store(output).uri
    places = {name: tuple(open_store(uri).uri for uri in uris) for name, uris in given.items()}
    check_score_places(spec, places.get("input", ()), output)
    whole = {name: uris if len(uris) > 1 else uris[0] for name, uris in places.items()}
    if spec.model != "current":
        return resolved(ResolvedScoreSpec, spec, **whole, output=output)
    registry = open_store(registry).uri
    return resolved(ResolvedScoreSpec, spec, **whole, output=output, registry=registry, model=meant_model(spec.model, registry))


def meant_model(model: str | None, registry: str, is_optional: bool = False) -> str | None:
    """Resolve `current` to the address of the current model, and return any other model as it is.

    With `is_optional`, no model means the current one too, if there is one. Raises UserError for `current` if no model is current.
    """
    models = Registry(open_store(registry))
    if model == "current" or (model is None and is_optional and models.current()):
        return models.current_uri()
    return model


def check_score_places(spec: ScoreSpec, inputs: tuple[str, ...], output_uri: str) -> None:
    """Raise UserError where an input cannot be read, lies in another or holds results, or the output cannot be written or has such a run
    already."""
    store = open_store(output_uri)
    for uri in inputs:
        open_store(uri).check_readable()
        refuse_overlap(uri, output_uri)
        check_not_empty(Source("input", uri, spec.exclude))
    refuse_nested(inputs)
    check_output(store, layout.run_key(spec.run_id, "manifest.json"), f"a run {spec.run_id}")


def check_output(store: Store, key: str, what: str) -> None:
    """Raise UserError if the output already has `key`, and with it `what`, or cannot be written."""
    try:
        is_taken = store.exists(key)
    except FetchError as error:
        raise UserError(f"Cannot read {store.uri}: {error.message}; check the address and what the credentials allow.") from error
    if is_taken:
        raise UserError(f"{store.uri} has {what} already: choose another run_id.")
    store.check_writable()


@contextmanager
def train_places(spec: TrainSpec) -> Iterator[tuple[PlacedTrainSpec, Reopen]]:
    """Yield the spec with its annotations, output, registry and model filled in. Raises UserError."""
    with _annotated_places(spec) as ((annotations, output, registry), reopen):
        model = meant_model(spec.model, registry)
        yield resolved(PlacedTrainSpec, spec, annotations=annotations, output=output, registry=registry, model=model), reopen


@contextmanager
def evaluate_places(spec: EvaluateSpec) -> Iterator[tuple[ResolvedEvaluateSpec, Reopen]]:
    """Do as :func:`train_places`, except that a missing model means the registry's current one, if there is one. Raises UserError."""
    with _annotated_places(spec) as ((annotations, output, registry), reopen):
        model = meant_model(spec.model, registry, is_optional=True)
        open_store(annotations.images).check_readable()
        check_output(open_store(output), layout.evaluation_key(spec.run_id, "spec.yaml"), f"an evaluation {spec.run_id}")
        yield resolved(ResolvedEvaluateSpec, spec, annotations=annotations, output=output, registry=registry, model=model), reopen


@contextmanager
def describe_places(spec: DescribeSpec) -> Iterator[tuple[ResolvedDescribeSpec, Reopen]]:
    """Yield the spec with its collection and output filled in. Raises UserError."""
    if spec.scores:
        if not spec.output:
            raise UserError("scores is given and output is not: give both.")
        places = {"scores": open_store(spec.scores).uri, "output": open_store(spec.output).uri}
        yield resolved(ResolvedDescribeSpec, spec, **places), None
        return
    with _annotated_places(spec) as ((annotations, output, _), reopen):
        open_store(annotations.images).check_readable()
        open_store(output).check_writable()
        yield resolved(ResolvedDescribeSpec, spec, annotations=annotations, output=output), reopen


@contextmanager
def _annotated_places(spec: TrainSpec | EvaluateSpec | DescribeSpec) -> Iterator[tuple[tuple[ResolvedAnnotationSpec, str, str], Reopen]]:
    """Yield the annotations, the output and the registry by their addresses."""
    ratings, output, registry = spec.annotations, spec.output, getattr(spec, "registry", None)
    if ratings.uri and output and not ratings.images:
        from artquant.annotations.embedded import unpack_pictures

        local = ratings.model_copy(update={"uri": _downloaded(ratings.uri)})
        ratings = local.model_copy(update={"images": unpack_pictures(local, open_store(output)).uri})
    elif ratings.uri:
        ratings = ratings.model_copy(update={"uri": _downloaded(ratings.uri)})
    if ratings.uri and ratings.images and output:
        yield _whole(ratings, ratings.uri, ratings.images, output, registry or f"{output.rstrip('/')}/models"), None
        return
    addresses = {"annotations.uri": ratings.uri, "annotations.images": ratings.images}
    addresses |= {name: getattr(spec, name, None) for name in ("output", "model", "base", "registry")}
    refuse_other_stores(addresses, "annotations.uri, annotations.images and output")
    for uri in (ratings.images, output):
        if uri and not is_object_store(uri):
            open_store(uri)  # an address of another kind is refused before anything is started
    with embedded_bucket() as (bucket, reopen):
        uri, images = (ratings.uri, ratings.images) if ratings.uri and ratings.images else fill_annotations(bucket, spec.sample_size)
        yield _whole(ratings, uri, images, output or _results(bucket), registry or bucket.uri_of("models")), reopen


def _downloaded(uri: str) -> str:
    """Bring a data set of the Hugging Face hub, hf://owner/name, to this machine; return its folder, any other address as it is."""
    if not uri.startswith("hf://"):
        return uri
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = uri.removeprefix("hf://").removeprefix("datasets/").strip("/").partition("@")
    try:
        return str(snapshot_download(name, repo_type="dataset", revision=revision or None))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(f"The hub did not give a data set {name!r}: check its name, the connection and what HF_TOKEN allows.") from error


def _whole(ratings: AnnotationSpec, uri: str, images: str, output: str, registry: str) -> tuple[ResolvedAnnotationSpec, str, str]:
    annotations = resolved(ResolvedAnnotationSpec, ratings, uri=uri, images=open_store(images).uri)
    return annotations, open_store(output).uri, open_store(registry).uri


def check_annotations(spec: AnnotationSpec, output: str | None) -> None:
    """Raise UserError if only some of the ratings, their pictures and the output are given, or the levels' values are not a scale."""
    addresses = {"annotations.uri": spec.uri, "annotations.images": spec.images, "output": output}
    missing = [name for name, address in addresses.items() if not address]
    if missing == ["annotations.images"]:  # the annotations may hold the pictures: known when they are read
        missing = []
    if missing and len(missing) < len(addresses):
        named = " and ".join(name for name in addresses if name not in missing)
        verb = "is" if len(missing) == 1 else "are"
        raise UserError(f"{' and '.join(missing)} {verb} needed too, beside {named}: give all three, or none for the sample annotations.")
    try:
        Scale(spec.level_values)
    except ValueError as error:
        raise UserError(f"annotations.level_values cannot be used: {error}.") from error


def refuse_other_stores(addresses: Mapping[str, str | None], needed: str) -> None:
    """Raise UserError if an address lies in another store than the embedded one, which is about to be started."""
    for name, uri in addresses.items():
        if uri and is_object_store(uri) and not f"{uri}/".startswith(f"s3://{BUCKET}/"):
            raise UserError(f"{name}={uri} lies in another store than the embedded one: give {needed}, so that none is started.")


@contextmanager
def embedded_bucket() -> Iterator[tuple[Store, str]]:
    """Run an S3 server for the block with the environment set to find it; yield its bucket and the command that starts it again."""
    folder = home() / "store"
    with EmbeddedStore(folder) as server, _environment(server.environment):
        say(f"Started an S3 store on 127.0.0.1:{server.port}, data in {folder}")
        yield open_store(f"s3://{BUCKET}"), f"{shlex.quote(sys.executable)} -m artquant.storage.embedded {shlex.quote(str(folder))}"


def _results(bucket: Store) -> str:
    """Return the address of the embedded store's results, which need not be tried like a store that we do not know."""
    results = bucket.child("results")
    remember_embedded(results)
    return results.uri


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these values in the process's environment for the block, and remove those that would belong to another store."""
    before = dict(os.environ)
    os.environ.update(values)
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        os.environ.pop(name, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
