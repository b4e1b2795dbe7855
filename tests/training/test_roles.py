"""What a model learns of the describe job's parts: one text with the score given, and a description that fits beside one that does not."""

import numpy as np

from artquant.annotations.pairs import FAULTS, Fault, pair_of
from artquant.core.scale import Scale
from artquant.prompts import read_templates
from artquant.training.roles import dialogues

ROWS = [
    {"score": score, "perception": f"sees {number}", "cognition": f"thinks {number}", "emotion": f"feels {number}"}
    for number, score in enumerate((1.5, 2.0, 6.0, 6.4, 9.0, 9.5))
]


def test_each_fault_is_what_its_name_says():
    rng = np.random.default_rng(0)
    for row, own in enumerate(ROWS):
        texts = {part: own[part] for part in ("perception", "cognition", "emotion")}
        right = pair_of(ROWS, row, Fault.NONE, Scale(), rng)
        assert right and (right.texts, right.score, right.reason) == (texts, own["score"], "")
        for fault in FAULTS:
            pair = pair_of(ROWS, row, fault, Scale(), rng)
            if pair is None:
                assert fault is Fault.CONTRADICTION and 5 < own["score"] < 5.5 or row in (2, 3)
                continue
            changed = sum(pair.texts[part] != texts[part] for part in texts)
            assert changed == {Fault.OTHER_PICTURE: 3, Fault.OTHER_SCORE: 0, Fault.CONTRADICTION: 1}[fault]
            assert (abs(pair.score - own["score"]) == 3) is (fault is Fault.OTHER_SCORE)
            if fault is Fault.OTHER_SCORE:
                assert ("better" in pair.reason) is (pair.score < own["score"])


def test_each_row_teaches_one_text_with_its_score_and_two_verdicts_the_same_each_time():
    rows = [*ROWS, {"score": None, "perception": "x"}]
    made = list(dialogues(rows, read_templates(None, is_tiny=True), Scale(), 3))
    assert made == list(dialogues(rows, read_templates(None, is_tiny=True), Scale(), 3)) and made[-1] == []
    for number, (told, right, *wrong) in enumerate(made[:-1]):
        assert f"which people gave {ROWS[number]['score']:.1f} of 10" in told[0] and told[1].endswith(f" {number}")
        assert right[1] == " yes." and all(answer.startswith(" no, it ") for _, answer in wrong)
    assert sum(len(row) for row in made) >= 3 * len(ROWS) - 2
