"""`artquant status`, `logs` and `stop`: the jobs on the cluster at RAY_ADDRESS, whoever submitted them."""

import os
import time
from typing import TYPE_CHECKING

from artquant.cli.remote import connected, followed, is_over, is_remote, ours
from artquant.core.errors import UserError
from artquant.core.format import duration

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

_LISTED = 15
_STOP_SECONDS = 60.0
_COMMANDS = ("status", "logs", "stop")


def run(command: str, arguments: list[str]) -> int:
    """Do it and return the exit code: that of the job for `logs`, 0 for the others. Raises UserError."""
    address, (name, *others) = os.environ.get("RAY_ADDRESS"), arguments or [""]
    if not is_remote(address):
        raise UserError(f"artquant {command} asks a cluster: set RAY_ADDRESS=http://head:8265, the address of its dashboard.")
    if others or name.startswith("-"):
        raise UserError(f"artquant {command} takes the name of one job, as artquant status lists them, or nothing.")
    with connected(str(address)) as client:
        jobs = ours(client)
        if command == "status":
            print_jobs([job for job in jobs if not name or job.submission_id == name], str(address))
            return 0
        job = chosen(jobs, name, command)
        if command == "stop":
            client.stop_job(str(job.submission_id))
            deadline = time.monotonic() + _STOP_SECONDS
            while not client.get_job_status(str(job.submission_id)).is_terminal() and time.monotonic() < deadline:
                time.sleep(0.5)
            status = client.get_job_status(str(job.submission_id)).value.lower()
            print(f"{job.submission_id} is {status}; the same command goes on where it stopped.")
            return 0
    return followed(client, str(address), str(job.submission_id))


def chosen(jobs: list["JobDetails"], name: str, command: str) -> "JobDetails":
    """Return the job of that name; without one the only one at work, or, to read, the last. Raises UserError where that is not clear."""
    if name:
        if found := [job for job in jobs if job.submission_id == name]:
            return found[0]
        raise UserError(f"There is no job {name!r} on this cluster: make status lists them.")
    working = [job for job in jobs if not is_over(job)]
    if len(working) > 1:
        names = ", ".join(str(job.submission_id) for job in working)
        raise UserError(f"{len(working)} jobs are at work ({names}): say which, as in make {command} ID={working[-1].submission_id}.")
    if working or (jobs and command == "logs"):
        return (working or jobs)[-1]
    raise UserError(f"There is no job to {'stop' if command == 'stop' else 'read of'} on this cluster.")


def print_jobs(jobs: list["JobDetails"], address: str) -> None:
    from rich.console import Console

    from artquant.cli.summary import plain_table

    if not jobs:
        print(f"There is no job of ours on {address}.")
        return
    table = plain_table("left", "left", "left", "right", "left")
    for job in jobs[-_LISTED:]:
        began = (job.start_time or 0) / 1000
        took = ((job.end_time or time.time() * 1000) / 1000 - began) if began else 0.0
        started = time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)) if began else ""
        code = f"exit {job.driver_exit_code}" if is_over(job) and job.driver_exit_code is not None else ""
        table.add_row(str(job.submission_id), str(job.status.value).lower(), started, duration(took), code)
    Console(highlight=False, soft_wrap=True).print(table)
