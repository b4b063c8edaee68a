"""Sweeps on a Dask cluster: ``tenfold.sweep(..., client=client)``, and ``python -m tenfold.dask`` as a command.

The points are dealt out in shards (every N-th point from the I-th on), one a task. A task writes its shard under a name of its own
and gives it the shard's name, or its bytes, only when it is complete; so a task that a lost worker leaves behind is
simply run again, and a task that runs twice counts once. The shards are then joined to the bytes of a sweep on one
machine.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Scenario, ScenarioError, _scenario, _tenfold, merge
from ._progress import telling

if TYPE_CHECKING:
    from distributed import Client

#: Tasks for each thread of the cluster, at least and at most: few enough to cost little, enough to even out slow points.
_CHUNKS_A_THREAD = (4, 8)
#: Points of a task, where there are enough for all threads: those of one part of a sweep, for a part costs as much as many
#: quick points do.
_POINTS_A_CHUNK = 256
#: How often a task that ends in an error, such as a full disk, is run again.
_RETRIES = 2


def _shard(scenario: Scenario, space: dict[str, Any], options: dict[str, Any], directory: str | None) -> Any:
    """Runs one shard on a worker. Gives its files, or nothing when it is in ``directory``."""
    if directory is not None and Path(directory).exists():
        return None
    own = Path(tempfile.mkdtemp(prefix="tenfold-")) if directory is None else _beside(Path(directory))
    try:
        _tenfold.Sweep(scenario, space, options | {"threads": 1}).run(own, None)
        if directory is None:
            files = (path for path in sorted(own.rglob("*")) if path.is_file())
            return {str(path.relative_to(own)): path.read_bytes() for path in files}
        _publish(own, Path(directory))
        return None
    finally:
        shutil.rmtree(own, ignore_errors=True)


def _beside(directory: Path) -> Path:
    """A directory of another name, from which renaming does not copy."""
    own = directory.parent / f".{directory.name}-{uuid.uuid4().hex}"
    own.mkdir()
    return own


def _publish(own: Path, directory: Path) -> None:
    """Gives a complete shard its name; the first one stays."""
    try:
        own.rename(directory)
    except OSError:
        if not directory.exists():
            raise


def _keep(files: Mapping[str, bytes], directory: Path) -> None:
    """Writes what a worker sent, complete before it takes its name."""
    own = _beside(directory)
    for name, data in files.items():
        path = own / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    _publish(own, directory)


def run_sweep(
    client: Client,
    scenario: Scenario,
    space: dict[str, Any],
    options: dict[str, Any],
    directory: Path,
    chunks: int | None,
    shared: bool,
    resume: bool,
    progress: bool | None,
) -> dict[str, Any]:
    """:func:`tenfold.sweep` on a cluster."""
    from distributed import as_completed

    directory = directory.resolve()
    # Mistakes are told here, and not by a worker.
    points = _tenfold.Sweep(scenario, space, options).points
    threads = sum(client.nthreads().values())
    if threads == 0:
        raise RuntimeError("the Dask cluster has no workers")
    least, most = (chunks_a_thread * threads for chunks_a_thread in _CHUNKS_A_THREAD)
    chunks = chunks or max(least, min(most, points // _POINTS_A_CHUNK))
    shards = directory / "shards"
    if shards.exists():
        there = [path.name.rsplit("-", 1)[1] for path in shards.iterdir() if not path.name.startswith(".")]
        if there and not resume:
            remedy = "resume=True takes it up; out= names another directory"
            raise ScenarioError(f"there is a sweep in {directory} already", remedy=remedy)
        # What is there was dealt out in so many shards.
        chunks = int(there[0]) if there else chunks
    chunks = max(1, min(chunks, points))
    shards.mkdir(parents=True, exist_ok=True)
    names = {index: shards / f"shard-{index}-of-{chunks}" for index in range(1, chunks + 1)}
    missing = [index for index, path in names.items() if not path.exists()]
    for index in names.keys() - set(missing):
        # Refuses a shard of another sweep; of this one, nothing is left to run.
        shard = space | {"shard": f"{index}/{chunks}", "resume": True}
        _tenfold.Sweep(scenario, shard, options).run(names[index], None)
    futures = {
        client.submit(
            _shard,
            scenario,
            space | {"shard": f"{index}/{chunks}"},
            options,
            str(names[index]) if shared else None,
            key=f"tenfold-{uuid.uuid4().hex}-{index}",
            retries=_RETRIES,
        ): index
        for index in missing
    }
    done = chunks - len(missing)
    try:
        with telling(progress, scenario.name) as tell:
            for future, files in as_completed(list(futures), with_results=True):
                if files is not None:
                    _keep(files, names[futures[future]])
                future.release()
                done += 1
                if tell is not None:
                    tell(done / chunks)
    except BaseException:
        client.cancel(list(futures))
        raise
    for left in shards.glob(".*"):
        # By workers that were lost.
        shutil.rmtree(left, ignore_errors=True)
    return merge(list(names.values()), directory / f"sweep.{space['format']}")


def _value(text: str) -> tuple[str, str]:
    path, equals, values = text.rpartition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: expected PATH=VALUES, such as components.db.servers=1,2,4")
    return path, values


def main(arguments: list[str] | None = None) -> int:
    """``python -m tenfold.dask``."""
    parser = argparse.ArgumentParser(prog="python -m tenfold.dask", description="A sweep on a Dask cluster.")
    parser.add_argument("file", help="scenario file (TOML)")
    parser.add_argument("--scheduler", required=True, help="address of the scheduler, such as tcp://host:8786")
    parser.add_argument("--axis", action="append", type=_value, metavar="PATH=VALUES", help="as of `tenfold sweep`")
    parser.add_argument("--design", choices=["grid", "random", "lhs"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--replications", type=int)
    parser.add_argument("--scale", default="1x", help="multiply the load, such as 10x")
    parser.add_argument("--out", help="directory of the results (default: FILE.sweep)")
    parser.add_argument("--format", default="parquet", choices=["parquet", "csv", "arrow", "json"])
    parser.add_argument("--chunks", type=int, help="number of tasks (default: 4 to 8 a thread)")
    parser.add_argument("--shared", action="store_true", help="workers write to --out, which all machines see")
    parser.add_argument("--resume", action="store_true", help="take up a sweep that was stopped")
    parsed = parser.parse_args(arguments)

    from distributed import Client

    from . import SweepResult, sweep

    out = parsed.out or f"{Path(parsed.file).stem}.sweep"
    try:
        scenario = _scenario(parsed.file)
        with Client(parsed.scheduler) as client:
            result: SweepResult = sweep(
                scenario,
                dict(parsed.axis) if parsed.axis else None,
                out=out,
                design=parsed.design,
                samples=parsed.samples,
                format=parsed.format,
                resume=parsed.resume,
                client=client,
                chunks=parsed.chunks,
                shared=parsed.shared,
                scale=parsed.scale,
                seed=parsed.seed,
                replications=parsed.replications,
            )
    except (ScenarioError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(result)
    return 0


if __name__ == "__main__":
    # The functions that workers run are those of the module by its name, and not of the script.
    from tenfold.dask import main as named_main

    sys.exit(named_main())
