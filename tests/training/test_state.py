"""Which checkpoint is the best."""

from artquant.training.state import History, with_validation


def test_the_best_has_the_highest_srcc_and_until_one_is_known_it_is_the_last():
    seen = []
    history = History()
    for step, value in enumerate([None, "constant", 0.4, 0.6, 0.5, "constant", 0.6], 1):
        record = None if value is None else {"srcc": None if value == "constant" else value, "plcc": None, "losses": {}}
        history = with_validation(history, step, record)
        seen.append((history.best_step, history.best_value))
    assert seen == [(1, None), (2, None), (3, 0.4), (4, 0.6), (4, 0.6), (4, 0.6), (4, 0.6)]
    assert [one["step"] for one in history.validations] == [2, 3, 4, 5, 6, 7]
    assert history.last_step == 7
