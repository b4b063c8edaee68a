"""What the package costs beside the command: prints figures, asserts only that results are the same.

Usage, with a release build of both and nothing else on the machine::

    cargo build --release --locked -p tenfold-cli
    pip install ./python polars distributed psutil
    python python/benchmarks/figures.py target/release/tenfold

Pairs are run in alternating order; ratios are medians over the rounds, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import tenfold

#: One server of which the sweeps draw the number of servers and the load.
ONE_SERVER = {
    "name": "One server",
    "run": {"duration": "5m", "warmup": "1s", "replications": 1},
    "slo": {"latency": {"p99": "1s"}},
    "traffic": {"web": {"arrivals": {"process": "poisson", "rate": "8/s"}, "entry": "db"}},
    "components": {"db": {"kind": "service", "service_time": {"exponential": {"mean": "100ms"}}}},
}
AXES = {"components.db.servers": "1..4/1", "scale": "0.5..1.5"}

Figure = dict[str, float]


def paired(what: str, rounds: int, first: Callable[[int], Figure], second: Callable[[int], Figure]) -> None:
    """Runs both in each round, the second first in every other one, and prints second over first."""
    got: list[tuple[Figure, Figure]] = []
    for place in range(rounds + 1):
        if place % 2:
            there = first(place), second(place)
        else:
            after = second(place)
            there = first(place), after
        # The first round warms up.
        if place:
            got.append(there)
    for key in got[0][0]:
        ratios = sorted(b[key] / a[key] for a, b in got)
        a, b = (statistics.median(pair[side][key] for pair in got) for side in (0, 1))
        print(
            f"{what}, {key}: {a:.3f} s and {b:.3f} s, ratio {statistics.median(ratios):.3f}"
            f" ({ratios[0]:.3f} to {ratios[-1]:.3f})",
            flush=True,
        )


def timed(work: Callable[[], object]) -> Figure:
    """Wall and CPU seconds of this process and of children that ended meanwhile."""

    def cpu() -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(one.ru_utime + one.ru_stime for one in used)

    wall, before = time.perf_counter(), cpu()
    work()
    return {"wall": time.perf_counter() - wall, "CPU": cpu() - before}


def command(binary: str, file: Path, out: Path, points: int, duration: str) -> None:
    axes = [f"--axis={path}={values}" for path, values in AXES.items()]
    many = ["--samples", str(points), "--duration", duration, "--jobs", "2"]
    subprocess.run([binary, "sweep", file, *axes, *many, "--out", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def frames(directory: Path) -> None:
    import polars as pl

    rows = 1_000_000
    made = pl.DataFrame({"point": range(rows), "latency_p99_s": [float(row) for row in range(rows)]})
    made = made.with_columns(finding=pl.format("nothing is overloaded at point {}", "point"))
    made.write_parquet(directory / "million.parquet")
    frame = tenfold.Frame.read_parquet(directory / "million.parquet")
    took = [timed(lambda: pl.DataFrame(frame))["wall"] for _ in range(21)]
    assert pl.DataFrame(frame).equals(made)
    print(f"a million rows to polars: {1e3 * statistics.median(took):.2f} ms")


def calls() -> None:
    scenario = tenfold.Scenario.from_dict(ONE_SERVER).set({"run.duration": "2s"})
    took = [timed(lambda: tenfold.run(scenario, threads=1, progress=False))["wall"] for _ in range(1_001)]
    print(f"a call of run with some sixteen requests, all that it costs: {1e3 * statistics.median(took):.3f} ms")


def threads(rounds: int) -> None:
    """Two at a time, each on a thread of Python, and one beside a thread of Python that never rests."""
    scenario = tenfold.Scenario.from_dict(ONE_SERVER).set({"run.duration": "24h"})

    def one() -> None:
        tenfold.run(scenario, threads=1, progress=False)

    def two() -> None:
        other = threading.Thread(target=one)
        other.start()
        one()
        other.join()

    paired("one run, and two at a time on two threads of Python", rounds, lambda _: timed(one), lambda _: timed(two))

    def beside(busy: bool) -> Figure:
        stop, turns = threading.Event(), 0

        def count() -> None:
            nonlocal turns
            while not stop.is_set():
                turns += 1

        counter = threading.Thread(target=count)
        if busy:
            counter.start()
        took = timed(one)["wall"]
        stop.set()
        if busy:
            counter.join()
        return {"wall": took}

    paired("one run alone, and beside a busy thread of Python", rounds, lambda _: beside(False), lambda _: beside(True))


def sweeps(binary: str, directory: Path, rounds: int, points: int, duration: str) -> None:
    scenario = tenfold.Scenario.from_dict(ONE_SERVER)
    file = directory / "one.toml"
    file.write_text(scenario.to_toml())

    def by_command(place: int) -> Figure:
        return timed(lambda: command(binary, file, directory / f"command-{place}", points, duration))

    def same(place: int, other: Path) -> None:
        there = directory / f"command-{place}"
        if there.exists() and other.exists():
            assert (there / "sweep.parquet").read_bytes() == (other / "sweep.parquet").read_bytes()
            shutil.rmtree(there)
            shutil.rmtree(other)

    def here(place: int) -> Figure:
        out = directory / f"package-{place}"
        return timed(
            lambda: tenfold.sweep(scenario, AXES, samples=points, duration=duration, out=out, threads=2, progress=False)
        )

    def checked(run: Callable[[int], Figure], name: str) -> Callable[[int], Figure]:
        def both(place: int) -> Figure:
            took = run(place)
            same(place, directory / f"{name}-{place}")
            return took

        return both

    label = f"{points} points of {duration}"
    paired(f"{label}, command and package", rounds, checked(by_command, "package"), checked(here, "package"))

    import psutil
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        me = psutil.Process()

        def cpu() -> float:
            return sum(sum(process.cpu_times()[:2]) for process in [me, *me.children(recursive=True)])

        def on_cluster(place: int) -> Figure:
            out, wall, before = directory / f"cluster-{place}", time.perf_counter(), cpu()
            tenfold.sweep(scenario, AXES, samples=points, duration=duration, out=out, client=client, progress=False)
            return {"wall": time.perf_counter() - wall, "CPU": cpu() - before}

        paired(f"{label}, command and Dask", rounds, checked(by_command, "cluster"), checked(on_cluster, "cluster"))


def memory(directory: Path, points: int) -> None:
    """The largest memory of a process of its own that runs a sweep of so many points."""
    script = (
        "import resource, sys, tenfold\n"
        f"result = tenfold.sweep({ONE_SERVER!r}, {AXES!r}, samples={points}, duration='10s', out=sys.argv[1], progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    out = directory / "many"
    told = subprocess.run([sys.executable, "-c", script, out], check=True, capture_output=True, text=True)
    print(f"a sweep of {points} points: at most {float(told.stdout):.0f} MB resident", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("command", help="the program tenfold, built for release")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--points", type=int, default=2_000)
    arguments.add_argument("--duration", default="10m", help="simulated at each point of the compared sweeps")
    arguments.add_argument("--many", type=int, default=100_000, help="points of the sweep whose memory is looked at")
    told = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenfold-figures-") as name:
        directory = Path(name)
        frames(directory)
        calls()
        threads(told.rounds)
        sweeps(told.command, directory, told.rounds, told.points, told.duration)
        memory(directory, told.many)


if __name__ == "__main__":
    main()
