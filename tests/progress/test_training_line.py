"""What a person reads while a model is trained."""

from artquant.progress.training import TrainingMonitor, progress_line


def line_at(monitor: TrainingMonitor, step: int, seconds: float) -> str:
    monitor.trained(step, 10, 30, 4, {"description": 1.5}, seconds)
    return progress_line(monitor.now)


def test_the_time_left_is_that_of_the_warm_up_and_then_of_the_steps_that_follow_at_their_own_rate():
    monitor = TrainingMonitor()
    lines = {step: line_at(monitor, step, 100 + step) for step in range(1, 11)}
    assert lines[1] == "train 1/30  description 1.500"
    assert lines[4] == "train 4/30  description 1.500  4.0 artworks/s, 6.0 s left of the vision warm-up"
    later = {step: line_at(monitor, step, 110 + 10 * (step - 10)) for step in range(11, 31)}
    assert later[11] == "train 11/30  description 1.500"
    assert later[20] == "train 20/30  description 1.500  0.4 artworks/s, 1 min 40 s left"


def test_a_run_that_goes_on_counts_from_where_it_does():
    monitor = TrainingMonitor()
    line_at(monitor, 21, 500.0)
    assert line_at(monitor, 23, 504.0).endswith("2.0 artworks/s, 14 s left")
