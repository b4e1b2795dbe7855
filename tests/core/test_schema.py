"""Which rejects the next night tries again."""

from artquant.core.schema import RejectClass


def test_what_may_be_otherwise_the_next_night_is_tried_again_and_nothing_else():
    tried_again = {RejectClass.MISSING, RejectClass.DENIED, RejectClass.THROTTLED, RejectClass.TIMEOUT}
    tried_again |= {RejectClass.UNANSWERED, RejectClass.BUDGET}
    assert {one for one in RejectClass if one.is_transient} == tried_again
