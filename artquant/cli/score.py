"""The score job's thin entry point: spec, a home to run in, the pipeline, a table."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from artquant.cli.ends import whole_cause
from artquant.cli.remote import check_addresses
from artquant.cli.settings import load_job_spec
from artquant.config import ScoreSpec
from artquant.errors import RunFailed, UserError

TINY = Path(__file__).resolve().parent.parent / "checkpoints" / "artquant-tiny"


def main(overrides: list[str]) -> int:
    spec = read_spec(overrides)
    from artquant.cli.home import refuse_other_stores, running_ray, say, stores

    if not (spec.input and spec.output):
        refuse_other_stores({"registry": spec.registry}, "input and output")
    beside = ThreadPoolExecutor(1)
    beside.submit(import_module, "artquant.pipelines.score")  # and with it Ray Data, while the store starts and is asked
    with beside, stores(spec) as (spec, reopen):
        check_places(spec)
        spec = with_current_model(spec, is_embedded=reopen is not None)
        checkpoint = open_checkpoint(spec.model or str(TINY), spec.base)
        recipe = beside.submit(make_recipe, spec, checkpoint)  # Ray's start is mostly waiting; torch and transformers are slow to import
        if os.environ.get("RAY_ADDRESS"):
            recipe.result()
        from artquant.cli.summary import keep_report, print_summary
        from artquant.pipelines.score import run_score

        assert spec.output
        try:
            with running_ray():
                report = run_score(spec, recipe.result())
        except RunFailed:
            say(f"report: {keep_report(spec.output, spec.run_id)}")
            raise
        except KeyboardInterrupt as stop:
            if is_published(spec):
                stop.args = (f"Stopped, after the run {spec.run_id} was published: its rows are current.",)
            raise
        except UserError:
            raise
        except Exception as error:
            if not is_published(spec):
                raise
            say(f"artquant: The run {spec.run_id} is published, and its rows are current; what came after failed: {whole_cause(error)}.")
            return 0
        print_summary(report, keep_report(spec.output, spec.run_id), reopen)
    return 0


def read_spec(overrides: list[str]) -> ScoreSpec:
    """Raises UserError, for half of the places too: the sample is never run by accident, nor are results put where nobody looks."""
    spec = load_job_spec(ScoreSpec, overrides)
    if bool(spec.input) != bool(spec.output):
        given, lacking = ("input", "output") if spec.input else ("output", "input")
        raise UserError(f"{given} is given and {lacking} is not: give both, or neither for the sample collection.")
    return spec


def is_published(spec: ScoreSpec) -> bool:
    """Whether CURRENT names this run; False where the store does not say."""
    from artquant.results import layout
    from artquant.storage import FetchError, open_store

    try:
        return json.loads(open_store(str(spec.output)).get(layout.CURRENT))["run_id"] == spec.run_id
    except (FetchError, ValueError, KeyError):
        return False


def check_remote(overrides: list[str]) -> None:
    """Refuses, before anything is sent, what a cluster elsewhere could not run. Raises UserError."""
    spec = load_job_spec(ScoreSpec, overrides)
    check_addresses({"input": spec.input, "output": spec.output})


def check_places(spec: ScoreSpec) -> None:
    """Raises UserError where the input cannot be read or holds no artwork, or the output cannot be written or has such a run already."""
    from artquant.results import layout
    from artquant.results.plan import due, refuse_overlap
    from artquant.storage import FetchError, open_store

    assert spec.input and spec.output
    source, store = open_store(spec.input), open_store(spec.output)
    source.check_readable()
    refuse_overlap(spec.input, spec.output)
    next(due(source.list(), source.uri_of, spec.exclude, Counter()))
    try:
        is_taken = store.exists(layout.run_key(spec.run_id, "plan.parquet"))
    except FetchError as error:
        raise UserError(f"Cannot read {store.uri}: {error.message}; check the address and what the credentials allow.") from error
    if is_taken:
        raise UserError(f"{store.uri} has a run {spec.run_id} already: choose another run_id.")
    store.check_writable()


def with_current_model(spec: ScoreSpec, is_embedded: bool) -> ScoreSpec:
    """`model=current` as the address of the model that is current now, which never changes: a promotion during the run touches no part
    of it, and the run's spec says which model it was. Every other model stays as it is. Raises UserError where none is current."""
    if spec.model != "current":
        return spec
    from artquant.embedded_store import BUCKET
    from artquant.registry import Registry
    from artquant.storage import open_store

    embedded = f"s3://{BUCKET}/models" if is_embedded else None
    store = open_store(spec.registry or embedded or f"{str(spec.output).rstrip('/')}/models")
    return spec.model_copy(update={"model": Registry(store).current_uri(), "registry": store.uri})


