"""The page of one artwork: what the model looked at, how the score came about, and whether it comes again."""

from __future__ import annotations

from artquant.core.format import figure
from artquant.core.schema import CRITIQUE_PARTS, LEVELS
from artquant.records.explanation import Explanation, Second
from artquant.report.template import fill


def render_explanation(explanation: Explanation) -> str:
    """Render the complete page, UTF-8 text: some 30 KB for each of its nine pictures."""
    row = explanation.row
    return fill(
        "explanation.html",
        report=explanation,
        row=row,
        headline=f"{figure(row['score'], 2)}, {row['level']}: scored by {row['model_id']}.",
        shares=[(level, row[f"p_{level}"]) for level in LEVELS],
        texts=[(part, row[part]) for part in CRITIQUE_PARTS if row[part]],
        again=again(explanation.second),
    )


def again(second: Second) -> str:
    """Say whether a second scoring gave the same."""
    if second.is_same_content is False:
        return "The object is another one than the one that was scored, so the second score is not of the same picture."
    same = "The same score came again, to the last bit." if second.largest == 0 else f"It differs by {abs(second.difference):.1g} points."
    if second.has_same_texts is None:
        return same
    return f"{same} {'The texts are the same, too.' if second.has_same_texts else 'The texts are others.'}"
