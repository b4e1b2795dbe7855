"""The training loop of one worker: torch and torch.distributed alone, whoever started it."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from artquant.agreement.metrics import plcc, srcc
from artquant.core.errors import RunFailed
from artquant.core.memory import keep_freed_memory
from artquant.core.schema import ARTWORK_ID
from artquant.storage.store import open_store
from artquant.training.chat_training_model import make_training_model
from artquant.training.data import Pictures, Task
from artquant.training.examples import ExampleBuilder, collate
from artquant.training.lessons import parts_of, soft_labels
from artquant.training.network import make_network
from artquant.training.order import step_rows
from artquant.training.roles import add_dialogues
from artquant.training.schedule import learning_rate, optimizer_of
from artquant.training.shards import local_parts, with_local_parts
from artquant.training.state import History, RunState, with_validation
from artquant.training.training_model import example_counts, total_loss
from artquant.training.vision_warmup import VisionWarmup, initialise_patches

MAX_BAD_STEPS = 5
_SEEN_FIRST = 1500  # pictures whose patches a network from nothing starts from


def run(task: Task, rank: int, world_size: int, device: torch.device) -> None:
    """Train to the end, from the last checkpoint if there is one, and leave the best weights as `model/` beside the checkpoints.

    Raises RunFailed if the loss stops being a number, or the memory does not suffice.
    """
    keep_freed_memory()
    try:
        Worker(task, rank, world_size, device).run()
    except torch.OutOfMemoryError as error:
        raise RunFailed(
            f"Out of memory on {device} with fit.batch_size={task.spec.fit.batch_size}: lower it and raise fit.gradient_accumulation_steps "
            "by the same factor, or set fit.gradient_checkpointing=true."
        ) from error


class Worker:
    def __init__(self, task: Task, rank: int, world_size: int, device: torch.device):
        self.task, self.spec, self.rank, self.world_size, self.device = task, task.spec, rank, world_size, device
        self.rows = task.train.to_pylist()
        self.network = make_network(task.spec, task.checkpoint, self.rows)
        prompts, self.image_size = self.network.prompts, self.network.image_size
        builder = ExampleBuilder(self.network.processor, prompts, parts_of(task.spec.loss, self.rows), self.network.max_length)
        self.examples = [builder.examples(row) for row in self.rows]
        if task.spec.loss.roles:
            add_dialogues(self.examples, builder, self.rows, task.spec.fit.seed)
        self.targets = soft_labels(self.rows, prompts.scale, task.spec.loss)
        self.state = RunState(open_store(task.output_uri), task.run_id)
        is_sharded = world_size > 1 and task.spec.fit.strategy == "fsdp"
        self.shard = f"worker-{rank:05d}-of-{world_size:05d}" if is_sharded else ""  # this worker's part of each checkpoint
        self.history = self._history()
        keep = task.spec.fit.keep_in_memory_mb << 20
        self.pictures = Pictures(task.pictures, [row[ARTWORK_ID] for row in self.rows], self.image_size, keep)
        judged = task.validation.to_pylist()[: task.spec.fit.validation_limit]
        self.judged_scores = np.array([row["score"] for row in judged])
        self.judged_examples = [builder.examples({"score": row["score"]}) for row in judged]
        self.judged_targets = soft_labels(judged, prompts.scale, task.spec.loss)
        self.judged = Pictures(task.pictures, [row[ARTWORK_ID] for row in judged], self.image_size, 1 << 62).kept
        self.warmup_steps = task.spec.vision_warmup.steps
        self.num_steps = self.warmup_steps + task.num_steps
        vision_warmup = VisionWarmup(self.network.model, task.train, task.spec.vision_warmup.columns) if self.warmup_steps else None
        if task.checkpoint is None and self.history.last_step is None:
            initialise_patches(self.network.model, self._first_pictures())
        self.bare = make_training_model(self.network, vision_warmup, ranks=self.spec.loss.rank > 0).to(device)
        self.training_model = self._wrapped()
        self.optimizer = optimizer_of(self.bare, task.spec.fit)
        if self.history.last_step is not None:
            self._restore(self.history.last_step)

    def run(self) -> None:
        fit, start = self.spec.fit, self.history.last_step or 0
        if self.history.is_finished:
            return
        shape = (fit.batch_size, fit.gradient_accumulation_steps, self.world_size)
        order = [step_rows(len(self.rows), fit.seed, step, *shape) for step in range(start, self.num_steps)]
        mine = np.concatenate([rows[:, self.rank] for rows in order]) if order else np.empty((0, fit.batch_size), np.int64)
        with contextlib.closing(self.pictures.batches(mine)) as stream:
            self._learn(start, order, stream)
        self._finish()

    def _learn(self, start: int, order: list[np.ndarray], stream: Iterator[Any]) -> None:
        fit = self.spec.fit
        points: list[dict[str, float]] = []
        bad, began, since = 0, time.monotonic() - self.history.seconds, start
        for step, rows in zip(range(start, self.num_steps), order, strict=True):
            losses = self._step(step, rows, [next(stream) for _ in range(fit.gradient_accumulation_steps)])
            bad = 0 if losses is not None else bad + 1
            if bad == MAX_BAD_STEPS:
                raise RunFailed(
                    f"The loss was no finite number in {bad} steps up to step {step + 1}: lower fit.learning_rate={fit.learning_rate}."
                )
            points += [losses] if losses else []
            done = step + 1
            self._show(done, done - since, losses or {}, time.monotonic() - began)
            if done % fit.checkpoint_interval == 0 or done == self.num_steps:
                self._checkpoint(done, points, time.monotonic() - began)
                points, since = [], done

    def _step(self, step: int, rows: np.ndarray, batches: list[Any]) -> dict[str, float] | None:
        """Take one optimizer step; return its losses by task, or None if they were not finite and nothing was changed."""
        fit, with_text_loss = self.spec.fit, step >= self.warmup_steps
        torch.manual_seed(hash((fit.seed, step, self.rank)) & 0x7FFFFFFF)  # dropout: the same however often the run was broken off
        counts = example_counts(self.examples, rows) | {"vision_warmup": rows.shape[0] * rows.shape[1]}
        weights = {
            "description": self.spec.loss.description,
            "verdict": self.spec.loss.roles,
            "answer": self.spec.loss.score,
            "level": self.spec.loss.score,
            "rank": self.spec.loss.rank,
            "vision_warmup": 1.0,
        }
        totals: dict[str, float] = {}
        self.training_model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for number, (batch_rows, pixels, is_there) in enumerate(batches):
            batch = collate(batch_rows, self.examples if with_text_loss else [()] * len(self.examples), self.targets, pixels, is_there)
            with self._syncing(number == len(batches) - 1):
                with self._autocast():
                    sums = self.training_model(batch.to(self.device), with_text_loss)
                    # DDP and FSDP take the mean over the workers; the counts are already those of all of them.
                    loss = total_loss(sums, counts, weights) * self.world_size
                loss.backward()
            for name, value in sums.items():
                totals[name] = totals.get(name, 0.0) + value.item() / max(1, counts[name])
        norm = torch.nn.utils.clip_grad_norm_(self.bare.parameters(), fit.max_grad_norm)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if not torch.isfinite(norm):
            return None
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr_multiplier"] * learning_rate(
                step, self.warmup_steps, self.num_steps, fit.learning_rate, fit.warmup_ratio
            )
        self.optimizer.step()
        score = {"score": totals["answer"] + totals["level"]} if with_text_loss else {}
        return {
            name: totals[name]
            for name in ("description", "verdict", "rank", "vision_warmup")
            if name in totals and (with_text_loss or name == "vision_warmup") and (name != "verdict" or counts[name])
        } | score

    def _syncing(self, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Exchange gradients only in the last forward pass of a step."""
        if self.world_size == 1 or is_last or not hasattr(self.training_model, "no_sync"):
            return contextlib.nullcontext()
        return cast(contextlib.AbstractContextManager[None], self.training_model.no_sync())

    def _autocast(self) -> torch.autocast:
        dtype = self.spec.fit.dtype
        is_half = dtype == "bfloat16" or (dtype == "auto" and self.device.type == "cuda")
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_half)

    def _wrapped(self) -> Any:
        if self.world_size == 1:
            return self.bare
        if self.shard:
            from torch.distributed.fsdp import fully_shard

            self.bare.num_groups = 1  # each group would gather all weights anew
            for layer in self.network.layers:
                fully_shard(layer)
            return fully_shard(self.bare)
        from torch.nn.parallel import DistributedDataParallel

        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(self.bare, device_ids=devices, find_unused_parameters=True)

    def _validate(self) -> dict[str, Any]:
        """Compute SRCC, PLCC and the score task's loss on the validation artworks, each worker judging a share of them."""
        assert self.judged is not None
        pixels, is_there = self.judged
        mine = np.arange(self.rank, len(pixels), self.world_size)
        passes = -(-len(pixels) // (self.world_size * 16))  # the same for all: FSDP gathers in each
        values = torch.tensor(self.network.prompts.level_values)
        scores, level = np.full(len(pixels), np.nan), 0.0
        self.training_model.eval()
        for number in range(passes):
            rows = mine[number * 16 : (number + 1) * 16]
            padded = rows if len(rows) else np.zeros(1, np.int64)
            batch = collate(padded, self.judged_examples, self.judged_targets, pixels[padded], is_there[padded])
            with torch.no_grad(), self._autocast():
                sums = self.training_model(batch.to(self.device), True, return_probabilities=True)
            if len(rows):
                scores[rows[is_there[rows]]] = (sums["probabilities"].cpu() @ values).numpy()
                level += float(sums["level"])
        if self.world_size > 1:
            gathered: list[Any] = [None] * self.world_size
            dist.all_gather_object(gathered, (scores, level))
            scores = np.nanmax([part for part, _ in gathered] + [np.full(len(pixels), -np.inf)], axis=0)
            scores, level = np.where(np.isinf(scores), np.nan, scores), sum(part for _, part in gathered)
        is_finite = np.isfinite(scores)
        pair = scores[is_finite], self.judged_scores[is_finite]
        metrics_by_name = {"srcc": srcc(*pair), "plcc": plcc(*pair)} if is_finite.any() else {"srcc": np.nan, "plcc": np.nan}
        record = {name: float(value) if np.isfinite(value) else None for name, value in metrics_by_name.items()}
        return record | {"losses": {"level": level / max(1, int(is_finite.sum()))}}

    def _checkpoint(self, done: int, points: list[dict[str, float]], seconds: float) -> None:
        """Validate and store the state: the first worker the whole, or each its shards. Nobody continues before all is stored."""
        is_judged = done > self.warmup_steps and self.judged is not None and len(self.judged[0]) > 0
        record = self._validate() if is_judged else None
        names = dict.fromkeys(name for point in points for name in point)
        mean = {name: float(np.mean([point[name] for point in points if name in point])) for name in names}
        history = with_validation(self.history, done, record)
        history = replace(
            history,
            digest=self.task.digest,
            seconds=seconds,
            num_vanished=len(self.pictures.vanished),
            curve=[*history.curve, {"step": done, "losses": mean}],
        )
        state = self._state()
        if self.rank == 0 or self.shard:
            self.state.save(local_parts(state), done, self.shard)
        self._meet()
        if self.rank == 0:
            self.state.keep(history)
        self.history = history
        if self.task.monitor is not None and self.rank == 0 and record:
            self.task.monitor.validated.remote(done, record)
        self._meet()

    def _state(self) -> dict[str, Any]:
        options = StateDictOptions(full_state_dict=not self.shard, cpu_offload=True, ignore_frozen_params=True)
        return dict(zip(("model", "optimizer"), get_state_dict(self.bare, self.optimizer, options=options), strict=True))

    def _restore(self, step: int) -> None:
        state = self.state.load(step, self.shard)
        if self.shard:
            state = with_local_parts(self._state(), state)
        options = StateDictOptions(full_state_dict=not self.shard, ignore_frozen_params=True, strict=False)
        set_state_dict(self.bare, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=options)

    def _finish(self) -> None:
        """Export the best weights, whole, to `model/`, and mark the run as finished."""
        if self.history.best_step not in (None, self.history.last_step):
            self._restore(self.history.best_step)
        self._export()
        self.history = replace(self.history, is_finished=True)
        if self.rank == 0:
            self.state.note(self.history)
        self._meet()

    def _export(self) -> None:
        if self.shard:
            from torch.distributed.checkpoint.state_dict import get_model_state_dict

            state = get_model_state_dict(self.bare, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
            if self.rank:
                return
            self.network = make_network(self.spec, self.task.checkpoint, self.rows)
            weights = {name.removeprefix("model."): tensor for name, tensor in state.items() if name.startswith("model.")}
            self.network.model.load_state_dict(weights, strict=True)
        if self.rank == 0:
            with tempfile.TemporaryDirectory() as folder:
                self.network.export(Path(folder))
                for path in sorted(Path(folder).rglob("*")):
                    if path.is_file():
                        self.state.store.put_file(f"model/{path.relative_to(folder)}", path)

    def _history(self) -> History:
        history = self.state.history()
        if history.last_step is not None and history.digest != self.task.digest:
            raise RunFailed(f"The run {self.task.run_id} was begun with other data or settings: choose another run_id.")
        return history

    def _first_pictures(self) -> np.ndarray:
        if self.pictures.kept is not None:
            pixels, is_there = self.pictures.kept
        else:
            pixels, is_there = self.pictures.load(range(min(_SEEN_FIRST, len(self.rows))))
        return cast(np.ndarray, pixels[is_there][:_SEEN_FIRST])

    def _show(self, done: int, num: int, losses: dict[str, float], seconds: float) -> None:
        if self.rank == 0 and self.task.monitor is not None:
            fit = self.spec.fit
            examples = fit.batch_size * fit.gradient_accumulation_steps * self.world_size
            self.task.monitor.trained.remote(done, self.warmup_steps, self.num_steps, examples, losses, seconds)

    def _meet(self) -> None:
        if self.world_size > 1:
            dist.barrier()
