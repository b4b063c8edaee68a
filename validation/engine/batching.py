"""A ranking model behind dynamic batching: `python batching.py --out DIR`.

The model is of the DLRM kind (tables of embeddings, two perceptrons, products between features); a request brings
candidates to rank. The batcher is that of Triton with one instance and no preferred sizes: an idle instance takes all
that wait when they fill a batch, when the oldest has waited for the delay, or at once where there is none.

Written into DIR: `batching.jsonl`, line by line, and a log."""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import deque
from pathlib import Path

import torch
from torch import nn

from records import Records, facts

#: Candidates of a request: on a GPU so many that the model takes the time, not the batcher that is in Python.
CANDIDATES = {"cuda": 4096, "cpu": 128}
DENSE, TABLES, WIDTH = 13, 26, 64


class Ranker(nn.Module):
    """DLRM (Naumov et al. 2019) with the layers of its MLPerf form, narrower tables."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, WIDTH) for _ in range(TABLES))
        self.bottom = self._layers(DENSE, 512, 256, WIDTH)
        pairs = (TABLES + 1) * TABLES // 2
        self.top = self._layers(WIDTH + pairs, 1024, 1024, 512, 256, 1)
        self.rows, self.columns = torch.tril_indices(TABLES + 1, TABLES + 1, offset=-1)

    @staticmethod
    def _layers(*widths: int) -> nn.Sequential:
        parts: list[nn.Module] = []
        for inner, outer in zip(widths[:-1], widths[1:], strict=True):
            parts += [nn.Linear(inner, outer), nn.ReLU()]
        return nn.Sequential(*parts[:-1])

    def forward(self, dense: torch.Tensor, sparse: torch.Tensor) -> torch.Tensor:
        """Scores of candidates."""
        low = self.bottom(dense)
        vectors = [low, *(table(sparse[:, i]) for i, table in enumerate(self.tables))]
        features = torch.stack(vectors, dim=1)
        products = torch.bmm(features, features.transpose(1, 2))
        together = torch.cat([low, products[:, self.rows, self.columns]], dim=1)
        scores: torch.Tensor = self.top(together).squeeze(1)
        return scores


class Server:
    """One instance of the model and the batcher before it. On a GPU each size of a batch is a CUDA graph."""

    def __init__(self, device: str, rows: int, max_batch: int) -> None:
        self.device = device
        with torch.device(device):
            self.model = Ranker(rows).eval()
        self.candidates = CANDIDATES[device]
        # Requests follow each other in the pool as they come, so that those of a batch lie in a row.
        self.pool = 64
        own = (self.pool, self.candidates)
        self.dense = torch.randn(*own, DENSE).repeat(2, 1, 1)
        self.sparse = torch.randint(rows, (*own, TABLES), dtype=torch.int32).repeat(2, 1, 1)
        self.max_batch = max_batch
        self.graphs: list[torch.cuda.CUDAGraph] = []
        if device == "cuda":
            self.dense, self.sparse = self.dense.pin_memory(), self.sparse.pin_memory()
            self.capture()
        self.delay = 0.0
        self.waiting: deque[tuple[int, float]] = deque()
        self.changed = threading.Condition()
        self.open = True
        self.done: dict[int, float] = {}
        self.batches: list[tuple[int, float]] = []

    @torch.no_grad()
    def capture(self) -> None:
        """A graph for every size of a batch, all on the same buffers."""
        most = self.max_batch * self.candidates
        self.inputs = [
            torch.zeros(most, part.shape[2], dtype=part.dtype, device=self.device)
            for part in (self.dense, self.sparse)
        ]
        self.scores = torch.empty(most, device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self.model(*self.inputs)
        torch.cuda.current_stream().wait_stream(side)
        memory = torch.cuda.graph_pool_handle()
        for size in range(1, self.max_batch + 1):
            rows = size * self.candidates
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=memory):
                self.scores[:rows] = self.model(*(part[:rows] for part in self.inputs))
            self.graphs.append(graph)

    @torch.no_grad()
    def execute(self, first: int, size: int) -> torch.Tensor:
        """Ranks the candidates of `size` requests from the `first` on, from the host's memory to the host's memory."""
        at, rows = first % self.pool, size * self.candidates
        dense, sparse = (part[at : at + size].flatten(0, 1) for part in (self.dense, self.sparse))
        if not self.graphs:
            scores: torch.Tensor = self.model(dense.to(self.device), sparse.to(self.device)).cpu()
            return scores
        for into, part in zip(self.inputs, (dense, sparse), strict=True):
            into[:rows].copy_(part, non_blocking=True)
        self.graphs[size - 1].replay()
        return self.scores[:rows].cpu()

    def check(self) -> float:
        """The largest difference between the scores of graphs and those of the model without."""
        if not self.graphs:
            return 0.0
        worst = 0.0
        for first, size in ((0, 1), (60, 8), (3, self.max_batch)):
            found, graphs = self.execute(first, size), self.graphs
            self.graphs = []
            worst = max(worst, float((self.execute(first, size) - found).abs().max()))
            self.graphs = graphs
        return worst

    def _next(self) -> tuple[int, int]:
        """The first request of the next batch, and how many there are."""
        with self.changed:
            while True:
                if not self.waiting:
                    if not self.open:
                        return 0, 0
                    self.changed.wait()
                    continue
                left = self.waiting[0][1] + self.delay - time.perf_counter()
                if len(self.waiting) >= self.max_batch or left <= 0 or not self.open:
                    count = min(self.max_batch, len(self.waiting))
                    taken = [self.waiting.popleft()[0] for _ in range(count)]
                    return taken[0], count
                self.changed.wait(left)

    def serve(self) -> None:
        """Takes batches until there are no more."""
        while True:
            first, size = self._next()
            if size == 0:
                return
            begin = time.perf_counter()
            self.execute(first, size)
            end = time.perf_counter()
            self.batches.append((size, end - begin))
            for number in range(first, first + size):
                self.done[number] = end

    def submit(self, number: int) -> float:
        """A request comes; when."""
        with self.changed:
            now = time.perf_counter()
            self.waiting.append((number, now))
            self.changed.notify()
        return now


def timed(server: Server, sizes: list[int], repeats: int, records: Records) -> dict[int, float]:
    """Executions of a server that is busy, batch by batch, with what the batcher takes between them: medians in
    seconds."""
    found = {}
    most = server.max_batch
    for size in sizes:
        server.max_batch, server.delay, server.open = size, 0.0, False
        server.done.clear()
        # All are there before it begins, and it ends when they are done.
        server.waiting.extend((number, 0.0) for number in range((repeats + 3) * size))
        server.serve()
        ends = sorted(set(server.done.values()))
        times = sorted(end - begin for begin, end in zip(ends[2:-1], ends[3:], strict=True))
        found[size] = times[len(times) // 2]
        records.write("execution", batch=size, us=[round(t * 1e6, 1) for t in times])
    server.max_batch = most
    return found


def load(
    server: Server, name: str, rate: float, seconds: float, delay: float, seed: int, records: Records
) -> None:
    """Poisson arrivals for so long."""
    server.delay, server.open = delay, True
    server.done.clear()
    server.batches.clear()
    luck = random.Random(seed)
    thread = threading.Thread(target=server.serve)
    thread.start()
    start = time.perf_counter()
    due = start
    arrivals: list[float] = []
    while (due := due + luck.expovariate(rate)) < start + seconds:
        while (left := due - time.perf_counter()) > 0:
            # Late by some 60 us, which is no harm: what is written down is when it came.
            time.sleep(left)
        arrivals.append(server.submit(len(arrivals)))
    with server.changed:
        server.open = False
        server.changed.notify()
    thread.join()
    latencies = [server.done[i] - arrival for i, arrival in enumerate(arrivals)]
    records.write(
        "batching",
        run=name,
        max_batch=server.max_batch,
        delay_us=round(delay * 1e6),
        rate=round(rate, 3),
        seconds=seconds,
        arrivals=[round(arrival - start, 6) for arrival in arrivals],
        latencies_us=[round(latency * 1e6, 1) for latency in latencies],
        batches=[size for size, _ in server.batches],
        execution_us=[round(took * 1e6, 1) for _, took in server.batches],
    )
    ordered = sorted(latencies)
    records.note(
        f"{name}: {len(ordered)} requests, p50 {1e3 * ordered[len(ordered) // 2]:.2f} ms, "
        f"p99 {1e3 * ordered[int(0.99 * (len(ordered) - 1))]:.2f} ms, mean batch "
        f"{len(ordered) / max(1, len(server.batches)):.2f}"
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--budget", type=float, default=90.0, help="seconds after which no run is begun")
    parser.add_argument("--window", type=float, default=4.0, help="seconds of load of a run")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        print("PyTorch sees no GPU here: expected one, or --device cpu", file=sys.stderr)
        return 2
    sys.setswitchinterval(0.0005)
    if args.device == "cpu":
        # The other processors are for the load generator.
        torch.set_num_threads(1)
    end = time.perf_counter() + args.budget
    records = Records(args.out, "batching")
    records.write("machine", **facts(args.device), candidates=CANDIDATES[args.device])
    rows, most, repeats = (200_000, 32, 60) if args.device == "cuda" else (1_000, 8, 20)
    server = Server(args.device, rows, most)
    worst = server.check()
    records.write("check", what="graphs", worst=worst, tolerance=1e-3)
    if worst > 1e-3:
        raise RuntimeError(f"graphs give other scores: {worst} off")
    sizes = [size for size in (1, 2, 4, 8, 12, 16, 24, 32) if size <= most]
    times = timed(server, sizes, repeats, records)
    for share in (0.5, 0.8):
        for max_batch in (most, max(1, most // 4)):
            for delay_share in (0.0, 0.25, 1.0):
                # The delay in times of a full execution, so that it means the same on every machine.
                delay = round(delay_share * times[max_batch], 6)
                rate = share * max_batch / times[max_batch]
                name = f"batch-{max_batch}/delay-{delay * 1e6:.0f}us/load-{100 * share:.0f}"
                if time.perf_counter() + args.window > end:
                    records.write("left_out", what=name, seconds=args.window)
                    continue
                try:
                    server.max_batch = max_batch
                    load(server, name, rate, args.window, delay, len(name), records)
                except Exception:
                    records.failed(name)
    records.write("end", seconds=round(args.budget - (end - time.perf_counter()), 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
