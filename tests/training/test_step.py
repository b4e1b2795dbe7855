"""What a step does with each of its settings, seen on the gradients, the batches and the optimizer that it works with."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from artquant.config import LossSpec
from artquant.core.errors import UserError
from artquant.core.scale import Scale
from artquant.core.schema import LEVELS
from artquant.training import loop
from artquant.training.data import Task
from artquant.training.lessons import MIN_SIGMA, check_lessons, lessons, parts_of, soft_labels
from artquant.training.schedule import learning_rate
from artquant.training.training_model import TrainingModel
from tests.training.steps import UNCLIPPED, assert_close, gradients, norm, take_step, worker_of


def test_each_task_weighs_in_the_gradient_what_its_loss_weight_says(make_task):
    def of(description: float, score: float) -> dict[str, torch.Tensor]:
        return gradients(make_task(loss=LossSpec(description=description, score=score), **UNCLIPPED))

    texts, scores, both = of(1.0, 0.0), of(0.0, 1.0), of(0.5, 3.0)
    assert_close(both, {name: 0.5 * texts[name] + 3.0 * scores[name] for name in texts}, 1e-3)
    assert norm({name: texts[name] - scores[name] for name in texts}) > 0.1 * norm(texts), "they are alike: nothing is compared"


def test_the_describe_jobs_parts_are_learnt_where_that_is_asked(make_task):
    plain, both = (worker_of(make_task(loss=LossSpec(roles=roles))) for roles in (0.0, 1.0))
    assert [len(one) for one in plain.examples] < [len(one) for one in both.examples]
    verdicts = [example.verdict_position >= 0 for example in both.examples[0]]
    assert verdicts[-2:] == [True, True] and not any(verdicts[:-2]), "two descriptions to judge come last"


def test_verdicts_weigh_what_is_said(make_task):
    def of(roles: float) -> dict[str, torch.Tensor]:
        return gradients(make_task(loss=LossSpec(description=0.0, score=0.0, roles=roles), **UNCLIPPED))

    once, thrice = of(1.0), of(3.0)
    assert norm(once) > 0
    assert_close(thrice, {name: 3.0 * once[name] for name in once}, 1e-3)


def test_a_task_that_weighs_nothing_teaches_nothing(make_task):
    silent = gradients(make_task(loss=LossSpec(description=0.0, score=0.0), **UNCLIPPED))
    assert all(not part.any() for part in silent.values())


def test_a_longer_gradient_is_scaled_down_to_the_norm_and_keeps_its_direction(make_task):
    whole, cut = gradients(make_task(**UNCLIPPED)), gradients(make_task(max_grad_norm=0.01))
    assert norm(cut) == pytest.approx(0.01, rel=1e-3) and norm(whole) > 0.1
    assert_close({name: part * norm(whole) / norm(cut) for name, part in cut.items()}, whole, 1e-3)


def test_a_step_is_so_many_passes_over_so_many_artworks(make_task, monkeypatch):
    worker = worker_of(make_task(steps=1, batch_size=2, gradient_accumulation_steps=3))
    model, seen = worker.training_model, []
    forward = model.forward

    def noted(batch, *given, **options):
        if model.training:  # not the validation
            seen.append(len(batch.pixels))
        return forward(batch, *given, **options)

    monkeypatch.setattr(model, "forward", noted)
    worker.run()
    assert seen == [2, 2, 2]


def test_the_rate_of_each_step_is_the_schedules(make_task):
    worker = worker_of(make_task(steps=8, learning_rate=1e-4, warmup_ratio=0.5))
    rates = []
    for step in (0, 3, 7):
        take_step(worker, step)
        rates.append(worker.optimizer.param_groups[0]["lr"])
    assert rates == [learning_rate(step, 0, 8, 1e-4, 0.5) for step in (0, 3, 7)] and len(set(rates)) == 3


@pytest.mark.parametrize(("dtype", "product"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_products_are_of_the_dtype_and_weights_stay_whole(make_task, dtype, product):
    worker = worker_of(make_task(dtype=dtype))
    seen = set()
    worker.network.model.lm_head.register_forward_hook(lambda module, given, made: seen.add(made.dtype))
    take_step(worker)
    assert seen == {product}
    assert {p.dtype for p in worker.bare.parameters()} == {torch.float32}


def test_checkpointed_activations_are_computed_again_and_change_no_gradient(make_task):
    calls, found = {}, {}
    for again in (False, True):
        worker = worker_of(make_task(gradient_checkpointing=again, gradient_accumulation_steps=1, **UNCLIPPED))
        calls[again] = []
        worker.network.model.model.layers[0].self_attn.q_proj.register_forward_hook(lambda *_, of=calls[again]: of.append(1))
        take_step(worker)
        found[again] = {name: p.grad for name, p in worker.bare.named_parameters() if p.grad is not None}
    assert len(calls[True]) == 2 * len(calls[False]) > 0
    assert_close(found[True], found[False])


def test_examples_are_taken_by_length_and_what_is_learnt_is_what_a_single_group_teaches(make_task, monkeypatch):
    found, losses, places = {}, {}, {}
    for num_groups in (1, 4):
        monkeypatch.setattr(TrainingModel, "num_groups", num_groups)
        worker = worker_of(make_task(loss=LossSpec(score=1.0, roles=1.0, rank=1.0), gradient_accumulation_steps=1, **UNCLIPPED))
        sizes = places[num_groups] = []
        worker.network.layers[0].register_forward_hook(lambda module, given, made, to=sizes: to.append(given[0].shape[:2].numel()))
        losses[num_groups] = take_step(worker)
        found[num_groups] = {name: p.grad for name, p in worker.bare.named_parameters() if p.grad is not None}
    assert (len(places[1]), len(places[4])) == (1, 4) and sum(places[4]) < 0.85 * sum(places[1])
    assert losses[4] == pytest.approx(losses[1], rel=1e-5)
    assert_close(found[4], found[1], 1e-5)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_several_workers_share_the_network_by_the_strategy(make_task, monkeypatch, strategy):
    wrapped = []
    monkeypatch.setattr("torch.nn.parallel.DistributedDataParallel", lambda module, **options: wrapped.append("ddp") or module)
    monkeypatch.setattr("torch.distributed.fsdp.fully_shard", lambda module: wrapped.append("fsdp") or module)
    worker = loop.Worker(make_task(strategy=strategy), 0, 2, torch.device("cpu"))
    assert wrapped == (["ddp"] if strategy == "ddp" else ["fsdp"] * (len(worker.network.layers) + 1))
    assert (worker.bare.num_groups > 1) == (strategy == "ddp"), "each group would gather FSDP's weights anew"


def order_of(task: Task, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The rows of each step of a run."""
    rows_of_steps = []

    def step(worker, number, rows, batches):
        rows_of_steps.append(np.ravel(rows).tolist())
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(loop.Worker, "_step", step)
        loop.run(task, 0, 1, torch.device("cpu"))
    return rows_of_steps


