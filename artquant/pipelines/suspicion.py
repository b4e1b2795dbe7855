"""What killed workers, as all workers of one piece of work know it: also when the run itself was killed, and goes on elsewhere."""

from __future__ import annotations

import json

from artquant.pipelines.in_hand import InHand
from artquant.storage.store import Store


def share(in_hand: InHand, store: Store) -> None:
    """Learn what other workers left below `store`, and leave there what this one's predecessors met. Raises UserError and FetchError."""
    for info in store.list():
        in_hand.learn(json.loads(store.get(info.key)))
    if in_hand.news:  # one died, or more
        store.put(f"{in_hand.folder.name}.json", json.dumps(in_hand.verdicts()).encode())
