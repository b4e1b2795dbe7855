"""The configuration of ArtQuant's network (mPLUG-Owl2) as transformers knows it. Importing this makes AutoConfig know `mplug_owl2`."""

from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from artquant.model.fields import MPLUGOwl2Fields, VisualAbstractorFields, VisualFields, VisualModelFields
from artquant.model.location import FromAnywhere

# transformers writes an `__init__` into each configuration that has none of its own.


class VisualModelConfig(VisualModelFields, PreTrainedConfig):
    model_type = "mplug_owl_vision_model"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)


class VisualAbstractorConfig(VisualAbstractorFields, PreTrainedConfig):
    model_type = "mplug_owl_visual_abstract"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)


class VisualConfig(VisualFields, PreTrainedConfig):
    model_type = "mplug_owl2_visual"
    sub_configs = {"visual_model": VisualModelConfig, "visual_abstractor": VisualAbstractorConfig}

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)


class MPLUGOwl2Config(MPLUGOwl2Fields, FromAnywhere, PreTrainedConfig):
    """The fields of :class:`MPLUGOwl2Fields`, loaded and saved as transformers does."""

    model_type = "mplug_owl2"
    sub_configs = {"visual_config": VisualConfig}
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)


AutoConfig.register("mplug_owl2", MPLUGOwl2Config, exist_ok=True)
