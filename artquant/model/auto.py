"""Importing this makes all of transformers' Auto classes know `mplug_owl2`: each module registers its own."""

from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Model
from artquant.model.processing import MPLUGOwl2ImageProcessor, MPLUGOwl2Processor

__all__ = ["MPLUGOwl2Config", "MPLUGOwl2ImageProcessor", "MPLUGOwl2LlamaForCausalLM", "MPLUGOwl2Model", "MPLUGOwl2Processor"]