def test_the_seed_draws_the_order_of_the_artworks_and_steps_says_how_many(make_task, monkeypatch):
    first, same, other = (order_of(make_task(name, seed=seed, steps=3), monkeypatch) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first == same != other
    assert [len(rows) for rows in first] == [6, 6, 6] and len(order_of(make_task("d", steps=2), monkeypatch)) == 2


def test_a_validation_looks_at_so_many_artworks(make_task):
    assert len(worker_of(make_task(validation_limit=4)).judged_scores) == 4
    assert len(worker_of(make_task()).judged_scores) == 6


def test_a_collection_is_kept_decoded_where_the_memory_for_it_suffices(make_task):
    assert worker_of(make_task(keep_in_memory_mb=1)).pictures.kept is not None
    assert worker_of(make_task(keep_in_memory_mb=0)).pictures.kept is None


def test_the_warm_up_teaches_the_score_and_the_columns_that_are_named(make_task):
    task = make_task(from_nothing=True, warmup_steps=1)
    heads = worker_of(task).bare.vision_warmup
    subjects = set(task.train.column("subject").to_pylist())
    assert heads.sizes == [len(subjects)] and heads.measures.shape == (24, 2)
    alone = task.spec.model_copy(update={"vision_warmup": task.spec.vision_warmup.model_copy(update={"columns": ()})})
    heads = worker_of(replace(task, spec=alone)).bare.vision_warmup
    assert heads.sizes == [] and heads.measures.shape == (24, 1)


def test_the_raters_own_spread_makes_the_target_and_the_settings_where_it_is_not_known(make_task):
    narrow, wide = (worker_of(make_task(loss=LossSpec(sigma=sigma))) for sigma in (0.5, 2.0))
    assert np.isfinite(narrow.targets).all() and np.allclose(narrow.targets.sum(1), 1)
    is_known = np.array([row["sigma"] is not None for row in narrow.rows])
    assert np.allclose(narrow.targets[is_known], wide.targets[is_known])
    assert narrow.targets[~is_known].max(1).mean() > wide.targets[~is_known].max(1).mean() + 0.1
    unanimous = [row["sigma"] == 0 for row in narrow.rows]
    assert any(unanimous) and any(row["sigma"] == 0.8 for row in narrow.rows)
    judged = {worker.spec.loss.sigma: worker.judged_targets for worker in (narrow, wide)}
    assert not np.array_equal(judged[0.5], judged[2.0])


def test_raters_who_all_agree_still_mean_a_little_spread():
    def target(sigma: float | None) -> np.ndarray:
        return soft_labels([{"score": 6.0, "sigma": sigma}], Scale(), LossSpec())

    least = MIN_SIGMA * Scale().gap
    assert (least, LossSpec().sigma * Scale().gap) == (0.25, 1.0), "the published spreads on APDD's scale"
    assert np.array_equal(target(0.0), target(least)) and np.array_equal(target(None), target(1.0))
    assert not np.array_equal(target(least), target(2 * least)) and target(0.0).shape == (1, len(LEVELS))


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 5), (0, 100)])
def test_the_spread_is_in_gaps_so_that_every_scale_has_the_same_labels(low, high):
    def scaled(low: float, high: float) -> np.ndarray:
        place = np.array([1, 0.75, 0.5, 0.25, 0])
        rows = [{"score": low + (high - low) * share, "sigma": None} for share in (0.2, 0.5, 0.9)]
        return soft_labels(rows, Scale(tuple((low + (high - low) * place).tolist())), LossSpec())

    assert np.allclose(scaled(low, high), scaled(1, 10), atol=1e-9)


