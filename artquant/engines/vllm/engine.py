"""The vLLM engine: paged attention and continuous batching behind the `Engine` protocol.

vLLM runs in this process, on a thread of its own: any number of callers have their images in flight at once, nothing is copied to another
process, and when vLLM dies so does this one. An image is four requests (score, three texts) that share one pass of the vision tower.
"""

import itertools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch

from artquant.config import EngineSpec
from artquant.core.schema import CRITIQUE_PARTS
from artquant.engines import FREQUENCY_PENALTY, MIN_TOKENS, Assessment, Critiques
from artquant.engines.vllm.plugin import register
from artquant.engines.vllm.processor import with_placeholder
from artquant.model.checkpoint import Checkpoint
from artquant.model.configuration import MPLUGOwl2Config
from artquant.model.processing import MPLUGOwl2Processor

_NEVER = -100.0  # what vLLM's logit_bias takes at most: no token comes back from there


class VllmEngine:
    """An :class:`artquant.engines.Engine` that several threads may call at once.

    Raises ValueError for a tokenizer in which a level is not one token of its own. Where vLLM fails, at its start or at work, it raises
    SystemExit with vLLM's own words: this process is of no use any more, and the artworks are tried in another.
    """

    def __init__(self, checkpoint: Checkpoint, spec: EngineSpec):
        processor, config = MPLUGOwl2Processor.from_pretrained(checkpoint.base_folder), checkpoint.load_config()
        self.prompts = checkpoint.prompts
        self.processor, self.scale, self.image_size = processor, self.prompts.scale, checkpoint.image_size
        self.level_ids: list[int] = processor.level_token_ids(self.prompts.score, self.prompts.words)
        self.shares = self.scale.shares(np.array(self.prompts.word_values))
        asked = {"score": self.prompts.score, **{part: self.prompts.critique[part] for part in CRITIQUE_PARTS}}
        self.prompt_ids = {name: with_placeholder(processor.tokenize(prompt), config) for name, prompt in asked.items()}
        longest = max(map(len, self.prompt_ids.values())) + config.num_image_tokens - 1 + self.prompts.max_critique_tokens
        arguments = engine_arguments(checkpoint, spec, min(longest, config.max_position_embeddings))
        self.score_parameters, self.text_parameters, self.second_parameters = self._parameters(config)
        self.numbers = itertools.count()
        self.requests = _RequestLoop(spec, arguments)

    def assess(self, pixels: np.ndarray, critique: bool = False) -> Assessment:
        parts = CRITIQUE_PARTS if critique else ()
        answers = self.ask(pixels, ("score", *parts))
        logs = np.array([[answer.logprobs[0][i].logprob for i in self.level_ids] for answer in answers["score"]])
        closed = np.exp(logs - logs.max(1, keepdims=True))
        result = Assessment(closed / closed.sum(1, keepdims=True) @ self.shares, np.exp(logs).sum(1))
        result.critiques, result.critique_statuses = [None] * len(pixels), ["not_requested"] * len(pixels)
        if critique:
            result.critiques, result.critique_statuses = self._critiques(answers, len(pixels))
        return result

    def rewrite(self, pixels: np.ndarray) -> Critiques:
        return self._critiques(self.ask(pixels, CRITIQUE_PARTS, self.second_parameters), len(pixels))

    def _critiques(self, answers: dict[str, list[Any]], num: int) -> Critiques:
        by_image = [{part: answers[part][i] for part in CRITIQUE_PARTS} for i in range(num)]
        critiques: list[dict[str, str] | None] = [
            {part: self.processor.decode_answer(answer.token_ids) for part, answer in texts.items()} for texts in by_image
        ]
        is_cut = [any(answer.finish_reason == "length" for answer in texts.values()) for texts in by_image]
        return critiques, ["truncated" if cut else "ok" for cut in is_cut]

    def ask(self, pixels: np.ndarray, prompts: Sequence[str], text_parameters: Any = None) -> dict[str, list[Any]]:
        """Return vLLM's `CompletionOutput` of each image for each prompt (`score` or a part of the critique); all are in flight at once."""
        answers: dict[str, list[Future[Any]]] = {name: [] for name in prompts}
        for image in pixels:
            number = next(self.numbers)
            for name in prompts:
                prompt = {
                    "prompt_token_ids": self.prompt_ids[name],
                    "multi_modal_data": {"image": image},
                    "multi_modal_uuids": {"image": f"artwork-{number}"},  # of its four requests, and of no other image's
                }
                parameters = self.score_parameters if name == "score" else text_parameters or self.text_parameters
                answers[name].append(self.requests.submit(f"{number}-{name}", prompt, parameters))
        return {name: [future.result() for future in futures] for name, futures in answers.items()}

    def close(self) -> None:
        """Stop vLLM and free its memory; answers that are still due are lost."""
        self.requests.close()

    def _parameters(self, config: MPLUGOwl2Config) -> tuple[Any, Any, Any]:
        """Return the sampling parameters of a request.

        For a score, raw log-probabilities of the levels over the whole vocabulary, which contain the open-set mass. For a text, greedy;
        so is a second try.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        common: dict[str, Any] = {"temperature": 0.0, "detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
        score = SamplingParams(max_tokens=1, logprob_token_ids=self.level_ids, **common)
        bias, stops = {config.placeholder_id: _NEVER}, [config.eos_token_id]
        text = {"max_tokens": self.prompts.max_critique_tokens, "stop_token_ids": stops, "logit_bias": bias, **common}
        # Both penalties and the shortest length are of the answer alone, as the torch engine has them.
        second = SamplingParams(frequency_penalty=FREQUENCY_PENALTY, min_tokens=min(MIN_TOKENS, text["max_tokens"]), **text)
        return score, SamplingParams(**text), second


class _RequestLoop:
    """vLLM's engine and the one thread that may touch it: takes requests as they come, steps while there are any."""

    def __init__(self, spec: EngineSpec, arguments: dict[str, Any]):
        self.incoming: SimpleQueue[tuple[str, Any, Any, Future[Any]] | None] = SimpleQueue()
        self.due: dict[str, Future[Any]] = {}
        self.failure: BaseException | None = None
        self.lock = threading.Lock()  # of `failure`: no request comes in after it
        started: Future[None] = Future()
        self.thread = threading.Thread(target=self._run, args=(spec, arguments, started), name="vllm", daemon=True)
        self.thread.start()
        started.result()

    def submit(self, name: str, prompt: Any, parameters: Any) -> Future[Any]:
        """Submit a request; the future holds its `CompletionOutput` once it is finished."""
        answer: Future[Any] = Future()
        with self.lock:
            if self.failure is None:
                self.incoming.put((name, prompt, parameters, answer))
            else:
                answer.set_exception(self.failure)
        return answer

    def close(self) -> None:
        self.incoming.put(None)
        self.thread.join()

    def _run(self, spec: EngineSpec, arguments: dict[str, Any], started: Future[None]) -> None:
        try:
            self.engine = start_engine(spec, arguments)
            started.set_result(None)
            while self._take():
                for output in self.engine.step():
                    if output.finished:
                        self.due.pop(output.request_id).set_result(output.outputs[0])
        except BaseException as error:
            self._fail(
                SystemExit(f"vLLM died, and with it this process: {type(error).__name__}: {' '.join(str(error).split())[:500]}"), started
            )
            raise
        self._fail(SystemExit("the engine was closed"), started)
        self.engine.engine_core.shutdown()
        del self.engine

    def _take(self) -> bool:
        """Hand over the requests that have arrived; wait if there is nothing left to do. Returns False when closed."""
        while True:
            try:
                request = self.incoming.get(block=not self.due)
            except Empty:
                return True
            if request is None:
                return False
            name, prompt, parameters, answer = request
            self.due[name] = answer
            try:
                self.engine.add_request(name, self._rendered(prompt), parameters)
            except ValueError as error:  # vLLM refuses this one
                self.due.pop(name).set_exception(error)

    def _rendered(self, prompt: Any) -> Any:
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        renderer = self.engine.renderer
        (rendered,) = renderer.render_cmpl([parse_model_prompt(self.engine.model_config, prompt)], renderer.default_cmpl_tok_params)
        return rendered

    def _fail(self, failure: BaseException, started: Future[None]) -> None:
        with self.lock:
            self.failure = failure
        while not self.incoming.empty():
            if request := self.incoming.get():
                request[3].set_exception(failure)
        for answer in [*self.due.values(), *([] if started.done() else [started])]:
            answer.set_exception(failure)
        self.due.clear()


