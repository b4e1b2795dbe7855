"""Who generates and who judges: checked before anything is started, opened by each worker."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from artquant.config import PlayerSpec
from artquant.core.errors import UserError
from artquant.descriptions import Budget, Player
from artquant.descriptions.cache import Asker, Decoding
from artquant.engines.recipe import check_usable_once, is_tiny, open_checkpoint
from artquant.storage.store import Store

if TYPE_CHECKING:
    from artquant.model.checkpoint import Checkpoint


@dataclass(frozen=True)
class PlayerRecipe:
    """`digest`: of the model, by which answers are kept; `family`: whose model it is; `share`: a worker's part of the endpoint's rates."""

    spec: PlayerSpec
    engine: str
    name: str
    digest: str
    family: str
    checkpoint: Checkpoint | None
    picture_size: int
    device: str = "cpu"
    share: float = 1.0

    @property
    def is_external(self) -> bool:
        from artquant.descriptions.endpoint import is_external

        return self.engine == "openai" and is_external(str(self.spec.base_url))

    def open(self) -> Player:
        if self.engine == "openai":
            from artquant.descriptions.endpoint import Endpoint

            return Endpoint(self.spec, self.picture_size, self.share)
        if self.engine == "vllm":
            from artquant.descriptions.vllm_player import VllmPlayer

            return VllmPlayer(self.spec, self.picture_size, self.digest)
        from artquant.descriptions.local import LocalPlayer

        assert self.checkpoint
        return LocalPlayer(self.spec, self.checkpoint, self.device, "bfloat16" if self.device == "cuda" else "float32")

    def asker(self, player: Player, store: Store, budget: Budget, template_digest: str) -> Asker:
        decoding = Decoding(self.spec.max_tokens, self.spec.temperature, player.image_size)
        return Asker(player, store, budget, decoding, template_digest, self.spec.input_price, self.spec.output_price)


def make_recipe(spec: PlayerSpec, picture_size: int, num_gpus: float, share: float, what: str) -> PlayerRecipe:
    """Return how workers get a player. `what`: generator or judge, for the sentences. Raises UserError where it cannot be had."""
    engine = spec.engine if spec.engine != "auto" else "openai" if spec.base_url else "torch"
    if engine == "openai":
        from artquant.descriptions.endpoint import endpoint_digest

        if not (spec.base_url and spec.model):
            raise UserError(f"{what}.engine=openai needs {what}.base_url and {what}.model: name the endpoint and its model.")
        digest = endpoint_digest(spec.base_url, spec.model)
        name = re.sub(r"[^\w.-]+", "-", spec.model)
        return PlayerRecipe(spec, engine, name, digest, spec.family or family_of(spec.model), None, picture_size, share=share)
    if engine == "vllm":
        if find_spec("vllm") is None:
            raise UserError(f"{what}.engine=vllm needs vLLM, which is not installed: type `make vllm`, or name another engine.")
        if not spec.model:
            raise UserError(f"{what}.engine=vllm needs {what}.model: a folder or a hub name.")
        digest = hashlib.sha256(f"vllm {spec.model}".encode()).hexdigest()[:16]
        name = spec.model.rstrip("/").rpartition("/")[2]
        return PlayerRecipe(spec, engine, name, digest, spec.family or family_of(spec.model), None, picture_size)
    checkpoint = open_checkpoint(spec.model, None)
    check_usable_once(checkpoint)
    family = spec.family or ("artquant-tiny" if is_tiny(spec.model) else family_of(checkpoint.model_id))
    device = "cuda" if num_gpus else "cpu"
    return PlayerRecipe(spec, engine, checkpoint.model_id, checkpoint.model_digest, family, checkpoint, checkpoint.image_size, device)


def family_of(model: str) -> str:
    """Return by whom a model is, as far as its name says: 'Qwen/Qwen3-VL-8B' -> 'qwen', 'gpt-5-mini' -> 'gpt'."""
    word = re.match(r"[^\W\d_]+", model.rstrip("/").rpartition("/")[2])
    return word[0].lower() if word else model