VOTES = [{"value": 3.0, "count": 30.0}, {"value": 5.0, "count": 5.0}, {"value": 8.75, "count": 10.0}]


def test_a_histogram_of_votes_is_the_label_itself_with_the_votes_mean():
    def label(votes, **changes) -> np.ndarray:
        return soft_labels([{"score": 4.6, "sigma": 2.0, "votes": votes}], Scale(), LossSpec(**changes))[0]

    mean = (3 * 30 + 5 * 5 + 8.75 * 10) / 45
    assert label(VOTES) @ Scale().values == pytest.approx(mean)
    assert label(VOTES) == pytest.approx([5 / 45, 5 / 45, 5 / 45, 24 / 45, 6 / 45]), "8.75 lies between 7.5 and 10, 3 between 1 and 3.5"
    estimated = label(None)
    assert np.array_equal(label(VOTES, soft_labels="estimated"), estimated) and not np.allclose(label(VOTES), estimated)
    assert np.array_equal(label([{"value": 3.0, "count": 8.0}]), estimated), "eight votes are no histogram"
    shares = [{**vote, "count": vote["count"] / 45} for vote in VOTES]
    assert label(shares) == pytest.approx(label(VOTES)) and label([{"value": 20.0, "count": 20.0}])[0] == 1


def test_lessons_are_counted_and_a_part_that_is_asked_for_and_has_none_is_refused():
    rows = [{"score": 1.0, "perception": " ", "comment": "I like it."}, {"score": None, "perception": "Blue."}]
    assert lessons(rows) == {"score": 1, "perception": 1, "cognition": 0, "emotion": 0, "comment": 1}
    assert parts_of(LossSpec(), rows) == ("perception", "comment") and parts_of(LossSpec(parts=()), rows) == ()
    assert check_lessons(LossSpec(), rows) == {"score": 1, "perception": 1, "comment": 1}
    assert check_lessons(LossSpec(parts=("comment",)), rows) == {"score": 1, "comment": 1}
    with pytest.raises(UserError, match=r"asks for emotion, of which .* no text \(they have 1 perception, 1 comment\): name others"):
        check_lessons(LossSpec(parts=("perception", "emotion")), rows)


def test_comments_are_learnt_where_there_are_some(make_task):
    task = make_task(loss=LossSpec(parts=("comment",), score=0.0), **UNCLIPPED)
    commented = replace(task, train=task.train.append_column("comment", pa.array(["A calm harbour."] * len(task.train))))
    worker = worker_of(commented)
    assert worker.examples[0][1].num_answer_tokens > 2 and take_step(worker)["description"] > 0


def test_artworks_of_a_pass_are_ranked_against_each_other_where_that_weighs_something(make_task):
    def of(rank: float) -> dict[str, torch.Tensor]:
        return gradients(make_task(loss=LossSpec(description=0.0, score=0.0, rank=rank), **UNCLIPPED))

    assert all(not part.any() for part in of(0.0).values())
    one, three = of(1.0), of(3.0)
    assert norm(one) > 0
    assert_close(three, {name: 3 * part for name, part in one.items()}, 1e-3)


def test_a_run_learns_where_all_raters_agree(make_task):
    task = make_task()
    index = task.train.schema.get_field_index("sigma")
    agreed = task.train.set_column(index, "sigma", pa.array([0.0] * len(task.train)))
    assert take_step(worker_of(replace(task, train=agreed)))
