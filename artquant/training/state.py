"""A run's checkpoints in object storage: each whole or not there, the best and the last kept.

<output>/training/<run_id>/state.json            which checkpoints there are: written after them, so that it never names half of one
<output>/training/<run_id>/step-00000100.pt      weights that learn, optimizer, by `torch.save`, read with `weights_only=True`
"""

import io
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch

from artquant.storage.store import Store


@dataclass(frozen=True)
class History:
    """What a run has done so far. `best_value` is the validation's SRCC; `curve` and `validations` are JSON records by step."""

    digest: str = ""  # of what determines the run: another cannot go on from here
    last_step: int | None = None
    best_step: int | None = None
    best_value: float | None = None
    is_finished: bool = False
    num_vanished: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)
    validations: list[dict[str, Any]] = field(default_factory=list)


class RunState:
    """Reads and writes one run's state below `store`."""

    def __init__(self, store: Store, run_id: str):
        self.store = store.child(f"training/{run_id}")

    def history(self) -> History:
        return History(**json.loads(self.store.get("state.json"))) if self.store.exists("state.json") else History()

    def load(self, step: int) -> dict[str, Any]:
        return cast(dict[str, Any], torch.load(io.BytesIO(self.store.get(_key(step))), map_location="cpu", weights_only=True))

    def save(self, state: dict[str, Any], history: History) -> None:
        """Store the checkpoint of `history.last_step`, then point `state.json` to it, then delete those that are neither best nor last."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        assert history.last_step is not None
        self.store.put(_key(history.last_step), buffer.getvalue())
        self.note(history)
        wanted = {_key(step) for step in (history.last_step, history.best_step) if step is not None}
        self.store.delete([info.key for info in self.store.list() if info.key.endswith(".pt") and info.key not in wanted])

    def note(self, history: History) -> None:
        self.store.put("state.json", json.dumps(asdict(history), indent=1).encode())


def with_validation(history: History, step: int, record: dict[str, Any] | None) -> History:
    """Return the history after a checkpoint at `step`, with its validation if it had one.

    The best has the highest SRCC; a constant prediction has none, and until there is one the last checkpoint counts as the best.
    """
    value = record["srcc"] if record else None
    is_best = value is not None and (history.best_value is None or value > history.best_value)
    return replace(
        history,
        last_step=step,
        best_step=step if is_best or history.best_value is None else history.best_step,
        best_value=value if is_best else history.best_value,
        validations=[*history.validations, {"step": step, **record}] if record else history.validations,
    )


def _key(step: int) -> str:
    return f"step-{step:08d}.pt"
