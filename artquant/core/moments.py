"""Points in time as people write them."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_TIME = re.compile(r"(\d{1,2}):(\d{2})(?:\s*(Z|UTC|[+-]\d{2}:\d{2}|[A-Za-z]+(?:/[\w+-]+)+))?")


def moment(text: str, now: datetime) -> datetime:
    """Return the next `06:00`, `06:00+02:00` or `06:00 Europe/Berlin` after `now`, or the moment `2026-11-28T06:00`; UTC without a zone.

    Raises ValueError for anything else.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None:
        try:
            at = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError("write 06:00, 06:00 Europe/Berlin, 06:00+01:00 or 2026-11-28T06:00") from None
        if len(text.strip()) <= len("2026-11-28"):
            raise ValueError("a day alone is no deadline: write a time too, as in 2026-11-28T06:00")
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    hour, minute, zone_name = found.groups()
    zone = _zone(zone_name)
    here = now.astimezone(zone)
    try:
        at = here.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    except ValueError:
        raise ValueError(f"there is no time {hour}:{minute}") from None
    return at if at > here else at + timedelta(days=1)


def _zone(name: str | None) -> tzinfo:
    if name in (None, "Z", "UTC"):
        return UTC
    if name[0] in "+-":
        return datetime.fromisoformat(f"2000-01-01T00:00{name}").tzinfo or UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r} on this machine: write it as Europe/Berlin, or as +01:00") from None
