"""The continuous batching engine of `transformers`, under load and watched step by step."""

from __future__ import annotations

import csv
import logging
import queue
import random
import time
import timeit
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaForCausalLM
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.requests import RequestStatus
from transformers.generation.continuous_batching.utils import create_warmup_future_states

import models
from records import Records

# It warns of each request that is cancelled before it has any memory.
logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)


@dataclass
class EngineConfig:
    """An engine: the model and the parameters of `ContinuousBatchingConfig`, by their names."""

    name: str
    model: str
    device: str = "cuda"
    attention: str = models.VARLEN
    block_size: int = 32
    num_blocks: int = 4096
    max_batch_tokens: int = 512
    max_requests_per_batch: int = 64
    cuda_graph: bool = False
    asynchronous: bool = False
    q_padding_interval_size: int = 64
    kv_padding_interval_size: int = 8192


@dataclass
class Request:
    """What a request asks: when (seconds since the start of the run) and how much."""

    arrival: float
    prompt: int
    output: int


@dataclass
class Step:
    """One batch. Times in seconds; the parts are those of the host: preparing the inputs, starting the forward pass,
    waiting for it, and giving the tokens to their requests."""

    start: float
    prepare: float
    launch: float
    wait: float
    update: float
    sequences: int
    queries: int
    context: int
    waiting: int
    free_blocks: int
    padded_queries: int
    tokens: int
    captured: bool


