"""What a run measures for the plans of later nights."""

from artquant.core.memory import peak_bytes
from artquant.pipelines.stages import FETCHING, scoring_stage
from artquant.progress.stages import StageCount

PACES = ("score_pace", "critique_pace")  # by whether texts are written: artworks a second of all engines together
MIN_PACED = 64  # artworks; the rate of fewer is that of a start


def rates_of(stages: dict[str, StageCount], texts: bool) -> dict[str, float]:
    """Return artworks a second of one worker, by stage, and of all while they scored, and the most memory of this process and a worker."""
    stage = scoring_stage(texts)
    names = {FETCHING: "fetch_per_worker", stage: "score_per_worker"}
    rates = {names[name]: count.num_rows / count.busy_seconds for name, count in stages.items() if name in names and count.busy_seconds}
    scoring = stages.get(stage)
    if scoring and scoring.last_at > scoring.first_at and scoring.num_rows >= MIN_PACED:
        rates[PACES[texts]] = scoring.num_rows / (scoring.last_at - scoring.first_at)
    worker = max((count.peak_bytes for count in stages.values()), default=0)
    return rates | ({"driver_peak_bytes": float(peak_bytes()), "worker_peak_bytes": float(worker)} if worker else {})
