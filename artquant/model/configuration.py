"""Configuration of ArtQuant's network (mPLUG-Owl2), under the field names of the published checkpoints."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from artquant.model.location import FromAnywhere


class VisualModelConfig(PreTrainedConfig):
    """The vision transformer: `visual_config.visual_model` of a published `config.json`."""

    model_type = "mplug_owl_vision_model"

    def __init__(
        self,
        hidden_size: int = 1024,
        intermediate_size: int = 4096,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        image_size: int = 448,
        patch_size: int = 14,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ):
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.image_size = image_size
        self.patch_size = patch_size
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        super().__init__(**kwargs)

    @property
    def grid_size(self) -> int:
        """Patches along one side of the square image."""
        return self.image_size // self.patch_size


class VisualAbstractorConfig(PreTrainedConfig):
    """The resampler: `visual_config.visual_abstractor` of a published `config.json`."""

    model_type = "mplug_owl_visual_abstract"

    def __init__(
        self,
        num_learnable_queries: int = 64,
        hidden_size: int = 1024,
        num_hidden_layers: int = 6,
        num_attention_heads: int = 16,
        intermediate_size: int = 2816,
        encoder_hidden_size: int = 1024,
        grid_size: int = 32,
        layer_norm_eps: float = 1e-6,
        initializer_range: float = 0.02,
        **kwargs: Any,
    ):
        self.num_learnable_queries = num_learnable_queries
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.intermediate_size = intermediate_size
        self.encoder_hidden_size = encoder_hidden_size
        self.grid_size = grid_size
        self.layer_norm_eps = layer_norm_eps
        self.initializer_range = initializer_range
        super().__init__(**kwargs)


class VisualConfig(PreTrainedConfig):
    model_type = "mplug_owl2_visual"
    sub_configs = {"visual_model": VisualModelConfig, "visual_abstractor": VisualAbstractorConfig}

    def __init__(self, visual_model: Any = None, visual_abstractor: Any = None, **kwargs: Any):
        self.visual_model = _as_config(VisualModelConfig, visual_model)
        self.visual_abstractor = _as_config(VisualAbstractorConfig, visual_abstractor)
        super().__init__(**kwargs)


class MPLUGOwl2Config(FromAnywhere, PreTrainedConfig):
    """Llama's fields at the top level, the visual parts below `visual_config`. The defaults are the full size (7B, ViT-L/14 at 448 px).

    `image_token_index` stands for an image in `input_ids`; the published code uses -200, outside the vocabulary.
    """

    model_type = "mplug_owl2"
    sub_configs = {"visual_config": VisualConfig}
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        visual_config: Any = None,
        vocab_size: int = 32000,
        hidden_size: int = 4096,
        intermediate_size: int = 11008,
        num_hidden_layers: int = 32,
        num_attention_heads: int = 32,
        num_key_value_heads: int | None = None,
        max_position_embeddings: int = 2048,
        rms_norm_eps: float = 1e-5,
        rope_theta: float = 10000.0,
        hidden_act: str = "silu",
        initializer_range: float = 0.02,
        image_token_index: int = -200,
        use_cache: bool = True,
        pad_token_id: int | None = 0,
        bos_token_id: int | None = 1,
        eos_token_id: int | None = 2,
        tie_word_embeddings: bool = False,
        **kwargs: Any,
    ):
        self.visual_config = _as_config(VisualConfig, visual_config)
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.max_position_embeddings = max_position_embeddings
        self.rms_norm_eps = rms_norm_eps
        self.rope_theta = rope_theta
        self.hidden_act = hidden_act
        self.initializer_range = initializer_range
        self.image_token_index = image_token_index
        self.use_cache = use_cache
        super().__init__(
            pad_token_id=pad_token_id,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
            tie_word_embeddings=tie_word_embeddings,
            **kwargs,
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_image_tokens(self) -> int:
        """Embeddings that an image takes in the language model: the queries and one `vit_eos`."""
        return int(self.visual_config.visual_abstractor.num_learnable_queries + 1)

    @property
    def placeholder_id(self) -> int:
        """Stands for an image where ids must be of the vocabulary (vLLM): the padding's, which no prompt has and no answer may hold."""
        return self.pad_token_id or 0


def _as_config(kind: type[PreTrainedConfig], value: Any) -> PreTrainedConfig:
    return value if isinstance(value, kind) else kind(**(value or {}))


AutoConfig.register("mplug_owl2", MPLUGOwl2Config, exist_ok=True)
