"""A run's checkpoints in object storage: each whole or not there, the best and the last kept.

<output>/training/<run_id>/state.json                                which checkpoints there are: written after them, so that it never
                                                                     names half of one
<output>/training/<run_id>/step-00000100.pt                          weights that learn, optimizer, by `torch.save`, read with
                                                                     `weights_only=True`
<output>/training/<run_id>/step-00000100/worker-00001-of-00004.pt    with FSDP, the same of one worker's shards: no worker ever has the
                                                                     whole
"""

import json
import tempfile
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

    def load(self, step: int, part: str = "") -> dict[str, Any]:
        with self.store.open_input(_key(step, part)) as file:
            return cast(dict[str, Any], torch.load(file, map_location="cpu", weights_only=True))

    def save(self, state: dict[str, Any], step: int, part: str = "") -> None:
        """Store a checkpoint, or one worker's part of it; it counts from `keep` on."""
        with tempfile.NamedTemporaryFile(prefix="artquant-", suffix=".pt") as file:
            torch.save(state, file.name)
            self.store.put_file(_key(step, part), file.name)

    def keep(self, history: History) -> None:
        """Point `state.json` to the checkpoint of `history.last_step`, then delete those that are neither best nor last."""
        self.note(history)
        wanted = {_name(step) for step in (history.last_step, history.best_step) if step is not None}
        steps = [info.key for info in self.store.list() if info.key.startswith("step-")]
        self.store.delete([key for key in steps if key.partition("/")[0].removesuffix(".pt") not in wanted])

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


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _key(step: int, part: str) -> str:
    return f"{_name(step)}/{part}.pt" if part else f"{_name(step)}.pt"
