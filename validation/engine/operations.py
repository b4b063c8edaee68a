"""The engine's own operations, timed one by one on the GPU, in the raw format of `tenfold-microbench`, of which
`tenfold profile fit` makes a profile.

Each operation is captured in a CUDA graph some times in a row, on operands that change from one to the next so that
none is found in the second-level cache, and the graph is replayed between two events."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import linear, silu
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

import models
from records import Records, smi

#: Bytes that operands of one kind take together at least: twice the second-level cache of an H200 (50 MiB).
COLD = 120 << 20
REPLAYS = 5


class Timer:
    """Times operations until a deadline."""

    def __init__(self, records: Records, deadline: float) -> None:
        self.records = records
        self.deadline = deadline
        self.done = self.left_out = 0

    def time(self, operation: Callable[[int], object], variants: int, line: dict[str, Any]) -> None:
        """Times `operation(i)` for i below `variants` in turn, and writes `line` with the time of one."""
        if time.perf_counter() > self.deadline:
            self.left_out += 1
            return
        try:
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
            del graph
            self.write(line, times)
            self.done += 1
        except Exception:
            self.left_out += 1
            self.records.trace(f"operation {line}")

    def write(self, line: dict[str, Any], times: list[float]) -> None:
        """A line with its times in microseconds."""
        summary = {
            "us": round(statistics.median(times), 4),
            "least": round(min(times), 4),
            "most": round(max(times), 4),
            "repeats": len(times),
        }
        self.records.raw({**line, "time": summary})


def variants_of(num_bytes: int) -> int:
    """How many operands of so many bytes do not fit into the second-level cache together."""
    return max(1, min(64, -(-COLD // max(1, num_bytes))))


def device_line(suite: str) -> dict[str, Any]:
    """The first line of the raw format."""
    properties = torch.cuda.get_device_properties(0)
    watts = smi("power.limit")
    return {
        "kind": "device",
        "format": 1,
        "program": f"torch {torch.__version__}",
        "suite": suite,
        "started": int(time.time()),
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
        "nvrtc": str(torch.version.cuda),
        "cublaslt": "of torch",
        "host_cpus": len(os.sched_getaffinity(0)),
    }


def linears(shape: dict[str, Any]) -> list[tuple[int, int]]:
    """The distinct linear layers of a model, as `transformers` runs them (none merged): (out, in)."""
    hidden, inter = shape["hidden_size"], shape["intermediate_size"]
    head = shape["head_dim"]
    found = [
        (shape["num_attention_heads"] * head, hidden),
        (shape["num_key_value_heads"] * head, hidden),
        (hidden, shape["num_attention_heads"] * head),
        (inter, hidden),
        (hidden, inter),
        (shape["vocab_size"], hidden),
    ]
    return list(dict.fromkeys(found))


def gemms(timer: Timer, shape: dict[str, Any]) -> None:
    """Linear layers at the numbers of tokens a batch can have."""
    for n, k in linears(shape):
        variants = variants_of(2 * n * k)
        weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) for _ in range(variants)]
        tokens = (1, 2, 4, 8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
        for m in tokens:
            if n > 100_000 and m > 128:
                continue
            x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
            timer.time(
                lambda i, x=x, weights=weights: linear(x, weights[i]),  # type: ignore[misc]
                variants,
                {"kind": "gemm", "format": "bf16", "m": m, "n": n, "k": k, "purpose": "grid"},
            )


class Attention:
    """A paged cache of one layer after another, as `PagedAttentionCache` lays it out and updates it."""

    def __init__(self, shape: dict[str, Any], pages: int = 98304, layers: int = 4) -> None:
        self.heads, self.kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        self.dim = shape["head_dim"]
        cache_shape = (pages, self.kv_heads, self.dim)
        self.pages, self.layers = pages, layers
        make = {"device": "cuda", "dtype": torch.bfloat16}
        self.keys = [torch.randn(cache_shape, **make) for _ in range(layers)]  # type: ignore[arg-type]
        self.values = [torch.randn(cache_shape, **make) for _ in range(layers)]  # type: ignore[arg-type]
        self.make = make
        self.order = torch.randperm(pages // 32, device="cuda")

    def time(self, timer: Timer, new: int, before: int, batch: int, line: dict[str, Any]) -> None:
        """Attention of `batch` sequences with `new` tokens after `before`: gather, kernel and all."""
        total = batch * (new + before)
        if total > self.pages:
            return
        q = torch.randn(1, self.heads, batch * new, self.dim, **self.make)  # type: ignore[arg-type]
        k = torch.randn(batch * new, self.kv_heads, self.dim, **self.make)  # type: ignore[arg-type]
        places = (self.order[:, None] * 32 + torch.arange(32, device="cuda")).flatten()
        read = places[:total].contiguous()
        write = read.view(batch, new + before)[:, before:].flatten().contiguous()
        lengths_q = torch.arange(0, batch + 1, device="cuda", dtype=torch.int32) * new
        lengths_k = torch.arange(0, batch + 1, device="cuda", dtype=torch.int32) * (new + before)

        def attend(i: int) -> object:
            keys, values = self.keys[i], self.values[i]
            keys.index_copy_(0, write, k)
            values.index_copy_(0, write, k)
            gathered = torch.index_select(keys, 0, read), torch.index_select(values, 0, read)
            return models.varlen_attention(
                q.transpose(1, 2).squeeze(0).contiguous(),
                gathered[0].contiguous(),
                gathered[1].contiguous(),
                lengths_q.to(torch.int32),
                lengths_k.to(torch.int32).clone(),
                new,
                new + before,
                self.dim**-0.5,
            )

        shape = {"heads": self.heads, "kv_heads": self.kv_heads, "head_dim": self.dim}
        timer.time(attend, self.layers, {**line, **shape})


def attention(timer: Timer, shape: dict[str, Any]) -> None:
    """Decode and prefill attention on the grid that `profile fit` reads."""
    layer = Attention(shape)
    for batch in (1, 2, 4, 8, 16, 32, 64):
        for context in (64, 128, 256, 512, 1024, 1536):
            layer.time(
                timer,
                1,
                context - 1,
                batch,
                {
                    "kind": "decode_attention",
                    "paged": True,
                    "kv": "bf16",
                    "batch": batch,
                    "context": context,
                },
            )
    for tokens in (16, 32, 64, 128, 256, 512, 1024):
        for before in (0, 512, 1024, 2048):
            for batch in (1, 2, 4):
                if batch * tokens > 1024:
                    continue
                layer.time(
                    timer,
                    tokens,
                    before,
                    batch,
                    {
                        "kind": "prefill_attention",
                        "kv": "bf16",
                        "batch": batch,
                        "tokens": tokens,
                        "before": before,
                    },
                )
    del layer
    torch.cuda.empty_cache()


def elementwise(timer: Timer, shape: dict[str, Any]) -> None:
    """Norms, rotation and activation as `transformers` runs them, unfused."""
    hidden, inter, dim = shape["hidden_size"], shape["intermediate_size"], shape["head_dim"]
    heads, kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
    make: dict[str, Any] = {"device": "cuda", "dtype": torch.bfloat16}
    norm = LlamaRMSNorm(hidden, eps=1e-5).to(**make)
    for tokens in (1, 8, 16, 32, 64, 128, 256, 512, 1024):

        def line(what: str, width: int, moved: int, tokens: int = tokens) -> dict[str, Any]:
            return {
                "kind": "elementwise",
                "what": what,
                "tokens": tokens,
                "width": width,
                "bytes": moved,
            }

        x = [torch.randn(1, tokens, hidden, **make) for _ in range(variants_of(2 * tokens * hidden))]

        def add_norm(i: int, x: list[torch.Tensor] = x) -> object:
            return norm(x[i] + x[i - 1])

        timer.time(add_norm, len(x), line("add_rms_norm", hidden, 8 * tokens * hidden))
        q = torch.randn(1, heads, tokens, dim, **make)
        k = torch.randn(1, kv_heads, tokens, dim, **make)
        angle = torch.randn(1, tokens, dim, **make)

        def rotate(
            _: int, q: torch.Tensor = q, k: torch.Tensor = k, angle: torch.Tensor = angle
        ) -> object:
            return apply_rotary_pos_emb(q, k, angle, angle)

        width = (heads + kv_heads) * dim
        timer.time(rotate, 1, line("rope_cache", width, 4 * tokens * width))
        gate = [torch.randn(1, tokens, inter, **make) for _ in range(variants_of(2 * tokens * inter))]

        def act(i: int, gate: list[torch.Tensor] = gate) -> object:
            return silu(gate[i]) * gate[i - 1]

        timer.time(act, len(gate), line("silu_mul", inter, 6 * tokens * inter))
    for sequences in (1, 4, 16, 32, 64):
        logits = torch.randn(1, sequences, shape["vocab_size"], **make)
        timer.time(
            lambda _, logits=logits: torch.argmax(logits.float().squeeze(0), dim=-1, keepdim=True),  # type: ignore[misc]
            1,
            {"kind": "sampling", "sequences": sequences, "vocabulary": shape["vocab_size"]},
        )


def machine(timer: Timer) -> None:
    """Copies within the device, launches and nodes of a graph."""
    for bytes_ in (1 << 20, 16 << 20, 256 << 20, 1 << 30):
        source = torch.empty(bytes_, dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        timer.time(
            lambda _, s=source, t=target: t.copy_(s),  # type: ignore[misc]
            1,
            {"kind": "copy", "way": "d2d", "pinned": False, "bytes": bytes_},
        )
    one = torch.zeros(1, device="cuda")
    timer.time(lambda _: one.add_(1), 1, {"kind": "latency", "what": "graph_node", "bytes": 0})
    times = []
    for _ in range(9):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(200):
            one.add_(1)
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1e6 / 200)
    timer.write({"kind": "latency", "what": "launch", "bytes": 0}, times)


def measure(names: list[str], records: Records, seconds: float) -> None:
    """Everything for the models `names`, in at most about `seconds`."""
    begin = time.perf_counter()
    records.raw(device_line("full"))
    share = seconds / max(1, len(names))
    for index, name in enumerate(names):
        timer = Timer(records, begin + share * (index + 1))
        shape = models.SHAPES[name]
        for what, run in (
            ("elementwise", elementwise),
            ("attention", attention),
            ("gemm", gemms),
        ):
            at, done, left = time.perf_counter(), timer.done, timer.left_out
            run(timer, shape)
            records.raw(
                {
                    "kind": "section",
                    "name": f"{what} {name}",
                    "seconds": round(time.perf_counter() - at, 3),
                    "done": timer.done - done,
                    "left_out": timer.left_out - left,
                    "note": None,
                }
            )
            records.note(f"{what} {name}: {timer.done - done} timed, {timer.left_out - left} left out")
            torch.cuda.empty_cache()
    machine(Timer(records, begin + seconds + 5))
    records.raw({"kind": "end", "seconds": round(time.perf_counter() - begin, 3)})
