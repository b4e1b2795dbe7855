"""`make submit JOB=score ARGS="key=value ..."`: the one door to all jobs.

Exit codes: 0 done, 1 the run failed, 2 something for a person to mend, 130 stopped.
"""

import importlib
import os
import sys

from artquant.cli.remote import is_remote, submit
from artquant.errors import Reject, RunFailed, UserError

JOBS = {
    "score": "score a collection of artworks and write Parquet",
    "train": "retrain on annotations, judge the result, promote it if it is better",
    "evaluate": "measure how well a model agrees with people's ratings",
}


def main(arguments: list[str]) -> int:
    try:
        if not arguments or arguments[0] not in JOBS:
            said = f"There is no job {arguments[0]!r}" if arguments and arguments[0] else "No job was named"
            raise UserError(
                f"{said}: say make submit JOB=..., one of " + ", ".join(f"{name} ({what})" for name, what in JOBS.items()) + "."
            )
        address = os.environ.get("RAY_ADDRESS")
        job = importlib.import_module(f"artquant.cli.{arguments[0]}")
        if is_remote(address):
            job.check_remote(arguments[1:])
            return submit(str(address), arguments[0], arguments[1:])
        return job.main(arguments[1:])
    except UserError as error:
        print(f"artquant: {error}", file=sys.stderr)
        return 2
    except (RunFailed, Reject) as error:  # a Reject here is an object of the run itself that could not be read
        print(f"artquant: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("artquant: Stopped. Nothing was published; what was published before is current still.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
