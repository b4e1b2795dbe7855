"""The engine that a spec asks for, as the jobs make it."""

from __future__ import annotations

from artquant.config import EvaluateSpec, ScoreSpec
from artquant.engines.recipe import EngineRecipe, make_recipe, open_checkpoint


def recipe_for(spec: ScoreSpec | EvaluateSpec) -> EngineRecipe:
    return make_recipe(open_checkpoint(spec.model, spec.base), spec.engine, spec.fetch.full_decode)
