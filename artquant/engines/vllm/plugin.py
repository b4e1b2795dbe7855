"""What each of vLLM's processes calls at its start (entry point `vllm.general_plugins`), so that `vllm serve` knows ArtQuant's folders."""


def register() -> None:
    from vllm import ModelRegistry

    import artquant.model.auto  # noqa: F401  transformers learns `mplug_owl2`

    # By name: a process that only asks for the class must not load it.
    ModelRegistry.register_model("MPLUGOwl2LlamaForCausalLM", "artquant.engines.vllm.network:VllmMPLUGOwl2")