def make_recipe(spec: ScoreSpec, checkpoint=None):
    """How workers get the engine of a checkpoint, by default the spec's. Raises UserError where there is none, or it cannot be used."""
    checkpoint = checkpoint or open_checkpoint(spec.model or str(TINY), spec.base)
    check_usable_once(checkpoint)
    from artquant.engines.open import describe, open_engine, precision, resolve
    from artquant.pipelines.score import EngineRecipe

    engine = resolve(spec.engine, is_own=checkpoint.is_own)
    return EngineRecipe(
        open=partial(open_engine, engine, checkpoint),
        identity=checkpoint.identity(precision(engine), spec.fetch.full_decode),
        image_size=checkpoint.image_size,
        level_values=checkpoint.prompts.level_values,
        description=describe(engine),
        engine=engine,
        open_network=partial(open_engine, engine.model_copy(update={"name": "torch"}), checkpoint) if checkpoint.is_own else None,
    )


def usable_checkpoint(location: str, base: str | None):
    """The checkpoint, opened and looked at. Raises UserError."""
    checkpoint = open_checkpoint(location, base)
    check_usable(checkpoint)
    return checkpoint


def open_checkpoint(location: str, base: str | None):
    """Takes milliseconds and the time to read the files. Raises UserError where there is no such checkpoint."""
    from artquant.model.checkpoint import Checkpoint

    with refusing(location):
        return Checkpoint.open(location, base)


def check_usable_once(checkpoint) -> None:
    """:func:`check_usable`, unless the same files were found usable before by the same code: the look imports torch and transformers."""
    from artquant.cli.home import HOME

    seen = HOME / "usable-models" / f"{checkpoint.model_digest}-{code_digest()}"
    if seen.exists():
        return
    check_usable(checkpoint)
    with suppress(OSError):  # then it is looked at again next time
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()


def code_digest() -> str:
    """Of what decides whether a checkpoint is usable: the network's room, and the packages it builds on."""
    from importlib.metadata import version

    total = hashlib.sha256(" ".join(version(name) for name in ("torch", "transformers", "peft", "tokenizers")).encode())
    room = Path(__file__).resolve().parent.parent / "model"
    for path in (Path(__file__), *sorted(room.glob("*.py"))):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def check_usable(checkpoint) -> None:
    """The processor, the prompts and the names and shapes of the weights looked at, but not the weights: what is damaged or incomplete is
    refused here in a moment and not by each worker. Raises UserError."""
    with refusing(checkpoint.location):
        import artquant.model.auto  # noqa: F401  # transformers' Auto classes know our network
        from artquant.model.chat import max_length

        quieten_transformers()
        processor, prompts = checkpoint.load_processor(), checkpoint.prompts
        processor.level_token_ids(prompts.score)
        model, missing = checkpoint.load_skeleton()
        if model.config.is_encoder_decoder or not model.can_generate():
            raise ValueError(f"{checkpoint.backbone!r} does not go on with a text, as scores and critiques need it")
        longest = max(len(processor.asked(prompt)) for prompt in (prompts.score, *prompts.critique.values()))
        if longest >= max_length(model.config):
            raise ValueError(f"a prompt takes {longest} tokens, and it reads {max_length(model.config)} with the answer")
        if missing:
            raise ValueError(f"its weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))


def quieten_transformers() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def refusing(location: str) -> Iterator[None]:
    """A damaged file makes the libraries raise whatever they like: it becomes a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The model {location} cannot be used: {' '.join(str(error).split()).rstrip('.')}.") from error
