"""Runs a serving engine with random weights under load and writes down what it did: `python suite.py --out DIR`.

Written into DIR, line by line: `engine.jsonl` (machine, engines, runs, requests, steps), `operations.jsonl` (the
engine's own operations, one by one, in the raw format that `tenfold profile fit` reads) and a log beside each."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

import models
import operations
from engine import Engine, EngineConfig, Request, read_requests
from records import Records, facts

WORKLOADS = Path(__file__).parent / "workloads"


def mean_output(requests: list[Request]) -> float:
    """Mean tokens of an answer."""
    return float(sum(request.output for request in requests)) / len(requests)


class Suite:
    """What is run, until the time is up."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.end = time.perf_counter() + args.budget
        # Seconds that are kept for later engines.
        self.kept = 0.0
        self.records = Records(args.out, "engine")
        self.mixes = {
            mix: read_requests(WORKLOADS / f"{mix}.csv") for mix in ("chat", "document")
        }
        if args.device == "cpu":
            # As long in steps as a CPU can do.
            for requests in self.mixes.values():
                for request in requests:
                    request.prompt = max(1, request.prompt // 8)
                    request.output = max(2, request.output // 4)
        self.capacity: dict[tuple[str, str], float] = {}
        self.records.write("machine", **facts(args.device), budget_seconds=args.budget)

    def left(self) -> float:
        """Seconds left."""
        return self.end - time.perf_counter()

    def fits(self, seconds: float, what: str) -> bool:
        """Whether there is time for it; says so where there is not."""
        if self.left() - self.kept >= seconds:
            return True
        self.records.write("left_out", what=what, seconds=seconds)
        self.records.note(f"left out: {what}")
        return False

    def warm(self, engine: Engine) -> None:
        """Batches of all sizes, so that graphs are captured and kernels loaded before anything is measured."""
        for mix, requests in self.mixes.items():
            for users in (1, engine.config.max_requests_per_batch):
                engine.run(
                    f"{engine.config.name}/warm/{mix}/{users}",
                    requests[-400:],
                    users=users,
                    seconds=self.args.window / (12 if users == 1 else 6),
                    drain=0,
                    purpose="warm",
                    mix=mix,
                )

    def closed(self, engine: Engine, mix: str, users: int, seconds: float, purpose: str) -> None:
        """So many users, each with one request at a time. With `max_requests_per_batch` of them: the saturation."""
        name = f"{engine.config.name}/{mix}/users-{users}"
        if not self.fits(seconds + 3, name):
            return
        requests = self.mixes[mix]
        summary = engine.run(
            name, requests, users=users, seconds=seconds, drain=0, purpose=purpose, mix=mix
        )
        if purpose == "saturation":
            rate = summary["window_output_tokens_per_second"] / mean_output(requests)
            self.capacity[(engine.config.name, mix)] = rate
            self.records.write(
                "saturation", engine=engine.config.name, mix=mix, requests_per_second=round(rate, 4)
            )

    def load(self, engine: Engine, mix: str, share: float, repeat: int = 0) -> None:
        """Poisson arrivals at `share` of the saturation; those of a repeat are the same."""
        name = f"load-{round(100 * share)}" + (f"/{repeat}" if repeat else "")
        self.replay(engine, mix, name, [share], repeat)

    def step(self, engine: Engine, mix: str, low: float, high: float) -> None:
        """Poisson arrivals at one share of the saturation for half of the time, then at another."""
        self.replay(engine, mix, f"step-{round(100 * low)}-{round(100 * high)}", [low, high])

    def replay(
        self, engine: Engine, mix: str, what: str, shares: list[float], repeat: int = 0
    ) -> None:
        """The workload's file at shares of the saturation, each for as long as the others."""
        rate = self.capacity.get((engine.config.name, mix))
        name = f"{engine.config.name}/{mix}/{what}"
        window = self.args.window
        if rate is None or not self.fits(1.5 * window, name):
            return
        mean, part = sum(shares) / len(shares), window / len(shares)

        def at(due: float) -> float:
            # The file has one request a second.
            start = 0.0
            for share in shares[:-1]:
                if due < part * rate * share:
                    return start + due / (rate * share)
                due -= part * rate * share
                start += part
            return start + due / (rate * shares[-1])

        engine.run(
            name,
            [replace(r, arrival=at(r.arrival)) for r in self.mixes[mix]],
            seconds=window,
            drain=window * 0.6 if mean < 1 else 0.0,
            purpose="load",
            mix=mix,
            share=mean,
            rate=round(rate * mean, 4),
            repeat=repeat,
        )

    def engine(self, config: EngineConfig, plan: str) -> None:
        """Everything with one engine, what matters most first."""
        window = self.args.window
        many = config.max_requests_per_batch
        try:
            with Engine(config, self.records) as engine:
                self.warm(engine)
                if plan == "host":
                    for users in (1, many // 8, many // 2, many):
                        self.closed(engine, "chat", max(1, users), window / 4, "host")
                    self.closed(engine, "document", max(1, many // 2), window / 4, "host")
                    return
                self.closed(engine, "chat", 1, window / 2, "single")
                self.closed(engine, "chat", many, 0.8 * window, "saturation")
                self.load(engine, "chat", 0.8)
                self.load(engine, "chat", 0.5)
                self.load(engine, "chat", 1.1)
                self.closed(engine, "document", 1, window / 3, "single")
                self.closed(engine, "document", many, 0.6 * window, "saturation")
                self.load(engine, "document", 0.8)
                if plan == "short":
                    return
                self.load(engine, "chat", 0.8, repeat=1)
                self.step(engine, "chat", 0.4, 0.9)
                self.load(engine, "document", 0.5)
                self.load(engine, "chat", 0.1)
                self.load(engine, "chat", 1.2)
                self.load(engine, "chat", 0.9)
                self.load(engine, "chat", 0.3)
        except Exception:
            self.records.failed(config.name)

    def operations(self, config: EngineConfig, seconds: float) -> None:
        """The operations of an engine, one by one."""
        try:
            seconds = min(seconds, self.left())
            operations.measure(config, self.mixes, self.args.out, self.records, seconds)
        except Exception:
            self.records.failed(f"operations of {config.name}")

    def check(self, device: str) -> None:
        """The attention kernel beside PyTorch's own, sequence by sequence, on sequences that have some tokens behind
        them and on whole prompts."""
        torch.manual_seed(2)
        new, seen = [1, 1, 7, 64, 128], [1, 300, 7, 300, 129]
        dtype = torch.bfloat16 if device != "cpu" else torch.float32
        q = torch.randn(sum(new), 8, 64, device=device, dtype=dtype)
        k, v = (torch.randn(sum(seen), 2, 64, device=device, dtype=dtype) for _ in range(2))
        bounds = [
            torch.tensor([sum(n[:i]) for i in range(len(n) + 1)], device=device, dtype=torch.int32)
            for n in (new, seen)
        ]
        starts_q, starts_k = bounds

        def attend(*x: torch.Tensor) -> torch.Tensor:
            return models.varlen_attention(
                x[0], x[1], x[2], x[3], x[4], max_q=max(new), max_k=max(seen), scale=0.125
            )

        out = attend(q, k, v, starts_q, starts_k)
        expected = attend(
            *(x.float().cpu() for x in (q, k, v)), *(x.cpu() for x in (starts_q, starts_k))
        )
        worst = float((out.float().cpu() - expected).abs().max())
        self.records.write("check", what="attention", worst=worst, tolerance=0.02)
        self.records.note(f"attention: largest error {worst:.5f}")
        if worst > 0.02:
            raise RuntimeError(f"the attention kernel is wrong by {worst}")

    def same(self, configs: list[EngineConfig]) -> None:
        """Whether engines give the same tokens for the same prompts."""
        answers = []
        for config in configs:
            with Engine(config, self.records) as engine:
                for index in range(4):
                    engine._ask(f"same:{index}", Request(0.0, 40 + 30 * index, 24))
                found: dict[str, list[int]] = {}
                until = time.perf_counter() + 30
                while len(found) < 4 and time.perf_counter() < until:
                    if (result := engine._take(0.1)) is not None:
                        found[result.request_id] = list(result.generated_tokens)
                answers.append(found)
        equal = total = 0
        for key, tokens in answers[0].items():
            for other in answers[1:]:
                total += len(tokens)
                equal += sum(a == b for a, b in zip(tokens, other.get(key, []), strict=False))
        self.records.write("same", engines=[c.name for c in configs], tokens=total, equal=equal)
        self.records.note(f"same tokens of {[c.name for c in configs]}: {equal} of {total}")

    def smoke(self) -> None:
        """One model, a few seconds of everything: does it work here?"""
        args = self.args
        try:
            self.check(args.device)
            # A small cache has few graphs.
            few = 256 if args.device == "cuda" else 512
            plain = replace(self.config(args.small, False), num_blocks=few, asynchronous=False)
            self.same([plain, replace(self.config(args.small, True), num_blocks=few)])
        except Exception:
            self.records.failed("check")
        try:
            with Engine(self.config(args.small, not args.eager), self.records) as engine:
                self.warm(engine)
                self.closed(engine, "chat", 1, args.window / 2, "single")
                self.closed(
                    engine, "chat", engine.config.max_requests_per_batch, args.window, "saturation"
                )
                self.load(engine, "chat", 0.8)
        except Exception:
            self.records.failed("smoke")
        self.operations(self.config(args.small, not args.eager), 12)

    def config(self, model: str, graphs: bool) -> EngineConfig:
        """An engine of `model`."""
        args = self.args
        graphs = graphs and args.device != "cpu"
        config = EngineConfig(
            name=f"{model}{'-graphs' if graphs else ''}",
            model=model,
            device=args.device,
            cuda_graph=graphs,
            # It needs CUDA; PyTorch without it has no second stream to prepare a batch on.
            asynchronous=args.device != "cpu" and not args.synchronous,
        )
        if args.device == "cpu":
            config = replace(
                config, max_batch_tokens=128, max_requests_per_batch=16, num_blocks=512
            )
        return config

    def run(self) -> None:
        """All of it."""
        args = self.args
        began = time.perf_counter()
        if args.smoke:
            self.smoke()
        else:
            graphs = not args.eager
            try:
                self.check(args.device)
            except Exception:
                self.records.failed("check")
                return
            large, small = (self.config(name, graphs) for name in (args.large, args.small))
            # What calibrates comes first: without it runs under load are worth nothing.
            self.operations(large, 0.1 * args.budget)
            self.engine(self.config(f"host-{args.large}", graphs), "host")
            self.kept = 0.34 * args.budget if large != small else 0.0
            self.engine(large, "full")
            self.kept = 0.0
            if large != small:
                self.operations(small, 0.06 * args.budget)
                self.engine(self.config(f"host-{args.small}", graphs), "host")
                self.engine(small, "short")
        self.records.write("end", seconds=round(time.perf_counter() - began, 3))
        self.records.note("done")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--budget", type=float, default=520.0, help="seconds after which no run is begun")
    parser.add_argument("--window", type=float, default=14.0, help="seconds of load of a run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--large", default="llama-3.1-8b", choices=sorted(models.SHAPES))
    parser.add_argument("--small", default="llama-3.2-1b", choices=sorted(models.SHAPES))
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    parser.add_argument("--synchronous", action="store_true", help="without preparing a batch while one runs")
    parser.add_argument("--smoke", action="store_true", help="only see whether everything works")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here: expected one, or --device cpu", file=sys.stderr)
        return 2
    # The load generator shares the interpreter with the engine: it must not wait 5 ms for its turn.
    sys.setswitchinterval(0.0005)
    if args.device == "cpu":
        # The other processors are for the load generator.
        torch.set_num_threads(1)
    Suite(args).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
