"""`artquant sheet check.csv`: how far a person agrees with the judge, from the sheet that a describe run left."""

import csv
from pathlib import Path

from artquant.core.errors import UserError

_WORDS = {"yes": True, "y": True, "1": True, "no": False, "n": False, "0": False}


def run(arguments: list[str]) -> int:
    """Print the agreement with its interval. Raises UserError."""
    if len(arguments) != 1:
        raise UserError("Name one sheet: artquant sheet check.csv, as it lies beside a describe run's page.")
    try:
        rows = list(csv.DictReader(Path(arguments[0]).read_text(encoding="utf-8-sig").splitlines(keepends=True)))
    except (OSError, UnicodeError, csv.Error) as error:
        raise UserError(f"The sheet {arguments[0]} cannot be read: {error}.") from error
    answers = [(row.get("judge", ""), (row.get("fits") or "").strip().lower()) for row in rows]
    said = [(_WORDS[judge], _WORDS[person]) for judge, person in answers if person in _WORDS and judge in _WORDS]
    if not said:
        raise UserError(f"The sheet {arguments[0]} has no answers: write yes or no into the column fits.")
    from artquant.agreement.wilson import wilson

    num_same = sum(judge == person for judge, person in said)
    low, high = wilson(num_same, len(said))
    print(f"{len(said)} of {len(rows)} rows are answered; the person agrees with the judge on {num_same}:")
    print(f"  {num_same / len(said):.0%} (95 % interval {low:.0%} to {high:.0%})")
    kept = [person for judge, person in said if judge]
    if kept:
        low, high = wilson(sum(kept), len(kept))
        print(f"  of what the judge kept, {sum(kept) / len(kept):.0%} fit ({low:.0%} to {high:.0%})")
    return 0
