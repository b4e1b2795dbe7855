"""The same jobs on a cluster elsewhere, through the Ray Jobs API: `RAY_ADDRESS=http://head:8265 make submit JOB=score ARGS=...`."""

import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from artquant.cli.terminal import say
from artquant.cli.upload import pack, run_digest
from artquant.config import Section
from artquant.core.errors import RunFailed, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_AGENT_SECONDS = 60.0
_LOST_SECONDS = 90.0  # of a head that does not answer: it may be restarted behind the same address
OURS = "artquant-"  # what the names of our submissions begin with


def is_remote(address: str | None) -> bool:
    return bool(address) and str(address).startswith(("http://", "https://"))


@contextmanager
def connected(address: str) -> Iterator["JobSubmissionClient"]:
    """Yield a client of the cluster's jobs for the block. Raises UserError where it does not answer or does not let us in."""
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(address)
        for name in (
            "ray",
            "ray.dashboard.modules.dashboard_sdk",
            "ray.dashboard.modules.job.sdk",
        ):  # no list of the files that are packed; the client turns it on
            logging.getLogger(name).setLevel(logging.ERROR)
        yield client
    except AuthenticationError as error:
        raise UserError(
            f"The cluster at {address} asks for its token, and got none or another: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
            "RAY_AUTH_TOKEN_PATH to what its head was started with."
        ) from error
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(f"The cluster at {address} did not take it: {' '.join(str(error).split())[:300].rstrip('.')}.") from error


def ours(client: "JobSubmissionClient", prefix: str = OURS) -> list["JobDetails"]:
    """Return the submissions whose name begins so, oldest first."""
    jobs = [job for job in client.list_jobs() if (job.submission_id or "").startswith(prefix)]
    return sorted(jobs, key=lambda job: (job.start_time or 0, str(job.submission_id)))


def is_over(job: "JobDetails") -> bool:
    return bool(job.status.is_terminal())


def submit(address: str, job: str, overrides: list[str], spec: Section) -> int:
    """Send this package and the command, show the job's output until it ends, and return its exit code.

    Where the same run is at work already, that one is followed. Raises UserError if the cluster does not take the job. If a person
    interrupts it, raises KeyboardInterrupt saying what becomes of the job.
    """
    with connected(address) as client, tempfile.TemporaryDirectory(prefix="artquant-upload-") as folder:
        prefix = f"{OURS}{job}-{run_digest(job, spec)}-"
        earlier = ours(client, prefix)
        working = next((one for one in earlier if not is_over(one)), None)
        if working is None:
            entrypoint = pack(Path(folder), job, overrides)
            submission_id, is_new = submitted(client, entrypoint, folder, f"{prefix}{len(earlier) + 1}")
        else:
            submission_id, is_new = str(working.submission_id), False
    what = "Submitted" if is_new else "The same run is at work already, so this follows"
    announcement = f"{what} {submission_id} at {address}; it goes on if you leave. {how_to(submission_id)}."
    return followed(client, address, submission_id, announcement)


def how_to(submission_id: str) -> str:
    return f"Watch it: make logs ID={submission_id}; stop it: make stop ID={submission_id}"


def submitted(client: "JobSubmissionClient", entrypoint: str, folder: str, name: str) -> tuple[str, bool]:
    """Return the submission's name, and whether it is new: another may have sent the same run at this moment.

    A head that has just started has no agent yet that would take a job: that is waited for.
    """
    deadline = time.monotonic() + _AGENT_SECONDS
    while True:
        try:
            return str(client.submit_job(entrypoint=entrypoint, runtime_env={"working_dir": folder}, submission_id=name)), True
        except RuntimeError as error:
            if "already exists" in str(error):
                return name, False
            if time.monotonic() > deadline or "No available agent" not in str(error):
                raise
        time.sleep(2)


def followed(client: "JobSubmissionClient", address: str, submission_id: str, announcement: str = "") -> int:
    """Show the announcement, then the job's output from its beginning until it ends; return its exit code.

    Raises KeyboardInterrupt, and RunFailed where the connection stays lost or the head forgot the job.
    """
    num_shown, lost_at = 0, None
    try:
        if announcement:
            print(announcement, flush=True)
        while True:
            try:
                num_shown = asyncio.run(_show(client, submission_id, num_shown))
                info = client.get_job_info(submission_id)
                if is_over(info):
                    return exit_code(info, address)
                lost_at = None
            except (RuntimeError, OSError) as error:
                if "does not exist" in str(error):
                    raise RunFailed(
                        f"The head at {address} knows no {submission_id} any more: it was started anew, and the same command goes on "
                        "where the run stopped."
                    ) from error
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > _LOST_SECONDS:
                    why = " ".join(str(error).split())[:200] or type(error).__name__
                    raise RunFailed(
                        f"The connection to {address} is lost ({why}), and {submission_id} may go on: ask with make status; if the head is "
                        "gone for good, the same command goes on where the run stopped."
                    ) from error
            time.sleep(1)
    except KeyboardInterrupt as left:
        left.args = (f"You left, and {submission_id} goes on at {address}. {how_to(submission_id)}.",)
        raise


async def _show(client: "JobSubmissionClient", submission_id: str, num_shown: int) -> int:
    """Print what there is of the output beyond so many characters, and what comes; return how many there were when it broke off."""
    from aiohttp import ClientError

    num_seen = 0
    try:
        async for text in client.tail_job_logs(submission_id):
            num_seen += len(text)
            if num_seen > num_shown:
                sys.stdout.write(text[-(num_seen - num_shown) :])
                sys.stdout.flush()
                num_shown = num_seen
    except (ClientError, RuntimeError, OSError) as error:  # whether the job is there, and over, is asked next in any case
        logging.getLogger(__name__).debug("the output broke off: %s", error)
    return num_shown


def exit_code(info: "JobDetails", address: str) -> int:
    """Return what `artquant submit` ends with: the driver's own code; 143 for a job that was stopped, 1 where Ray lost its driver."""
    if info.status == "SUCCEEDED":
        return 0
    code = info.driver_exit_code
    if info.status == "STOPPED":
        say(f"artquant: {info.submission_id} was stopped at {address}; the same command goes on where it stopped.")
        return 143
    if not code:
        say(f"artquant: {info.submission_id} ended without an exit code: {' '.join(str(info.message).split())[:300].rstrip('.')}.")
        return 1
    return 128 - code if code < 0 else code
