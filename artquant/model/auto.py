"""Importing this makes transformers' Auto classes know `mplug_owl2`."""

from transformers import AutoConfig, AutoImageProcessor, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.modeling import MPLUGOwl2LlamaForCausalLM, MPLUGOwl2Model
from artquant.model.processing import MPLUGOwl2ImageProcessor, MPLUGOwl2Processor

AutoConfig.register("mplug_owl2", MPLUGOwl2Config, exist_ok=True)
AutoModelForImageTextToText.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
AutoModelForCausalLM.register(MPLUGOwl2Config, MPLUGOwl2LlamaForCausalLM, exist_ok=True)
AutoImageProcessor.register(MPLUGOwl2Config, slow_image_processor_class=MPLUGOwl2ImageProcessor, exist_ok=True)
AutoProcessor.register(MPLUGOwl2Config, MPLUGOwl2Processor, exist_ok=True)

__all__ = ["MPLUGOwl2Config", "MPLUGOwl2ImageProcessor", "MPLUGOwl2LlamaForCausalLM", "MPLUGOwl2Model", "MPLUGOwl2Processor"]
