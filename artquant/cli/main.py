"""The command `artquant`: the one door to all jobs. `make submit JOB=score ARGS="key=value ..."` calls it.

Exit codes: 0 done, 1 the run failed, 2 something for a person to correct, 3 another run has the output, 4 held, 5 unknown whether it is
published, 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

import errno
import importlib
import os
import sys
from difflib import get_close_matches

from artquant.cli.ends import Stopped, heed_signals, supervised, whole_cause
from artquant.cli.help import CLUSTER, COMMANDS, JOBS, OPERATIONS, job_help, overview
from artquant.config import Section
from artquant.core.errors import Reject, RunFailed, UserError
from artquant.progress import log

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the machine's own: a store's trouble has sentences of its own
HELP = ("--help", "-h", "help")


def command() -> None:
    """Run the console script."""
    sys.exit(supervised(main, sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Return the exit code; whatever goes wrong is one sentence on stderr."""
    try:
        return guarded(arguments)
    finally:
        log.as_text()


def guarded(arguments: list[str]) -> int:
    """Do as :func:`main`, in the log format that the job asked for."""
    try:
        with heed_signals():
            return run(arguments)
    except UserError as error:
        return say_last(str(error), error.exit_code)
    except (RunFailed, Reject) as error:  # a Reject here is an object of the run itself that could not be read
        return say_last(str(error), 1)
    except KeyboardInterrupt as error:
        code = error.exit_code if isinstance(error, Stopped) else 130
        return say_last(str(error) or "Stopped. Nothing was published; what was published before is current still.", code)
    except (BrokenPipeError, SystemExit) as error:
        # Nobody reads stdout any more, as after `| head`; it has only what is said when the work is done. rich makes a SystemExit of it.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        return 0
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            where = f" {error.filename}" if error.filename else " what the job needs on this machine"
            return say_last(f"Cannot write{where}: {error.strerror}; make room, or set ARTQUANT_HOME to another folder.", 2)
        return say_last(f"Stopped by an error that nobody foresaw: {whole_cause(error)}.", 1)


def say_last(sentence: str, code: int) -> int:
    log.tell("exit", f"artquant: {sentence}", "error", exit_code=code)
    return code


def run(arguments: list[str]) -> int:
    """Do what is asked for. Raises UserError, RunFailed and Stopped."""
    name, *settings = arguments or [""]
    if name in HELP:
        print(overview())
        return 0
    if name == "--version":
        from importlib.metadata import version

        print(f"artquant {version('artquant-jobs')}")
        return 0
    if name in COMMANDS or name.startswith("--registry"):
        from artquant.cli import models

        return models.run(arguments)
    if name in CLUSTER:
        from artquant.cli import jobs

        return jobs.run(name, settings)
    if name in OPERATIONS:
        return int(importlib.import_module(f"artquant.cli.{name}").run(settings))
    if name not in JOBS:
        raise UserError(unknown_job(name))
    asked_for_help = any(setting in HELP for setting in settings)
    if asked_for_help:
        print(job_help(name, spec_of(name)))
        return 0
    # Read when Ray is imported, by whichever thread: else one that asks Ray something after its end joins any other Ray on this machine.
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"
    from artquant.cli.remote import is_remote, submit

    job, address = importlib.import_module(f"artquant.cli.{name}"), os.environ.get("RAY_ADDRESS")
    if is_remote(address):
        return submit(str(address), name, settings, job.check_remote(settings))
    return int(job.main(settings))


def unknown_job(name: str) -> str:
    jobs = ", ".join(f"{job} ({what})" for job, what in JOBS.items())
    if not name:
        return f"No job was named: say artquant JOB or make submit JOB=..., one of {jobs}."
    if "=" in name:
        return f"{name!r} is a setting, and the job comes first: artquant score {name} ..."[:300].rstrip(".") + "."
    if meant := get_close_matches(name, [*JOBS, *COMMANDS, *OPERATIONS, *CLUSTER], n=1):
        return f"There is no job {name!r}: did you mean {meant[0]}? The jobs are {jobs}."
    return f"There is no job {name!r}: the jobs are {jobs}."


def spec_of(job: str) -> type[Section]:
    """Return the job's settings: `ScoreSpec` of artquant.config.score, and so on."""
    kind: type[Section] = getattr(importlib.import_module(f"artquant.config.{job}"), f"{job.title()}Spec")
    return kind
