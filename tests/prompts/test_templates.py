"""Templates: what is filled in, what is refused and where, and what changes a digest."""

import pytest

from artquant.core.errors import UserError
from artquant.core.schema import CRITIQUE_PARTS
from artquant.prompts import parse_template, read_templates
from artquant.prompts.asking import Statistics, Subject, generator_questions, judge_question

JUDGE = "artquant template 1: judge\n== ask\nScore {score}\n{statistics}\n{description}\n== swapped\n{description} {score}\n"
TEXTS = {"perception": "Blue.", "cognition": "A sea.", "emotion": "Calm."}


def test_the_shipped_templates_say_the_score_the_statistics_the_comment_and_the_objection():
    templates = read_templates(None, is_tiny=False)
    subject = Subject(8.0, statistics=Statistics.of([2, 4, 6, 8, 9]), comment="By  Monet.", language="German")
    first = generator_questions(templates, subject)["whole"]
    for said in ("8.0 on a scale from 1 to 10", "mean is 5.8", "75 % of its paintings", '"By Monet."', "in German", "composition:"):
        assert said in first
    assert "refused" not in first
    again = generator_questions(templates, subject, "it praises too much.", TEXTS)["whole"]
    assert "refused: it praises too much. It said:\nBlue. A sea. Calm." in again
    bare = generator_questions(templates, Subject(8.0))["whole"]
    assert "deviation" not in bare and "viewer wrote" not in bare and "\n\n" not in bare


def test_a_template_may_ask_for_each_part_and_both_orders_say_the_same():
    templates = read_templates(None, is_tiny=True)
    questions = generator_questions(templates, Subject(8.0), "it contradicts itself", TEXTS)
    assert set(questions) == set(CRITIQUE_PARTS)
    assert questions["emotion"].startswith("Describe the emotion of this painting, which people gave 8.0 of 10: its mood")
    one, other = (judge_question(templates.judge, Subject(3.0), TEXTS, swapped) for swapped in (False, True))
    assert sorted(one.replace(".", " ").split())[:3] == sorted(other.replace(".", " ").split())[:3] and one != other
    assert one.index("3.0") < one.index("Blue.") and other.index("Blue.") < other.index("3.0")


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("judge\n", 1, "begins with the line"),
        (JUDGE.replace("template 1", "template 2"), 1, "update the program"),
        (JUDGE.replace(": judge", ": generator"), 1, "a judge is needed"),
        (JUDGE.replace("== swapped", "== turned"), 6, "no piece 'turned'"),
        (JUDGE + "== ask\n", 8, "there already"),
        (JUDGE.replace("{score}\n{stat", "{scores}\n{stat"), 3, "no field {scores}"),
        (JUDGE.replace("Score {score}", "Score {score"), 3, "braces do not match"),
        (JUDGE.replace("== ask", "hello\n== ask"), 2, "before the first piece"),
        (JUDGE.partition("== swapped")[0], 5, "swapped is missing"),
    ],
)
def test_a_bad_template_is_refused_by_name_and_line(text, line, why):
    with pytest.raises(UserError, match=rf"mine\.txt, line {line}: .*{why}"):
        parse_template(text, "judge", "mine.txt")


def test_a_digest_changes_with_what_is_said_and_not_with_a_note():
    plain = parse_template(JUDGE, "judge", "a.txt")
    assert parse_template(JUDGE.replace("== ask", "# why\n== ask"), "judge", "b.txt").digest == plain.digest
    assert parse_template(JUDGE.replace("Score", "Mark"), "judge", "a.txt").digest != plain.digest
