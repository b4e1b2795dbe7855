"""How long a run is."""

import pytest

from artquant.config import FitSpec


@pytest.mark.parametrize(
    ("fit", "num_steps"),
    [
        ({"steps": 7}, 7),
        ({"steps": None}, 12),  # three epochs of 24 artworks, six a step
        ({"steps": None, "epochs": 0.5}, 2),
        ({"steps": None, "epochs": 0.01}, 1),
        ({"steps": None, "batch_size": 1}, 36),
        ({"steps": None, "gradient_accumulation_steps": 4}, 6),
        ({"steps": None, "num_workers": 2}, 6),
    ],
)
def test_a_run_is_so_many_steps_or_as_many_as_its_epochs_take(make_task, fit, num_steps):
    assert FitSpec().epochs == 3.0
    assert make_task(**fit).num_steps == num_steps
