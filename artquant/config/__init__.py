"""What a job takes: one pydantic model per job, the only source of its settings, their defaults and their meaning."""

from artquant.config.annotations import AnnotationSpec, ResolvedAnnotationSpec
from artquant.config.describe import DescribeSpec, ExamSpec, PlayerSpec, ResolvedDescribeSpec
from artquant.config.evaluate import EvaluateSpec, ResolvedEvaluateSpec
from artquant.config.load import Setting, load_spec, read_document, settings_of, spec_yaml, takes
from artquant.config.score import (
    EngineSpec,
    FetchSpec,
    GateSpec,
    MeasuredEngineSpec,
    ResolvedScoreSpec,
    ReviewSpec,
    ScoreSpec,
    VllmSpec,
)
from artquant.config.section import Section, resolved
from artquant.config.train import FitSpec, LoraSpec, LossSpec, PlacedTrainSpec, ResolvedTrainSpec, TrainSpec, VisionWarmupSpec
from artquant.config.watch import HookSpec, WatchSpec

__all__ = [
    "AnnotationSpec",
    "DescribeSpec",
    "EngineSpec",
    "EvaluateSpec",
    "ExamSpec",
    "FetchSpec",
    "FitSpec",
    "GateSpec",
    "LoraSpec",
    "LossSpec",
    "MeasuredEngineSpec",
    "PlacedTrainSpec",
    "PlayerSpec",
    "ResolvedAnnotationSpec",
    "ResolvedDescribeSpec",
    "ResolvedEvaluateSpec",
    "ResolvedScoreSpec",
    "ResolvedTrainSpec",
    "ReviewSpec",
    "ScoreSpec",
    "Section",
    "Setting",
    "VisionWarmupSpec",
    "TrainSpec",
    "VllmSpec",
    "HookSpec",
    "WatchSpec",
    "load_spec",
    "read_document",
    "resolved",
    "settings_of",
    "spec_yaml",
    "takes",
]
