"""Copies and matrix products by PyTorch: an independent measure beside `tenfold-microbench`, on the same machine.

Usage: python torch_ceilings.py OUT.json [SECONDS]

Each call is recorded many times in one CUDA graph over rotated buffers of random data, as the microbenchmark does,
but by PyTorch's own kernels and choice of algorithm.
"""

import json
import statistics
import sys
import time

import torch

GIB = 1 << 30
DEVICE = torch.device("cuda")


def timed(call, bytes_each, repeats=7):
    """Microseconds of one of many calls that one graph holds: median, least, most."""
    stream = torch.cuda.Stream()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with torch.cuda.stream(stream):
        for turn in range(3):
            call(turn)
        stream.synchronize()
        start.record(stream)
        call(0)
        end.record(stream)
        stream.synchronize()
        once = max(start.elapsed_time(end), 1e-3)
        beyond_cache = -(-3 * torch.cuda.get_device_properties(0).L2_cache_size // bytes_each)
        count = max(1, min(512, max(int(1 / once) + 1, beyond_cache)))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for turn in range(count):
                call(turn)
        graph.replay()
        graph.replay()
        times = []
        for _ in range(repeats):
            start.record(stream)
            graph.replay()
            end.record(stream)
            stream.synchronize()
            times.append(start.elapsed_time(end) * 1e3 / count)
    return {"us": statistics.median(times), "least": min(times), "most": max(times), "repeats": repeats}


def copies():
    for bytes_each in [1 << 26, 1 << 28, GIB, 4 * GIB]:
        turns = max(1, min(8, 4 * GIB // bytes_each))
        source = torch.randint(0, 256, (turns, bytes_each), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        time_ = timed(lambda turn: target[turn % turns].copy_(source[turn % turns]), 2 * bytes_each)
        yield {"kind": "copy", "bytes": bytes_each, "time": time_}
        del source, target


def products():
    shapes = [
        (8192, 8192, 8192),
        (4096, 28672, 4096),
        (4096, 4096, 14336),
        (1024, 28672, 4096),
        (256, 28672, 4096),
        (64, 28672, 4096),
        (1, 28672, 4096),
        (4096, 18432, 9216),
        (512, 36864, 12288),
    ]
    for m, n, k in shapes:
        turns = max(1, min(16, 8 * GIB // (2 * n * k)))
        weights = [torch.empty((n, k), dtype=torch.bfloat16, device=DEVICE).uniform_(-1, 1) for _ in range(turns)]
        tokens = torch.empty((m, k), dtype=torch.bfloat16, device=DEVICE).uniform_(-1, 1)
        out = torch.empty((m, n), dtype=torch.bfloat16, device=DEVICE)
        time_ = timed(lambda turn: torch.mm(tokens, weights[turn % turns].t(), out=out), 2 * n * k)
        yield {"kind": "gemm", "format": "bf16", "m": m, "n": n, "k": k, "time": time_}
        if m % 16 == 0:
            one = torch.ones((), device=DEVICE)
            narrow = [weight.to(torch.float8_e4m3fn) for weight in weights]
            inputs = tokens.to(torch.float8_e4m3fn)

            def scaled(turn):
                weight = narrow[turn % turns].t()
                return torch._scaled_mm(inputs, weight, one, one, out_dtype=torch.bfloat16, use_fast_accum=True)

            time_ = timed(scaled, n * k)
            yield {"kind": "gemm", "format": "fp8", "m": m, "n": n, "k": k, "time": time_}


def main():
    path = sys.argv[1]
    until = time.monotonic() + (float(sys.argv[2]) if len(sys.argv) > 2 else 60.0)
    with open(path, "w", encoding="utf-8") as file:
        facts = {
            "kind": "device",
            "name": torch.cuda.get_device_name(0),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
        }
        file.write(json.dumps(facts) + "\n")
        for section in (copies, products):
            for line in section():
                file.write(json.dumps(line) + "\n")
                file.flush()
                if time.monotonic() > until:
                    return


if __name__ == "__main__":
    main()
