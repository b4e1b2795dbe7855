"""The ways in which things go wrong that are not our own bugs."""

from artquant.schema import RejectClass


class UserError(Exception):
    """Something a person can mend: one sentence that says what is wrong and what to do. The process ends with exit code 2."""


class Reject(Exception):
    """One artwork that cannot be scored; it becomes one row in `rejects` and the run goes on."""

    def __init__(self, reject_class: RejectClass, message: str):
        super().__init__(f"{reject_class}: {message}")
        self.reject_class = reject_class
        self.message = message

    def __reduce__(self):
        return Reject, (self.reject_class, self.message)


class RunFailed(Exception):
    """The run ended without a result that may be published; what was published before stays current. Exit code 1."""
