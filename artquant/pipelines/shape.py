"""How a collection is cut into tasks and blocks, and which processes there are."""

from artquant.config import EngineSpec, FetchSpec
from artquant.results.plan import LARGE_SHARD, PlanSummary

BLOCK_BYTES = 64 << 20


def fetch_workers(spec: FetchSpec, engine: EngineSpec, num_cpus: int) -> int:
    """Processes of their own that fetch and decode. None beside engines without a GPU: those use the same cores."""
    if spec.num_workers is not None:
        return spec.num_workers
    return max(1, num_cpus // 2) if engine.num_gpus else 0


def shards_per_task(plan: PlanSummary, num_workers: int) -> int:
    """A task is some 2,000 artworks, for few are fetched while its last are scored; but each worker gets four tasks at least."""
    return max(1, min(LARGE_SHARD * plan.num_shards // plan.num_planned, plan.num_shards // (4 * num_workers)))


def rows_per_block(num_planned: int, batch_size: int, num_workers: int, image_bytes: int) -> int:
    """Artworks that travel together: whole engine batches of about BLOCK_BYTES, fewer where a small collection would not give every
    engine some eight blocks. Every block costs the scheduler some 20 ms, whatever it holds."""
    rows = min(BLOCK_BYTES // image_bytes, num_planned // (8 * num_workers))
    return batch_size * max(1, rows // batch_size)
