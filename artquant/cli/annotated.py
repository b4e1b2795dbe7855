"""What the jobs over annotations share: where ratings, pictures, results and models are, and the embedded store where that is not said."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from artquant.config import AnnotationSpec, EvaluateSpec, TrainSpec
from artquant.errors import UserError

SpecT = TypeVar("SpecT", TrainSpec, EvaluateSpec)


def check_annotations(given: AnnotationSpec, output: str | None) -> None:
    """Raises UserError where only some of the ratings, their pictures and the output are given, or the levels' values are no scale."""
    from artquant.scale import Scale

    addresses = {"annotations.uri": given.uri, "annotations.images": given.images, "output": output}
    lacking = [name for name, address in addresses.items() if not address]
    if lacking and len(lacking) < len(addresses):
        named = " and ".join(name for name in addresses if name not in lacking)
        verb = "is" if len(lacking) == 1 else "are"
        raise UserError(f"{' and '.join(lacking)} {verb} needed too, beside {named}: give all three, or none for the sample annotations.")
    try:
        Scale(given.level_values)
    except ValueError as error:
        raise UserError(f"annotations.level_values cannot be used: {error}.") from error


@contextmanager
def places(spec: SpecT) -> Iterator[tuple[SpecT, str | None]]:
    """The spec with annotations, an output and a registry, and the command that opens the store again where it is ours."""
    from artquant.cli.home import embedded_bucket, refuse_other_stores
    from artquant.storage import open_store

    given = spec.annotations
    if given.uri and spec.output:
        yield with_places(spec, spec.output, spec.registry or f"{spec.output.rstrip('/')}/models"), None
        return
    addresses = {"annotations.uri": given.uri, "annotations.images": given.images}
    addresses |= {name: getattr(spec, name) for name in ("output", "model", "base", "registry")}
    refuse_other_stores(addresses, "annotations.uri, annotations.images and output")
    for uri in (given.images, spec.output):
        if uri and not uri.startswith("s3://"):
            open_store(uri)  # an address of another kind is refused before anything is started
    with embedded_bucket() as (bucket, reopen):
        if not given.uri:
            from artquant.cli.sample import fill_annotations

            spec = spec.model_copy(update={"annotations": fill_annotations(bucket, given, spec.sample_size)})
        yield with_places(spec, spec.output or bucket.uri_of("results"), spec.registry or bucket.uri_of("models")), reopen


def with_places(spec: SpecT, output: str, registry: str) -> SpecT:
    """Whole addresses: a worker may stand in another folder. Raises UserError for `model=current` where none is."""
    from artquant.registry import Registry
    from artquant.storage import open_store

    model = Registry(open_store(registry)).current_uri() if spec.model == "current" else spec.model
    annotations = spec.annotations.model_copy(update={"images": open_store(str(spec.annotations.images)).uri})
    update = {"annotations": annotations, "output": open_store(output).uri, "registry": open_store(registry).uri, "model": model}
    return spec.model_copy(update=update)
