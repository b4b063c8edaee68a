"""The engine's own operations, timed one by one: attention as lines of `attention-ENGINE.jsonl`, the others in the raw
format of `tenfold-microbench`.

On a GPU each operation is captured in a CUDA graph some times in a row, on operands that change from one to the next so
that none is found in the second-level cache, and the graph is replayed between two events. On a CPU each is called some
times in a row. An engine with CUDA graphs pads its batches: its operations are timed on padded ones."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear, silu
from transformers.generation.continuous_batching.utils import pad_to_interval, pad_to_pow2
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

import models
from engine import EngineConfig, Request
from records import Records, smi

#: Bytes that operands of one kind take together at least: twice the second-level cache of an H200 (50 MiB).
COLD = 120 << 20
REPLAYS = 5


class Timer:
    """Times operations until a deadline."""

    def __init__(self, records: Records, device: str, deadline: float) -> None:
        self.records = records
        self.device = device
        self.deadline = deadline
        self.done = self.left_out = 0

    def time(
        self,
        operation: Callable[[int], object],
        variants: int,
        line: dict[str, Any],
        records: Records | None = None,
    ) -> None:
        """Times `operation(i)` for i below `variants` in turn, and writes `line` with the time of one."""
        if time.perf_counter() > self.deadline:
            self.left_out += 1
            return
        try:
            with torch.no_grad():
                times = (self._on_cpu if self.device == "cpu" else self._on_gpu)(operation, variants)
            (records or self.records).raw({**line, "time": self._summary(times)})
            self.done += 1
        except Exception:
            self.left_out += 1
            self.records.trace(f"operation {line}")

    @staticmethod
    def _on_cpu(operation: Callable[[int], object], variants: int) -> list[float]:
        operation(0)
        times = []
        for _ in range(4 * REPLAYS):
            begin = time.perf_counter()
            for i in range(4):
                operation(i % variants)
            times.append((time.perf_counter() - begin) * 1e6 / 4)
        return times

    @staticmethod
    def _on_gpu(operation: Callable[[int], object], variants: int) -> list[float]:
        repeats = max(4, variants)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for i in range(min(2, variants)):
                operation(i)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for i in range(repeats):
                operation(i % variants)
        graph.replay()
        torch.cuda.synchronize()
        times = []
        for _ in range(REPLAYS):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1e3 / repeats)
        return times

    @staticmethod
    def _summary(times: list[float]) -> dict[str, Any]:
        """In microseconds."""
        return {
            "us": round(statistics.median(times), 4),
            "least": round(min(times), 4),
            "most": round(max(times), 4),
            "repeats": len(times),
        }


def variants_of(num_bytes: int) -> int:
    """How many operands of so many bytes do not fit into the second-level cache together."""
    return max(1, min(64, -(-COLD // max(1, num_bytes))))


def device_line(device: str) -> dict[str, Any]:
    """The first line of the raw format."""
    line: dict[str, Any] = {
        "kind": "device",
        "format": 1,
        "program": f"torch {torch.__version__}",
        "suite": "engine",
        "started": int(time.time()),
        "cublaslt": "of torch",
        "nvrtc": "none",
        "host_cpus": len(os.sched_getaffinity(0)),
    }
    if device == "cpu":
        return line | {
            "name": "cpu",
            "compute_capability": "none",
            "multiprocessors": torch.get_num_threads(),
            "l2_bytes": 0,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "sm_clock_mhz": 0.0,
            "memory_clock_mhz": 0.0,
            "power_limit_watts": None,
            "driver": None,
            "cuda": "none",
        }
    properties = torch.cuda.get_device_properties(0)
    watts = smi("power.limit")
    return line | {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
        "l2_bytes": properties.L2_cache_size,
        "memory_bytes": properties.total_memory,
        "sm_clock_mhz": float(smi("clocks.max.sm") or 0.0),
        "memory_clock_mhz": float(smi("clocks.max.memory") or 0.0),
        "power_limit_watts": float(watts) if watts and watts[0].isdigit() else None,
        "driver": smi("driver_version"),
        "cuda": str(torch.version.cuda),
    }


class Operations:
    """The operations of one engine."""

    def __init__(self, config: EngineConfig, timer: Timer) -> None:
        self.config = config
        self.timer = timer
        self.shape = models.SHAPES[config.model]
        self.make: dict[str, Any] = {
            "device": config.device,
            "dtype": torch.float32 if config.device == "cpu" else torch.bfloat16,
        }
        self.format = "fp32" if config.device == "cpu" else "bf16"
        if config.cuda_graph:
            step = config.q_padding_interval_size
            self.tokens = list(range(step, config.max_batch_tokens + 1, step))
        else:
            few = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
            self.tokens = [tokens for tokens in few if tokens <= config.max_batch_tokens]
        self.sequences = [
            tokens for tokens in self.tokens if tokens <= config.max_requests_per_batch
        ]

    def linears(self) -> None:
        """The distinct linear layers, as `transformers` runs them (none merged)."""
        shape = self.shape
        hidden, inter, head = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
        heads, kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        layers = [
            (heads * head, hidden),
            (kv_heads * head, hidden),
            (hidden, heads * head),
            (inter, hidden),
            (hidden, inter),
            (shape["vocab_size"], hidden),
        ]
        for n, k in dict.fromkeys(layers):
            variants = variants_of(n * k * self.make["dtype"].itemsize)
            weights = [torch.randn(n, k, **self.make) for _ in range(variants)]
            for m in self.tokens:
                x = torch.randn(1, m, k, **self.make)

                def run(
                    i: int, x: torch.Tensor = x, weights: list[torch.Tensor] = weights
                ) -> object:
                    return linear(x, weights[i])

                line = {"kind": "gemm", "format": self.format, "m": m, "n": n, "k": k}
                self.timer.time(run, variants, line | {"purpose": "grid"})

    def attend(self, layer: _Layer, records: Records, mix: str, batch: _Batch) -> None:
        """Attention of a batch: writing, gathering, attending."""
        config, device = self.config, self.config.device
        new = [1] * len(batch.decoding) + [tokens for tokens, _ in batch.chunks]
        seen = batch.decoding + [tokens + before for tokens, before in batch.chunks]
        queries, past = sum(new), sum(seen) - sum(new)
        if (
            queries + past >= layer.pages
            or queries > config.max_batch_tokens
            or len(new) > config.max_requests_per_batch
        ):
            return
        sequences, longest_q, longest_k = len(new), max(new), max(seen)
        padded_past = past
        if config.cuda_graph:
            queries = pad_to_interval(
                queries, config.q_padding_interval_size, config.max_batch_tokens
            )
            padded_past = pad_to_interval(past, config.kv_padding_interval_size, layer.pages)
            sequences = min(queries, config.max_requests_per_batch)
            longest_q = queries
            longest_k = pad_to_pow2(longest_k, layer.pages, 1024)
        q = torch.randn(1, layer.heads, queries, layer.dim, **self.make)
        # As it comes from the projection.
        k = torch.randn(1, layer.kv_heads, queries, layer.dim, **self.make).transpose(1, 2).squeeze(0)
        # What pads the batch is written to one place, and read from it.
        nowhere = layer.places[-1:]
        ends = list(itertools.accumulate(seen))
        own = [layer.places[end - tokens : end] for end, tokens in zip(ends, new, strict=True)]
        write = torch.cat([*own, nowhere.expand(queries - sum(new))])
        read = torch.cat(
            [layer.places[: ends[-1]], nowhere.expand(queries + padded_past - ends[-1])]
        )

        def bounds(lengths: list[int]) -> torch.Tensor:
            every = [*lengths, *[0] * (sequences - len(lengths))]
            ends = [0, *itertools.accumulate(every)]
            return torch.tensor(ends, device=device, dtype=torch.int32)

        lengths_q, lengths_k = bounds(new), bounds(seen)

        def run(i: int) -> object:
            keys, values = layer.keys[i], layer.values[i]
            keys.index_copy_(0, write, k)
            values.index_copy_(0, write, k)
            gathered = [k, k]
            if padded_past:
                gathered = [torch.index_select(cache, 0, read) for cache in (keys, values)]
            return models.varlen_attention(
                q.transpose(1, 2).squeeze(0).contiguous(),
                gathered[0].contiguous(),
                gathered[1].contiguous(),
                lengths_q.to(torch.int32),
                lengths_k.to(torch.int32).clone(),
                longest_q,
                longest_k,
                layer.dim**-0.5,
            )

        line = {
            "kind": "attention",
            "mix": mix,
            "decoding": len(batch.decoding),
            "context": sum(batch.decoding),
            "longest": max(batch.decoding, default=0),
            "chunks": batch.chunks,
        }
        self.timer.time(run, len(layer.keys), line, records)

    def attention(self, records: Records, mixes: dict[str, list[Request]]) -> None:
        """Attention of one layer in batches as the mixes give them: sequences differ in length, and the longest takes
        its time when the others are done."""
        config = self.config
        layer = _Layer(self)
        luck = random.Random(5)
        some = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64)
        counts = [count for count in some if count <= config.max_requests_per_batch]
        for turn, (mix, requests) in itertools.product(range(4), mixes.items()):
            for count in counts:
                self.attend(layer, records, mix, _Batch.of(requests, count, luck))
            for count in (0, *counts[::2], config.max_requests_per_batch - 1):
                for share in (0.25, 1.0):
                    left = int((config.max_batch_tokens - count) * share)
                    batch = _Batch.of(requests, count, luck)
                    batch.prompts(requests, left, begun=turn % 2 == 1, luck=luck)
                    self.attend(layer, records, mix, batch)

    def elementwise(self) -> None:
        """Norms, rotation and activation, unfused as `transformers` runs them, and the choice of a token."""
        shape = self.shape
        hidden, inter, dim = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
        heads, kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        make, size = self.make, self.make["dtype"].itemsize
        norm = LlamaRMSNorm(hidden, eps=1e-5).to(**make)
        for tokens in self.tokens:
            x = [
                torch.randn(1, tokens, hidden, **make)
                for _ in range(variants_of(size * tokens * hidden))
            ]
            q = torch.randn(1, heads, tokens, dim, **make)
            k = torch.randn(1, kv_heads, tokens, dim, **make)
            angle = torch.randn(1, tokens, dim, **make)
            gate = [
                torch.randn(1, tokens, inter, **make)
                for _ in range(variants_of(size * tokens * inter))
            ]

            def add_norm(i: int, x: list[torch.Tensor] = x) -> object:
                return norm(x[i] + x[i - 1])

            def rotate(
                _: int, q: torch.Tensor = q, k: torch.Tensor = k, angle: torch.Tensor = angle
            ) -> object:
                return apply_rotary_pos_emb(q, k, angle, angle)

            def act(i: int, gate: list[torch.Tensor] = gate) -> object:
                return silu(gate[i]) * gate[i - 1]

            kernels: list[tuple[str, Callable[[int], object], int, int, int]] = [
                ("add_rms_norm", add_norm, len(x), hidden, 4),
                ("rope_cache", rotate, 1, (heads + 2 * kv_heads) * dim, 2),
                ("silu_mul", act, len(gate), inter, 3),
            ]
            for what, run, variants, width, moves in kernels:
                line = {"kind": "elementwise", "what": what, "tokens": tokens, "width": width}
                self.timer.time(run, variants, line | {"bytes": moves * size * tokens * width})
        for sequences in self.sequences:
            logits = torch.randn(1, sequences, shape["vocab_size"], **make)

            def choose(_: int, logits: torch.Tensor = logits) -> object:
                return torch.argmax(logits.float().squeeze(0), dim=-1, keepdim=True)

            line = {"kind": "sampling", "sequences": sequences, "vocabulary": shape["vocab_size"]}
            self.timer.time(choose, 1, line)


class _Batch:
    """Contexts of the sequences that decode, each with its new token, and chunks of prompts: their tokens, and those of
    the same prompt before them."""

    def __init__(self, decoding: list[int]) -> None:
        self.decoding = decoding
        self.chunks: list[tuple[int, int]] = []

    @staticmethod
    def of(requests: list[Request], count: int, luck: random.Random) -> _Batch:
        """So many sequences as they are found at any time: longer answers more often, each somewhere in its answer."""
        found = luck.choices(requests, weights=[r.output for r in requests], k=count)
        return _Batch([r.prompt + luck.randint(1, r.output) for r in found])

    def prompts(self, requests: list[Request], left: int, begun: bool, luck: random.Random) -> None:
        """Prompts for the `left` tokens, the last one cut; the first may have been begun before."""
        while left > 0:
            prompt = luck.choice(requests).prompt
            before = luck.randint(0, prompt - 1) if begun and not self.chunks else 0
            tokens = min(left, prompt - before)
            self.chunks.append((tokens, before))
            left -= tokens


class _Layer:
    """The paged cache of some layers, as `PagedAttentionCache` lays it out."""

    def __init__(self, operations: Operations) -> None:
        shape, config = operations.shape, operations.config
        self.heads, self.kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        self.dim = shape["head_dim"]
        self.pages = config.num_blocks * config.block_size
        size = (self.pages, self.kv_heads, self.dim)
        self.keys, self.values = (
            [torch.randn(size, **operations.make) for _ in range(3)] for _ in range(2)
        )
        # Blocks in any order, as an engine that has run for a while has them.
        order = torch.randperm(config.num_blocks, device=config.device)
        within = torch.arange(config.block_size, device=config.device)
        self.places = (order[:, None] * config.block_size + within).flatten()


def measure(
    config: EngineConfig,
    mixes: dict[str, list[Request]],
    out: Path,
    log: Records,
    seconds: float,
) -> None:
    """Everything for one engine, in at most about `seconds`, into `operations-ENGINE.jsonl` and
    `attention-ENGINE.jsonl`."""
    begin = time.perf_counter()
    records = Records(out, f"operations-{config.name}", log)
    records.raw(device_line(config.device))
    timer = Timer(records, config.device, begin + seconds)
    operations = Operations(config, timer)
    attention = Records(out, f"attention-{config.name}", log)
    sections: list[tuple[str, Callable[[], None]]] = [
        ("linear layers", operations.linears),
        ("elementwise", operations.elementwise),
        ("attention", lambda: operations.attention(attention, mixes)),
    ]
    for what, run in sections:
        at, done, left = time.perf_counter(), timer.done, timer.left_out
        run()
        records.raw(
            {
                "kind": "section",
                "name": what,
                "seconds": round(time.perf_counter() - at, 3),
                "done": timer.done - done,
                "left_out": timer.left_out - left,
                "note": None,
            }
        )
        log.note(
            f"{config.name}, {what}: {timer.done - done} timed, {timer.left_out - left} left out"
        )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    records.raw({"kind": "end", "seconds": round(time.perf_counter() - begin, 3)})
