"""The same jobs on a cluster elsewhere, through the Ray Jobs API: `RAY_ADDRESS=http://head:8265 make submit JOB=score ARGS=...`."""

import asyncio
import logging
import shlex
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from artquant.cli.settings import CONFIG, split_config
from artquant.config import read_document
from artquant.core.errors import RunFailed, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_AGENT_SECONDS = 60.0
PACKAGE = Path(__file__).resolve().parents[1]


def is_remote(address: str | None) -> bool:
    return bool(address) and str(address).startswith(("http://", "https://"))


def check_addresses(needed: Mapping[str, str | None]) -> None:
    """Raise UserError for the first address that is not given, before anything is sent."""
    for name, value in needed.items():
        if not value:
            raise UserError(f"{name} is needed where the job runs on a cluster: the embedded store is for this machine alone.")


def submitted(client: "JobSubmissionClient", entrypoint: str, folder: str) -> str:
    """Return the submission's id. A head that has just started has no agent yet that would take a job: that is waited for."""
    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            return str(client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder}))
        except RuntimeError as error:
            if time.monotonic() > deadline or "No available agent" not in str(error):
                raise
        time.sleep(2)


def submit(address: str, job: str, overrides: list[str]) -> int:
    """Send this package and the command, show the job's output until it ends, and return its exit code.

    Credentials are not sent: the nodes use their own. Raises UserError if the cluster does not take the job. If a person interrupts it,
    raises KeyboardInterrupt saying what becomes of the job.
    """
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    with tempfile.TemporaryDirectory(prefix="artquant-upload-") as folder:
        path, settings = split_config(overrides)
        shutil.copytree(PACKAGE, Path(folder) / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
        if path:
            (Path(folder) / "config.yaml").write_text(yaml.safe_dump(read_document(path)))
            settings = [f"{CONFIG}config.yaml", *settings]
        try:
            client = JobSubmissionClient(address)
            logging.getLogger("ray").setLevel(logging.ERROR)  # no list of the files that are packed; the client turns it on
            submission_id = submitted(client, shlex.join(["python", "-m", "artquant", job, *settings]), folder)
        except AuthenticationError as error:
            raise UserError(
                f"The cluster at {address} asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH."
            ) from error
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise UserError(f"The cluster at {address} did not take the job: {' '.join(str(error).split())[:300].rstrip('.')}.") from error
    stop = f"ray job stop {submission_id} --address {address}"
    print(f"Submitted {submission_id} to {address}; it goes on if you leave. Stop it with: {stop}", flush=True)

    async def show() -> None:
        async for lines in client.tail_job_logs(submission_id):
            print(lines, end="", flush=True)

    try:
        asyncio.run(show())
        info = client.get_job_info(submission_id)
    except KeyboardInterrupt as left:
        left.args = (
            f"You left, and {submission_id} goes on at {address}. Watch it with: ray job logs --follow {submission_id} "
            f"--address {address}; stop it with: {stop}",
        )
        raise
    except (ConnectionError, RuntimeError, OSError) as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunFailed(
            f"The connection to {address} is lost ({why}), and {submission_id} may go on. "
            f"Ask with: ray job status {submission_id} --address {address}."
        ) from error
    return 0 if info.status == "SUCCEEDED" else (info.driver_exit_code or 1)
