"""The score job's thin entry point: spec, a home to run in, the pipeline, a table."""

from functools import partial
from pathlib import Path

from artquant.config import ScoreSpec, load_spec
from artquant.errors import UserError

TINY = Path(__file__).resolve().parent.parent / "artquant" / "checkpoints" / "artquant-tiny"


def main(overrides: list[str]) -> int:
    spec = load_spec(ScoreSpec, Path(__file__).with_name("score.yaml"), overrides)
    from jobs.home import running_ray, stores

    with stores(spec) as (spec, reopen):
        recipe = make_recipe(spec)
        with running_ray():
            from artquant.pipelines.score import run_score

            report = run_score(spec, recipe)
        from jobs.summary import keep_report, print_summary

        print_summary(report, keep_report(report), reopen)
    return 0


def make_recipe(spec: ScoreSpec):
    """How workers get the engine. Raises UserError where there is no such checkpoint, or it cannot be used."""
    from transformers.utils import logging

    from artquant.engines.open import open_engine, resolve_device
    from artquant.model.checkpoint import Checkpoint
    from artquant.pipelines.score import EngineRecipe

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    location = spec.model or str(TINY)
    try:
        checkpoint = Checkpoint.open(location, spec.base)
        checkpoint.load_processor().level_token_ids(checkpoint.prompts.score)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"The model {location} cannot be used: {' '.join(str(error).split())}.") from error
    device, dtype = resolve_device(spec.engine)
    return EngineRecipe(
        open=partial(open_engine, spec.engine, checkpoint),
        identity=checkpoint.identity(dtype),
        image_size=checkpoint.image_size,
        level_values=checkpoint.prompts.level_values,
        description=f"{spec.engine.name} on {device}, {dtype}",
    )
