"""A night with an end: how much fits into the time that is left. Scores first, then texts; a run, and a snapshot, for each piece."""

from collections.abc import Callable
from dataclasses import dataclass

SAFETY = 0.8  # of the time that is left is planned with: rates of a night vary, and a run is not cut off
FIRST = 1024  # artworks, at the most, of a run whose rate nobody knows yet
SLOWEST = {False: 5.0, True: 0.5}  # artworks a second that are believed of it: scores, and texts, on a few cores
OVERHEAD_SECONDS = 60.0  # of a run beside its scoring, before the first one is measured


@dataclass(frozen=True)
class Piece:
    """What a run did: artworks, those that are left for later, and artworks a second while it scored (None: too few to say)."""

    num_done: int
    num_left: int
    pace: float | None = None


def fitting(seconds: float, texts: bool, pace: float | None, overhead: float) -> int:
    """Return how many artworks a run takes that is to be over in so many seconds; 0 where starting one is not worth it."""
    usable = (seconds - overhead) * SAFETY
    if usable < overhead / 4:
        return 0
    return min(FIRST, int(usable * SLOWEST[texts])) if pace is None else int(usable * pace)


def pieces(
    run: Callable[[bool, int], Piece],
    seconds_left: Callable[[], float],
    paces: dict[bool, float | None],
    overhead: float = OVERHEAD_SECONDS,
    begin_with_texts: bool = False,
    with_texts: bool = True,
) -> dict[bool, int | None]:
    """Call `run(texts, room)` until all is done or the time is over; return how many scores (False) and texts (True) are left, None where
    that was not found out.

    `paces`: artworks a second, as earlier nights measured them. `begin_with_texts`: a run of texts was broken off, and stands before all.
    """
    left: dict[bool, int | None] = {False: None, True: None}
    for texts in (True, False, True)[0 if begin_with_texts else 1 : 3 if with_texts else 2]:
        while room := fitting(seconds_left(), texts, paces.get(texts), overhead):
            before = seconds_left()
            piece = run(texts, room)
            took = before - seconds_left()
            left[texts] = piece.num_left
            if piece.num_done:
                paces[texts] = piece.pace or piece.num_done / max(took, 1e-3)
                overhead = max(0.0, took - piece.num_done / paces[texts])  # type: ignore[operator]
            if not piece.num_left or not piece.num_done:
                break
            if begin_with_texts and left[False] is None:
                break  # the piece that was broken off; scores come before the next one
    return left
