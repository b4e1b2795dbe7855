"""The same jobs on a cluster elsewhere, through the Ray Jobs API: `RAY_ADDRESS=http://head:8265 make submit JOB=score ARGS=...`."""

import asyncio
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path

from artquant.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NOT_SENT = [".git", ".venv", ".artquant", "tests", "docs", "bench", "*.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache"]


def is_remote(address: str | None) -> bool:
    return bool(address) and str(address).startswith(("http://", "https://"))


def check_addresses(needed: Mapping[str, str | None]) -> None:
    """Raises UserError for the first that is not given, before anything is sent."""
    for name, value in needed.items():
        if not value:
            raise UserError(f"{name} is needed where the job runs on a cluster: the embedded store is for this machine alone.")


def submit(address: str, job: str, overrides: list[str]) -> int:
    """Sends this working tree and the command, shows the job's output until it ends, and returns its exit code.

    Credentials are not sent: the nodes use their own. Raises UserError where the cluster cannot be reached.
    """
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        logging.getLogger("ray").setLevel(logging.ERROR)  # no list of the files that are packed; the client turns it on
        submission_id = client.submit_job(
            entrypoint=shlex.join(["python", "-m", "artquant", job, *overrides]),
            runtime_env={"working_dir": str(ROOT), "excludes": NOT_SENT},
        )
    except (ConnectionError, RuntimeError) as error:
        raise UserError(f"The cluster at {address} did not take the job: {' '.join(str(error).split())[:300]}") from error
    print(
        f"Submitted {submission_id} to {address}; it goes on if you leave. Stop it with: ray job stop {submission_id} --address {address}"
    )

    async def show() -> None:
        async for lines in client.tail_job_logs(submission_id):
            print(lines, end="", flush=True)

    asyncio.run(show())
    info = client.get_job_info(submission_id)
    return 0 if info.status == "SUCCEEDED" else (info.driver_exit_code or 1)
