"""What an error of the native client or of the file system means, in a class and a few words that are the same for the same problem."""

from __future__ import annotations

import errno
import os
import re
from functools import cache

from artquant.core.schema import RejectClass

NO_CONNECTION = "no connection"
BROKEN_OFF = "the answer broke off"
NO_BUCKET = "the bucket does not exist"
_THROTTLES = {"SlowDown", "Throttling", "ThrottlingException", "RequestThrottled", "RequestLimitExceeded", "TooManyRequests"}
_EXPIRED = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired", "RequestTimeTooSkewed"}
_ABSENT = {
    errno.ENOENT: "the object does not exist",
    errno.ENOTDIR: "the object does not exist",
    errno.EISDIR: "there is a folder of this name",
    errno.ELOOP: "the link leads to itself",
}
_DISK = {  # what a disk refuses whoever asks, and what to do
    errno.ENOSPC: ("the disk is full", "make room there"),
    errno.EDQUOT: ("the quota of the disk is used up", "make room there"),
    errno.EROFS: ("the file system is read-only", "choose another place, or mount it for writing"),
    errno.EEXIST: ("a file stands where a folder is needed", "choose another place"),
}
_NOT_UTF8 = re.compile("\ufffd[0-9a-f]{2}")
_ADVICE = {
    RejectClass.MISSING: "create it, or correct the address",
    RejectClass.DENIED: "check the credentials and what they allow",
    RejectClass.THROTTLED: "try again later",
    RejectClass.UNSUPPORTED: "rename it",
}


class Changed(Exception):
    """The object is not the version that was to be replaced."""


class BrokenOff(OSError):
    """The answer is shorter than the object."""


@cache
def store_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that the native client and the file system raise when they refuse or fail."""
    from obstore.exceptions import BaseError

    return BaseError, OSError


def write_errors() -> tuple[type[Exception], ...]:
    """Return the same, and that a conditional write was refused."""
    return Changed, *store_errors()


def is_conflict(error: Exception) -> bool:
    """Tell whether a conditional write was refused because of what is there."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    return isinstance(error, (AlreadyExistsError, PreconditionError, Changed))


def readable_name(name: str) -> str:
    """Return a file's name as text that a table can hold.

    Each byte that is not UTF-8 becomes U+FFFD and two digits, so that two names stay distinct.
    """
    decoded = os.fsencode(name).decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda byte: f"\ufffd{ord(byte[0]) - 0xDC00:02x}", decoded)


def classify(error: Exception) -> tuple[RejectClass, str]:
    """Return the class of an error and a few words about it, without addresses.

    5xx and 429 count as THROTTLED; no connection, no answer in time, half an answer and anything unknown count as TIMEOUT.
    """
    if isinstance(error, OSError) and error.errno:
        return _explain_file(error)
    if isinstance(error, BrokenOff):
        return RejectClass.TIMEOUT, BROKEN_OFF
    text = str(error)
    status = int(match[1]) if (match := re.search(r"status code: (\d{3})", text)) else 0
    code = match[1] if (match := re.search(r"<Code>(\w+)</Code>", text)) else ""
    detail = " ".join(filter(None, (str(status or ""), code)))
    if status == 501:
        return RejectClass.DENIED, f"the store cannot do this ({detail})"
    if status == 429 or status >= 500 or code in _THROTTLES:  # some stores throttle with a 403
        return RejectClass.THROTTLED, f"the store is overloaded or failing ({detail})"
    if code in ("NoSuchBucket", "ContainerNotFound"):
        return RejectClass.MISSING, NO_BUCKET
    if isinstance(error, FileNotFoundError) or status == 404:
        return RejectClass.MISSING, "the object does not exist"
    if code in _EXPIRED:
        return RejectClass.DENIED, f"the credentials are out of date ({detail})"
    if status == 408 or "kind: Timeout" in text or "TimedOut" in text:
        return RejectClass.TIMEOUT, "no answer in time"
    if status in (301, 307, 400) or "BareRedirect" in text:
        return RejectClass.DENIED, f"the store refuses the request ({detail or 'redirect'}): is AWS_REGION the bucket's region?"
    if status >= 400 or "Unauthenticated" in type(error).__name__:
        return RejectClass.DENIED, f"access is denied ({detail})" if detail else "access is denied"
    if "certificate" in text.lower():
        return RejectClass.TIMEOUT, "the server's certificate is not trusted (AWS_CA_BUNDLE names those that are)"
    if "Connect" in text and "ConnectionReset" not in text or "dns error" in text:
        return RejectClass.TIMEOUT, NO_CONNECTION
    if "IncompleteBody" in text or "kind: Interrupted" in text or "ConnectionReset" in text:
        return RejectClass.TIMEOUT, BROKEN_OFF
    if "error sending request" in text or "HTTP error" in text:
        return RejectClass.TIMEOUT, "the connection broke"
    return RejectClass.TIMEOUT, _without_addresses(text)


def _explain_file(error: OSError) -> tuple[RejectClass, str]:
    number = error.errno
    if number == errno.ENOENT and _NOT_UTF8.search(str(error.filename)):
        return RejectClass.UNSUPPORTED, "the name is not UTF-8"
    if number == errno.ENAMETOOLONG:
        return RejectClass.UNSUPPORTED, "the name is too long"
    if number in _ABSENT:
        return RejectClass.MISSING, _ABSENT[number]
    if number in _DISK:
        return RejectClass.DENIED, _DISK[number][0]
    if number in (errno.EACCES, errno.EPERM):
        return RejectClass.DENIED, "access is denied (by the file system)"
    return RejectClass.TIMEOUT, os.strerror(number or 0)


def _without_addresses(text: str) -> str:
    """Shorten the text so that it is the same for every object: without its address, and without how long it took."""
    text = re.sub(r"\S+://\S+|\b\d[\d.]*(?:ns|µs|us|ms|s)\b", "...", text.partition("\n")[0])
    return text[:200] or "unknown trouble"


def user_message(error: Exception, doing: str, connection_hint: str) -> str:
    """Write the message for a person when `doing` ('write s3://b/k') failed; `connection_hint` is the advice if there was no answer."""
    reject_class, detail = classify(error)
    advice = dict(_DISK.values()).get(detail, _ADVICE.get(reject_class, connection_hint))
    if "out of date" in detail:
        advice = "renew them, then run again"
    if reject_class is RejectClass.DENIED and "file system" in detail and detail not in dict(_DISK.values()):
        advice = "check who owns it and its permissions"
    return f"Cannot {doing}: {detail.replace('the object', 'it')}; {advice}."