def start_engine(spec: EngineSpec, arguments: dict[str, Any]) -> Any:
    set_environment(spec)
    if spec.device == "cpu":
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # of this thread, which does the work
    register()  # vLLM's other processes find the plugin by themselves
    from vllm import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    return LLMEngine.from_engine_args(EngineArgs(**arguments), enable_multiprocessing=False)


def engine_arguments(checkpoint: Checkpoint, spec: EngineSpec, max_length: int) -> dict[str, Any]:
    """Return the arguments that vLLM is started with; `spec` is resolved."""
    vllm, is_cpu = spec.vllm, spec.device == "cpu"
    base = checkpoint.base_location
    return {
        "model": checkpoint.folder,
        "tokenizer": checkpoint.base_folder,
        "dtype": spec.dtype,
        "quantization": vllm.quantization,
        "tensor_parallel_size": vllm.tensor_parallel_size,
        "distributed_executor_backend": "mp" if vllm.tensor_parallel_size > 1 else "uni",
        "max_model_len": max_length,
        "max_num_seqs": vllm.max_num_seqs,
        "max_num_batched_tokens": vllm.max_num_batched_tokens,
        "mm_processor_cache_gb": vllm.mm_processor_cache_gb,
        "limit_mm_per_prompt": {"image": 1},
        "enable_prefix_caching": True,
        "enforce_eager": is_cpu or vllm.enforce_eager,
        "disable_log_stats": True,
        **({"hf_overrides": {"base_checkpoint": base}} if base else {}),
        **({} if is_cpu else {"gpu_memory_utilization": vllm.gpu_memory_utilization}),
    }


def set_environment(spec: EngineSpec) -> None:
    """Set the settings that vLLM reads from the environment; what a person has set stays."""
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "artquant",
        "VLLM_WORKER_MULTIPROCESSING_METHOD": "spawn",  # a process that holds threads must not be forked
        "VLLM_LOGGING_LEVEL": "ERROR",
    }
    if spec.device == "cpu":
        settings |= {
            "VLLM_CPU_KVCACHE_SPACE": str(spec.vllm.kv_cache_gb),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "TORCHDYNAMO_DISABLE": "1",  # compiling two small functions takes longer than most runs on a CPU
        }
        os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // spec.num_workers))  # Ray has set 1
    for name, value in settings.items():
        os.environ.setdefault(name, value)
