"""The fields of a published `config.json`, their defaults (the full size: 7B, ViT-L/14 at 448 px), and what follows from them.

Each class is one half of a configuration: with transformers' base class the other half, it is transformers' (`configuration.py`); with
:class:`_Plain`, it is read without transformers, which takes seconds to import.
"""

import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self


class VisualModelFields:
    """The vision transformer: `visual_config.visual_model` of a published `config.json`."""

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


class VisualAbstractorFields:
    """The resampler: `visual_config.visual_abstractor` of a published `config.json`."""

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


class _Parts:
    """Makes the configurations that a configuration is made of."""

    sub_configs: ClassVar[dict[str, Any]]

    def _part(self, name: str, value: Any) -> Any:
        kind = self.sub_configs[name]
        return value if isinstance(value, kind) else kind(**(value or {}))


class VisualFields(_Parts):
    """`visual_config` of a published `config.json`."""

    def __init__(self, visual_model: Any = None, visual_abstractor: Any = None, **kwargs: Any):
        self.visual_model = self._part("visual_model", visual_model)
        self.visual_abstractor = self._part("visual_abstractor", visual_abstractor)
        super().__init__(**kwargs)


class MPLUGOwl2Fields(_Parts):
    """Llama's fields at the top level, the visual parts below `visual_config`.

    `image_token_index` stands for an image in `input_ids`; the published code uses -200, outside the vocabulary.
    """

    pad_token_id: int | None

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
        self.visual_config = self._part("visual_config", visual_config)
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
        super().__init__(  # type: ignore[call-arg]  # the other half's
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
        """Stands for an image where ids must be of the vocabulary: the padding's, which no prompt has and no answer may hold."""
        return self.pad_token_id or 0


class _Plain:
    """Stands where transformers' base class stands else: keeps the fields that are not ours."""

    def __init__(self, **kwargs: Any):
        vars(self).update(kwargs)


class _VisualModel(VisualModelFields, _Plain):
    pass


class _VisualAbstractor(VisualAbstractorFields, _Plain):
    pass


class _Visual(VisualFields, _Plain):
    sub_configs = {"visual_model": _VisualModel, "visual_abstractor": _VisualAbstractor}


class PlainConfig(MPLUGOwl2Fields, _Plain):
    """What the network is built from where transformers is not wanted."""

    sub_configs = {"visual_config": _Visual}

    @classmethod
    def read(cls, folder: str | os.PathLike[str]) -> Self:
        return cls(**json.loads((Path(folder) / "config.json").read_text()))
