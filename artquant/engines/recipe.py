"""From a model's address to an engine that every worker can open, checked before anything is started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.config import EngineSpec
from artquant.core.errors import RunFailed, UserError
from artquant.core.home import home
from artquant.core.identity import Identity
from artquant.core.schema import LEVELS
from artquant.engines import Engine

if TYPE_CHECKING:
    from artquant.model.checkpoint import Checkpoint

TINY = Path(__file__).resolve().parent.parent / "checkpoints" / "artquant-tiny"
DEMONSTRATION = (
    "artquant-tiny is a demonstration: it has seen nothing but generated paintings of ten subjects, and its scores of other pictures mean "
    "nothing."
)


@dataclass(frozen=True)
class EngineRecipe:
    """How a worker gets its engine, and what its scores depend on."""

    open: Callable[[], Engine]
    identity: Identity
    image_size: int
    level_values: tuple[float, ...]
    description: str  # "torch on cpu, float32"
    engine: EngineSpec  # what `open` opens, resolved
    open_network: Callable[[], Engine] | None = None  # the torch engine, where `artquant.engines.theory` can ask its network
    training_shares: tuple[float, ...] | None = None  # of the levels among the labels that the model learnt, where its card says so
    has_golden_set: bool = False  # `open` refuses an engine that does not score it as it should


def make_recipe(checkpoint: Checkpoint, engine: EngineSpec, full_decode: bool) -> EngineRecipe:
    """Return how workers get the checkpoint's engine. Raises UserError if it cannot be used."""
    check_usable_once(checkpoint)
    from artquant.engines.domain import read_domain
    from artquant.engines.golden import read_golden
    from artquant.engines.open import engine_label, open_engine, resolve

    with refusing(checkpoint.location):
        golden = read_golden(checkpoint.folder)
        read_domain(checkpoint.folder)
    resolved = resolve(engine, checkpoint.is_mplug_owl2)
    torch_engine = resolved.model_copy(update={"name": "torch"})
    return EngineRecipe(
        open=partial(open_engine, resolved, checkpoint),
        identity=identity_of(checkpoint, engine, full_decode),
        image_size=checkpoint.image_size,
        level_values=checkpoint.prompts.level_values,
        description=engine_label(resolved),
        engine=resolved,
        training_shares=training_shares(checkpoint.folder),
        has_golden_set=golden is not None,
        open_network=partial(open_engine, torch_engine, checkpoint) if checkpoint.is_mplug_owl2 else None,
    )


def training_shares(folder: str) -> tuple[float, ...] | None:
    """Return the shares of the five levels among the training labels, best first, from the card beside a published model."""
    card = Path(folder) / "card.json"
    try:
        shares = json.loads(card.read_text())["data"]["level_shares"]
        return tuple(float(share) for share in shares) if len(shares) == len(LEVELS) else None
    except (OSError, ValueError, KeyError, TypeError):  # no card, or one of another program: nothing is compared with it
        return None


def identity_of(checkpoint: Checkpoint, engine: EngineSpec, full_decode: bool) -> Identity:
    """Return what the scores of the checkpoint's engine depend on; imports no torch."""
    from artquant.engines.open import precision_tag, resolve

    return checkpoint.identity(precision_tag(resolve(engine, checkpoint.is_mplug_owl2)), full_decode)


def open_checkpoint(location: str | None, base: str | None = None) -> Checkpoint:
    """Open a checkpoint, artquant-tiny by default, in the time it takes to read its files. Raises UserError if there is none."""
    from artquant.model.checkpoint import Checkpoint

    location = str(TINY) if is_tiny(location) else str(location)
    with refusing(location):
        return Checkpoint.open(location, base)


def is_tiny(location: str | None) -> bool:
    """Return whether the location means the checkpoint in the package: none at all, or its short name."""
    return location in (None, "tiny")


def check_usable_once(checkpoint: Checkpoint) -> None:
    """Run :func:`check_usable`, unless the same code has already found the same files usable: the check imports torch and transformers."""
    seen = home() / "usable-models" / f"{checkpoint.model_digest}-{code_digest()}"
    if seen.exists():
        return
    check_usable(checkpoint)
    with suppress(OSError):  # then it is checked again next time
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()


def code_digest() -> str:
    """Return a digest of what decides whether a checkpoint is usable: the network code, and the packages it builds on."""
    from importlib.metadata import version

    total = hashlib.sha256(" ".join(version(name) for name in ("torch", "transformers", "peft", "tokenizers")).encode())
    room = Path(__file__).resolve().parent.parent / "model"
    for path in (Path(__file__), *sorted(room.glob("*.py"))):
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def check_usable(checkpoint: Checkpoint) -> None:
    """Check the processor, the prompts and the names and shapes of the weights, but not the weights themselves. Raises UserError.

    A damaged or incomplete checkpoint is thus refused here at once, and not by each worker.
    """
    with refusing(checkpoint.location):
        import artquant.model.auto  # noqa: F401  # transformers' Auto classes know our network
        from artquant.model.chat import max_length

        quieten_transformers()
        processor, prompts = checkpoint.load_processor(), checkpoint.prompts
        if prompts.written_score is None:
            processor.level_token_ids(prompts.score, prompts.words)
        elif checkpoint.is_mplug_owl2:
            raise ValueError("it cannot be asked for a written score: that is for other backbones than mPLUG-Owl2")
        model, missing = checkpoint.load_skeleton()
        if model.config.is_encoder_decoder or not model.can_generate():
            raise ValueError(f"{checkpoint.backbone!r} does not go on with a text, as scores and critiques need it")
        longest = max(len(processor.encode_prompt(prompt)) for prompt in (prompts.score, *prompts.critique.values()))
        if longest >= max_length(model.config):
            raise ValueError(f"a prompt takes {longest} tokens, and it reads {max_length(model.config)} with the answer")
        if missing:
            raise ValueError(f"its weights lack {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""))


def quieten_transformers() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def refusing(location: str) -> Iterator[None]:
    """Turn whatever the libraries raise over a damaged file into a UserError."""
    try:
        yield
    except (UserError, RunFailed):
        raise
    except Exception as error:
        raise UserError(f"The model {location} cannot be used: {' '.join(str(error).split()).rstrip('.')}.") from error
