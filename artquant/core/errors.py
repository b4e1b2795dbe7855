"""The ways in which things go wrong that are not our own bugs."""

import re

from artquant.core.schema import RejectClass


class UserError(Exception):
    """Something a person can mend: one sentence that says what is wrong and what to do. The process ends with `exit_code`."""

    exit_code = 2


class Reject(Exception):
    """One artwork that cannot be scored; it becomes one row in `rejects` and the run goes on."""

    def __init__(self, reject_class: RejectClass, message: str):
        super().__init__(f"{reject_class}: {message}")
        self.reject_class = reject_class
        self.message = message

    def __reduce__(self) -> tuple[type["Reject"], tuple[str, str]]:
        return Reject, (self.reject_class, self.message)


class RunFailed(Exception):
    """The run ended without a result that may be published; what was published before stays current. Exit code 1."""


class AnotherRun(UserError):
    """Another run has this output at the moment, or was first. Exit code 3."""

    exit_code = 3


class Held(UserError):
    """The run is finished and looks unlike the last one: a person releases it or gives it up. Exit code 4."""

    exit_code = 4


class OutcomeUnknown(UserError):
    """The store does not say whether the run is published: the same command finds out. Exit code 5."""

    exit_code = 5


class OlderProgram(UserError):
    """The output was written by a newer program than this. Exit code 2."""


_OWN = re.compile(r"(?:RunFailed|UserError): (.+)")
_NAMED = re.compile(r"^\s*[\w.]*(?:Error|Exception|Exit|Interrupt|Reject)\b.*: .+$", re.MULTILINE)
_WRAPPERS = ("UserCodeException", "RayTaskError", "WorkerGroupError", "TrainingFailedError", "ControllerError")


def root_cause(error: BaseException) -> str:
    """Return the sentence of ours in a remote traceback, or its first line that names a cause, as in 'OSError: no space left'."""
    text = str(error)
    if own := _OWN.search(text):
        return own[1].strip()
    lines = [line.strip() for line in _NAMED.findall(text)]
    return next((line for line in lines if not any(name in line for name in _WRAPPERS)), text.strip() or type(error).__name__)[:500]
