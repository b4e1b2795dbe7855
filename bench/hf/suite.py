"""The classes that transformers' common tests ask for. `bench.hf.run` puts this file among those tests; it is no test of its own here."""

import unittest
from typing import Any

import torch
from transformers.testing_utils import require_torch

from artquant.model import (
    MPLUGOwl2Config,
    MPLUGOwl2ImageProcessor,
    MPLUGOwl2LlamaForCausalLM,
    MPLUGOwl2Model,
    MPLUGOwl2Processor,
)
from artquant.training.tokenizer import train_tokenizer

from ...test_configuration_common import ConfigTester  # type: ignore[import-not-found]
from ...test_modeling_common import ModelTesterMixin  # type: ignore[import-not-found]
from ...test_processing_common import ProcessorTesterMixin  # type: ignore[import-not-found]

VISUAL = {
    "visual_model": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    },
    "visual_abstractor": {
        "num_learnable_queries": 4,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "encoder_hidden_size": 32,
        "grid_size": 2,
    },
}
LANGUAGE = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}


class ModelTester:
    batch_size, seq_length, is_training = 3, 12, True
    num_hidden_layers, num_attention_heads, hidden_size = 2, 2, 32

    def get_config(self) -> MPLUGOwl2Config:
        return MPLUGOwl2Config(visual_config=VISUAL, **LANGUAGE)

    def prepare_config_and_inputs_for_common(self) -> tuple[MPLUGOwl2Config, dict[str, torch.Tensor]]:
        config = self.get_config()
        ids = torch.randint(3, config.vocab_size, (self.batch_size, self.seq_length))
        ids[:, 1 : 1 + config.num_image_tokens] = config.placeholder_id
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(self.batch_size, 3, 28, 28)}
        return config, inputs


@require_torch
class MPLUGOwl2ModelTest(ModelTesterMixin, unittest.TestCase):  # type: ignore[misc]
    all_model_classes = (MPLUGOwl2Model, MPLUGOwl2LlamaForCausalLM)
    additional_model_inputs = ["pixel_values"]
    _is_composite = True

    def setUp(self) -> None:
        self.model_tester = ModelTester()
        self.config_tester = ConfigTester(self, config_class=MPLUGOwl2Config, has_text_modality=True, **LANGUAGE)

    def test_config(self) -> None:
        self.config_tester.create_and_test_config_to_json_string()
        self.config_tester.create_and_test_config_to_json_file()
        self.config_tester.create_and_test_config_from_and_save_pretrained()
        self.config_tester.create_and_test_config_with_num_labels()
        self.config_tester.check_config_can_be_init_without_params()
        self.config_tester.check_config_arguments_init()


@require_torch
class MPLUGOwl2ProcessorTest(ProcessorTesterMixin, unittest.TestCase):  # type: ignore[misc]
    processor_class = MPLUGOwl2Processor

    @classmethod
    def _setup_test_attributes(cls, processor: MPLUGOwl2Processor) -> None:
        cls.image_token = processor.image_token

    @classmethod
    def _setup_image_processor(cls) -> MPLUGOwl2ImageProcessor:
        return MPLUGOwl2ImageProcessor(28)

    @classmethod
    def _setup_tokenizer(cls) -> Any:
        return train_tokenizer(["lower newer , a painting of the sea . How good is it ? <image>"], 512)

    @staticmethod
    def prepare_processor_dict() -> dict[str, Any]:
        return {"num_image_tokens": 5}