def read_requests(path: Path, scale: float = 1.0) -> list[Request]:
    """Requests of a CSV that `tenfold workload` wrote; times are multiplied by `scale`."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Request(
                float(row["arrival_s"]) * scale,
                int(row["prompt_tokens"]),
                int(row["output_tokens"]),
            )
            for row in csv.DictReader(file)
        ]


class Engine:
    """A started engine. Use as a context manager."""

    def __init__(
        self, config: EngineConfig, records: Records, model: LlamaForCausalLM | None = None
    ) -> None:
        self.config = config
        self.records = records
        self.steps: list[Step] = []
        self.captured_seconds = 0.0
        began = time.perf_counter()
        self.model = model or models.build(config.model, config.device, config.attention)
        built = time.perf_counter()
        self.manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(do_sample=False, max_new_tokens=16, eos_token_id=-1),
            continuous_batching_config=ContinuousBatchingConfig(
                block_size=config.block_size,
                num_blocks=config.num_blocks,
                max_batch_tokens=config.max_batch_tokens,
                max_requests_per_batch=config.max_requests_per_batch,
                max_blocks_per_request=0,
                allow_block_sharing=False,
                use_async_batching=config.asynchronous,
                use_cuda_graph=(config.cuda_graph, False),
                q_padding_interval_size=config.q_padding_interval_size,
                kv_padding_interval_size=config.kv_padding_interval_size,
            ),
        )
        self.processor = self.manager._create_batch_processor()
        self.manager.batch_processor = self.processor
        self._watch()
        self.tokens = random.Random(1)
        made = time.perf_counter()
        cache, resolved = self.processor.cache, self.manager.continuous_batching_config
        records.write(
            "engine",
            **asdict(config),
            parameters=sum(p.numel() for p in self.model.parameters()),
            dtype=str(self.model.dtype).removeprefix("torch."),
            shape=models.SHAPES[config.model],
            cache_blocks=cache.num_blocks,
            cache_block_size=cache.block_size,
            batch_tokens=cache.max_batch_tokens,
            batch_requests=resolved.max_requests_per_batch,
            decode_fast_path=cache.max_blocks_per_request > 0,
            graphs=list(resolved.cuda_graph_booleans),
            scheduler=type(self.processor.scheduler).__name__,
            safety_margin=self.processor.scheduler.safety_margin,
            model_seconds=built - began,
            engine_seconds=made - built,
        )
        if self.processor.model_runner.pad_inputs:
            self.capture()

    @torch.no_grad()
    def capture(self) -> None:
        """Runs, and so captures, a batch of every size that the load may need, with sequences of at most 1,024 and of at
        most 2,048 tokens: `manager.warmup` captures the largest only and leaves the rest to the load."""
        config, cache = self.config, self.processor.cache
        # With asynchronous batching there are two of all inputs and graphs, which take turns.
        turns = 2 if config.asynchronous else 1
        began, captured = time.perf_counter(), 0
        # Shares of the cache that as many sequences as there are places take at most in the workloads.
        for longest, share in ((1024, 0.32), (2048, 0.63)):
            past = longest - 24
            for context in range(
                config.kv_padding_interval_size,
                int(share * cache.num_pages) + 1,
                config.kv_padding_interval_size,
            ):
                decoding = context // past
                if decoding > config.max_requests_per_batch:
                    break
                for queries in range(
                    config.q_padding_interval_size,
                    config.max_batch_tokens + 1,
                    config.q_padding_interval_size,
                ):
                    prompt = min(queries - decoding, longest)
                    for _ in range(turns):
                        self._run_once((decoding, past), prompt)
                        captured += 1
        if config.device != "cpu":
            torch.cuda.synchronize()
        seconds = self.captured_seconds = time.perf_counter() - began
        self.records.write(
            "captured",
            engine=config.name,
            batches=captured,
            graphs=sum(len(graphs) for graphs in self._graphs()),
            seconds=seconds,
        )
        self.records.note(f"{config.name}: {captured} batches captured in {seconds:.1f} s")

    def _run_once(self, decoding: tuple[int, int], prompt: int) -> None:
        """A batch of some sequences that decode, each with so many tokens behind it, and a prompt."""
        processor = self.processor
        cache, runner = processor.cache, processor.model_runner
        inputs: Any = processor.inputs_and_outputs
        count, past = decoding
        states = create_warmup_future_states(count, RequestStatus.DECODING, 1, past, cache)
        if prompt > 0:
            states += create_warmup_future_states(1, RequestStatus.PREFILLING, prompt, 0, cache)
        try:
            queries = sum(state.query_length for state in states)
            sizes = runner.maybe_pad_inputs(queries, count * past, False)
            inputs.prepare_batch_tensors(
                states, processor.logit_processor, False, *sizes, use_padding=True
            )
            runner.compute_batch(self.model, inputs.get_model_kwargs(use_padding=True))
            inputs.retrieve_device_outputs()
        finally:
            for state in states:
                cache.free_blocks(state.state.request_id)

    def _graphs(self) -> list[Any]:
        """Where the graphs are kept."""
        inputs: Any = self.processor.inputs_and_outputs
        every = [pair.device_io for pair in inputs.io_pairs] if self.config.asynchronous else [inputs]
        return [one.graphs._storage for one in every]

    def _watch(self) -> None:
        """Takes the time of each part of a step, and what is in the batch. With asynchronous batching a step's wait and
        update are those of the batch before, whose forward pass ends then."""
        processor: Any = self.processor
        # As Any: methods of theirs are replaced by ones that take the time.
        inputs: Any = processor.inputs_and_outputs
        runner: Any = processor.model_runner
        scheduler = processor.scheduler
        prepare, compute, retrieve, take, update = (
            processor.prepare_next_batch,
            runner.compute_batch,
            inputs.retrieve_device_outputs,
            inputs.prepare_batch_update,
            processor.update_batch,
        )
        now = time.perf_counter
        marks = [0.0] * 4
        graphs = self._graphs()
        asynchronous = self.config.asynchronous
        batch: dict[str, int] = {}

        def timed_prepare() -> bool:
            start = now()
            found: bool = prepare()
            if found:
                marks[0], marks[1] = start, now()
                own = inputs.io_pairs[inputs.current_pair].host_io if asynchronous else inputs
                batch["sequences"] = own.num_request_in_batch
                batch["queries"] = own.total_seqlen_q
                batch["context"] = own.total_seqlen_k["full_attention"]
                batch["padded_queries"] = own.num_q_tokens
                batch["tokens"] = sum(request.has_new_token for request in own.requests_in_batch)
            return found

        def timed_compute(*args: Any) -> None:
            before = sum(len(own) for own in graphs)
            compute(*args)
            marks[2] = now()
            self._captured = sum(len(own) for own in graphs) != before

        def timed_retrieve() -> None:
            retrieve()
            marks[3] = now()

        def timed_take() -> Any:
            taken = take()
            if asynchronous:
                marks[3] = now()
            return taken

        def timed_update() -> None:
            waiting, free = len(scheduler.waiting_requests), processor.cache.get_num_free_blocks()
            update()
            self.steps.append(
                Step(
                    marks[0],
                    marks[1] - marks[0],
                    marks[2] - marks[1],
                    marks[3] - marks[2],
                    now() - marks[3],
                    batch["sequences"],
                    batch["queries"],
                    batch["context"],
                    waiting,
                    free,
                    batch["padded_queries"],
                    batch["tokens"],
                    self._captured,
                )
            )

        self._captured = False
        processor.prepare_next_batch = timed_prepare
        runner.compute_batch = timed_compute
        inputs.retrieve_device_outputs = timed_retrieve
        inputs.prepare_batch_update = timed_take
        processor.update_batch = timed_update

    def __enter__(self) -> Engine:
        self.manager.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.manager.stop(block=True, timeout=20, hard_stop=True)
        self.manager.destroy()
        del self.processor, self.manager, self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _ask(self, name: str, request: Request) -> None:
        vocabulary = models.SHAPES[self.config.model]["vocab_size"]
        first = self.tokens.randrange(vocabulary)
        prompt = [(first + 7 * i) % vocabulary for i in range(request.prompt)]
        added = self.manager.add_request(
            prompt, request_id=name, max_new_tokens=request.output, record_timestamps=True
        )
        if added is None:
            error = self.manager.background_thread_status.fatal_error
            raise RuntimeError(f"the engine has stopped: {error}")

    def _take(self, timeout: float) -> Any:
        try:
            return self.manager.output_router.output_queue.get(timeout=max(timeout, 0.0005))
        except queue.Empty:
            if not self.manager.is_running():
                error = self.manager.background_thread_status.fatal_error
                raise RuntimeError(f"the engine has stopped: {error}") from None
            return None

    def run(
        self,
        name: str,
        requests: list[Request],
        *,
        users: int | None = None,
        seconds: float,
        drain: float,
        purpose: str,
        **facts: Any,
    ) -> dict[str, float]:
        """Sends `requests` at their times, or with `users` one after the other by each of so many users, for `seconds`;
        then waits for at most `drain` for those that are not done, and cancels the rest."""
        self.records.note(f"{self.config.name}: {name}")
        self.steps.clear()
        # How fast Python is at the moment: processors of a shared machine differ by the minute.
        pace = min(timeit.repeat(lambda: list(range(20_000)), number=20, repeat=5)) / 20
        start = time.perf_counter()
        self.records.write(
            "run",
            run=name,
            engine=self.config.name,
            purpose=purpose,
            users=users,
            seconds=seconds,
            pace_us=round(1e6 * pace, 2),
            **facts,
        )
        asked: dict[str, tuple[Request, float]] = {}
        done = outputs = 0

        def finish(result: Any) -> bool:
            """Whether it was one of this run, not one of the run before that was done before it was cancelled."""
            nonlocal done, outputs
            found = asked.pop(result.request_id, None)
            if found is None:
                return False
            request = found[0]
            times = result.timestamps or []
            done += 1
            outputs += len(times)
            if result.error is not None:
                self.records.write("lost", run=name, request=result.request_id, error=result.error)
            self.records.write(
                "request",
                run=name,
                id=int(result.request_id.rsplit(":", 1)[1]),
                prompt=request.prompt,
                output=request.output,
                due=round(request.arrival, 6),
                arrival=round(result.created_time - start, 6),
                admitted=round(result.lifespan[0] - start, 6),
                first=round(times[0] - start, 6) if times else None,
                last=round(times[-1] - start, 6) if times else None,
                tokens=len(times),
            )
            return True

        following: Iterator[tuple[int, Request]] = iter(enumerate(requests))

        clock: Callable[[], float] = time.perf_counter

        def ask(index: int, request: Request) -> None:
            key = f"{name}:{index}"
            asked[key] = (request, clock() - start)
            self._ask(key, request)

        if users is None:
            for index, request in following:
                if request.arrival > seconds:
                    break
                while (left := start + request.arrival - clock()) > 0:
                    if (result := self._take(left)) is not None:
                        finish(result)
                ask(index, request)
        else:
            for _, (index, request) in zip(range(users), following, strict=False):
                ask(index, Request(clock() - start, request.prompt, request.output))
        while clock() - start < seconds and (asked or users is None):
            if (result := self._take(min(0.05, start + seconds - clock()))) is not None:
                if finish(result) and users is not None and clock() - start < seconds:
                    following_one = next(following, None)
                    if following_one is not None:
                        index, request = following_one
                        ask(index, Request(clock() - start, request.prompt, request.output))
        end = clock() + drain
        while asked and clock() < end:
            if (result := self._take(0.05)) is not None:
                finish(result)
        unfinished = sorted(asked.items(), key=lambda item: int(item[0].rsplit(":", 1)[1]))
        states = dict(self.processor.scheduler.active_requests)
        for key, (request, arrival) in unfinished:
            # One that was let in may have tokens already; those still waiting have no more than their arrival.
            state = states.get(key)
            times = list(state._timestamps) if state is not None else []
            self.records.write(
                "unfinished",
                run=name,
                id=int(key.rsplit(":", 1)[1]),
                prompt=request.prompt,
                output=request.output,
                arrival=round(arrival, 6),
                first=round(times[0] - start, 6) if times else None,
                tokens=len(times),
            )
            self.manager.cancel_request(key)
        ended = clock()
        while self.processor.has_pending_requests() and clock() - ended < 10:
            time.sleep(0.02)
        steps = [step for step in self.steps if step.start >= start]
        columns = list(Step.__dataclass_fields__)
        for at in range(0, len(steps), 200):
            rows = []
            for step in steps[at : at + 200]:
                row: list[float | int] = []
                for column in columns:
                    value = getattr(step, column)
                    if column == "start":
                        value = round(value - start, 6)
                    elif isinstance(value, float):
                        value = round(value * 1e6, 1)
                    row.append(int(value) if isinstance(value, bool) else value)
                rows.append(row)
            self.records.write("steps", run=name, columns=columns, rows=rows)
        busy = [s for s in steps if seconds / 3 <= s.start - start < seconds]
        window = 2 * seconds / 3
        tokens = sum(s.tokens for s in busy)
        summary = {
            "seconds": round(ended - start, 3),
            "done": done,
            "unfinished": len(unfinished),
            "tokens": outputs,
            "steps": len(steps),
            "captures": sum(s.captured for s in steps),
            "window_output_tokens_per_second": round(tokens / window, 3),
            "mean_batch": round(sum(s.sequences for s in busy) / max(1, len(busy)), 3),
            "step_ms": round(
                1e3 * sum(s.prepare + s.launch + s.wait + s.update for s in busy) / max(1, len(busy)), 4
            ),
        }
        self.records.write("ran", run=name, **summary)
        self.records.note(f"  {summary}")
        return summary

