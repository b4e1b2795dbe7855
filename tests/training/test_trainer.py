"""What Ray Train is asked for."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from artquant.training import trainer


@pytest.fixture
def asked(make_task, monkeypatch):
    """`asked(**fit)`: the scaling and the run that a task's settings come to. No Ray is needed."""

    def asked(**fit):
        seen = []

        class Trainer:
            def __init__(self, **given):
                seen.append(given)

            def fit(self):
                pass

        answer = SimpleNamespace(aborted=SimpleNamespace(remote=lambda: None))
        monkeypatch.setattr(trainer, "TorchTrainer", Trainer)
        monkeypatch.setattr(trainer, "start_monitor", lambda: answer)
        monkeypatch.setattr(trainer, "show_training", lambda monitor: nullcontext())
        monkeypatch.setattr(trainer, "ray", SimpleNamespace(put=lambda value: value, get=lambda value: value))
        trainer.fit(make_task(**fit))
        return seen[0]["scaling_config"], seen[0]["run_config"]

    return asked


def test_workers_are_as_many_and_have_what_the_settings_say(asked):
    scaling, _ = asked(num_workers=3, num_gpus=0.5, num_cpus=2)
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (3, True, {"CPU": 2.0, "GPU": 0.5})
    scaling, _ = asked(num_cpus=0.25)
    assert (scaling.num_workers, scaling.use_gpu, scaling.resources_per_worker) == (1, False, {"CPU": 0.25})


@pytest.mark.parametrize("deaths", [0, 5])
def test_a_run_survives_so_many_deaths(asked, deaths):
    assert asked(max_failures=deaths)[1].failure_config.max_failures == deaths
