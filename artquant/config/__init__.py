"""What a job takes: one pydantic model a job, the one source of its settings, their defaults and what they mean."""

from artquant.config.annotations import AnnotationSpec
from artquant.config.evaluate import EvaluateSpec
from artquant.config.load import Setting, load_spec, read_document, settings_of, takes
from artquant.config.score import EngineSpec, FetchSpec, MeasuredEngineSpec, ReviewSpec, ScoreSpec, VllmSpec
from artquant.config.section import Section
from artquant.config.train import FitSpec, LoraSpec, LossSpec, SightSpec, TrainSpec

__all__ = [
    "AnnotationSpec",
    "EngineSpec",
    "EvaluateSpec",
    "FetchSpec",
    "FitSpec",
    "LoraSpec",
    "LossSpec",
    "MeasuredEngineSpec",
    "ReviewSpec",
    "ScoreSpec",
    "Section",
    "Setting",
    "SightSpec",
    "TrainSpec",
    "VllmSpec",
    "load_spec",
    "read_document",
    "settings_of",
    "takes",
]
