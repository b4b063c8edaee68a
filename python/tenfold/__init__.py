"""What breaks first when an AI system's load grows ten times, and what does that cost?

Tenfold simulates a whole AI system from a scenario: a file (TOML), a dict, or one of the library::

    import tenfold
    result = tenfold.run("scenario.toml", set={"components.small.replicas": 4}, scale="10x")
    result.summary          # a frame for polars, pandas, pyarrow, DuckDB

The experiments are :func:`run`, :func:`compare`, :func:`stress`, :func:`plan` and :func:`sweep`; :func:`validate` looks at
a scenario without running it, and :func:`calibrate` fits step times to a benchmark of your own. They do not hold the GIL, and Ctrl-C stops them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _arguments, _tenfold
from ._errors import ScenarioError
from ._progress import telling
from ._tenfold import (
    Calibration,
    Comparison,
    Frame,
    PlanResult,
    Report,
    RunResult,
    Scenario,
    StressResult,
    __version__,
    library,
    schema,
)

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "Calibration",
    "Comparison",
    "Frame",
    "PlanResult",
    "Report",
    "RunResult",
    "Scenario",
    "ScenarioError",
    "StressResult",
    "SweepResult",
    "__version__",
    "calibrate",
    "compare",
    "library",
    "merge",
    "plan",
    "run",
    "schema",
    "stress",
    "sweep",
    "validate",
]

ScenarioLike = Scenario | str | os.PathLike[str] | Mapping[str, Any]


#: The largest numbers that Rust has for seeds, for counts and for threads.
_U64, _U32, _U16 = 2**64 - 1, 2**32 - 1, 2**16 - 1


def _scenario(
    scenario: ScenarioLike,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    seed: int | None = None,
    replications: int | None = None,
) -> Scenario:
    """Whatever stands for a scenario, with overrides on top."""
    if isinstance(scenario, Scenario):
        loaded = scenario
    elif isinstance(scenario, Mapping):
        loaded = Scenario.from_dict(dict(scenario))
    elif isinstance(scenario, str | os.PathLike):
        loaded = Scenario.load(scenario)
    else:
        raise _arguments.wrong("scenario", scenario, "a Scenario, the path of a file, or a dict")
    if variant is not None:
        loaded = loaded.variant(_arguments.text("variant", variant, "the name of a variant") or "")
    luck = {
        "run.seed": _arguments.whole("seed", seed, 0, _U64),
        "run.replications": _arguments.whole("replications", replications, 1, _U32),
    }
    values = _arguments.by_path("set", set, '{"components.small.replicas": 4}') or {}
    values |= {path: value for path, value in luck.items() if value is not None}
    return loaded.set(values) if values else loaded


def _options(
    scale: float | str = 1.0,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    threads: int | None = None,
    until: str | None = None,
    requests: bool = False,
) -> dict[str, Any]:
    if duration is not None and not isinstance(duration, str | float | int):
        raise _arguments.wrong("duration", duration, 'a time: "30m", or seconds')
    return {
        "scale": scale,
        "trace": _arguments.path("trace", trace),
        "duration": duration,
        "threads": _arguments.whole("threads", threads, 1, _U16),
        "until": _arguments.text("until", until, 'such as "latency_p99 within 5%"'),
        "requests": requests,
    }


def run(
    scenario: ScenarioLike,
    *,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    scale: float | str = 1.0,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    seed: int | None = None,
    replications: int | None = None,
    until: str | None = None,
    requests: bool = False,
    threads: int | None = None,
    progress: bool | None = None,
) -> RunResult:
    """Simulates a scenario.

    :param scenario: a :class:`Scenario`, the path of a file, or a dict with the keys of one.
    :param set: values to change, by path: ``{"components.small.replicas": 4}``.
    :param variant: the variant to run instead of what is written.
    :param scale: multiple of the load, such as ``10`` or ``"10x"``.
    :param trace: replay this trace as the traffic (Azure CSV, Mooncake JSONL or generic CSV).
    :param duration: requests are born for this long: ``"30m"``, or seconds.
    :param seed: seed of all randomness.
    :param replications: how many runs with different luck.
    :param until: adds replications until an interval is that narrow: ``"latency_p99 within 5%"``.
    :param requests: keep every request by itself, for the frame ``requests``.
    :param threads: threads for replications; by default one a core. Results do not depend on it.
    :param progress: whether tqdm shows how far it is; by default where it is installed and somebody looks.
    :raises ScenarioError: what is wrong with the scenario, where, and what would be accepted.
    """
    loaded = _scenario(scenario, set, variant, seed, replications)
    with telling(progress, loaded.name) as tell:
        return _tenfold.run(loaded, _options(scale, trace, duration, threads, until, requests), tell)


def compare(
    *scenarios: ScenarioLike,
    variants: Iterable[str] | str = (),
    baseline: str | None = None,
    set: Mapping[str, Any] | None = None,
    scale: float | str = 1.0,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    seed: int | None = None,
    replications: int | None = None,
    requests: bool = False,
    threads: int | None = None,
    progress: bool | None = None,
) -> Comparison:
    """Runs the variants of a scenario, or several scenarios, under the same traffic and luck.

    :param variants: names of the variants to compare, or one; by default all.
    :param baseline: what the others are compared with; by default the scenario as it is written, or the first.
    :param requests: keep every request by itself, for the frame ``requests``: a request has the same number in all.
    """
    loaded = [_scenario(scenario, set, None, seed, replications) for scenario in scenarios]
    names = _arguments.texts("variants", variants, "names of variants")
    _arguments.text("baseline", baseline, "the name of a variant or of a scenario")
    with telling(progress, "compare") as tell:
        options = _options(scale, trace, duration, threads, requests=requests)
        return _tenfold.compare(loaded, names, baseline, options, tell)


def stress(
    scenario: ScenarioLike,
    *,
    multipliers: Iterable[float | str] | float | str = (1, 3, 5, 10),
    grow: str = "usage",
    levels_only: bool = False,
    fallbacks: bool = False,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    scale: float | str = 1.0,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    seed: int | None = None,
    replications: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> StressResult:
    """The 10x stress test: what passes at each multiple, where the limit is, what breaks first, what helps.

    :param multipliers: multiples of the load to look at, or one, such as ``10`` or ``"10x"``.
    :param grow: what grows: ``usage`` (requests), ``data`` or ``complexity`` (steps of a request).
    :param levels_only: no limit, no proof, no blast radius, no recommendations.
    :param fallbacks: also exercises each fallback.
    """
    loaded = _scenario(scenario, set, variant, seed, replications)
    _arguments.refuse_both("fallbacks", fallbacks, "levels_only", levels_only)
    multiples = _arguments.items("multipliers", multipliers, "multiples, such as (1, 3, 5, 10)")
    if not multiples:
        raise ValueError("multipliers: none: expected at least one, such as (1, 3, 5, 10)")
    with telling(progress, loaded.name) as tell:
        options = _options(scale, trace, duration, threads)
        extent = {
            "multipliers": multiples,
            "grow": _arguments.text("grow", grow, "usage, data or complexity"),
            "levels_only": levels_only,
            "fallbacks": fallbacks,
        }
        return _tenfold.stress(loaded, extent, options, tell)


def plan(
    scenario: ScenarioLike,
    axes: Mapping[str, Any] | None = None,
    *,
    rate: str | None = None,
    users: int | None = None,
    requests_per_user: str | None = None,
    max_replicas: int | None = None,
    warm: str | None = None,
    pareto: int | None = None,
    tornado: Iterable[str] | str | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    scale: float | str | None = None,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    seed: int | None = None,
    replications: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> PlanResult:
    """The cheapest configuration that keeps to the SLO.

    :param axes: values to choose among, by path: ``{"components.llm.replicas": "1..16/1"}`` or a list; by default those of
        the scenario, or the replicas of every pool.
    :param scale: plan for this multiple of the load, such as ``10`` or ``"10x"``; by default 1.
    :param rate: plan for so many requests a second (``"120/s"``) instead of a multiple.
    :param users: plan for so many users instead of a multiple, with ``requests_per_user`` (``"6/h"``) unless they are those of a closed loop.
    :param max_replicas: the most replicas of a pool, where no axes are given.
    :param warm: how many replicas this pool, which scales by itself, must keep warm.
    :param pareto: runs up to so many more configurations and marks those that are better in nothing.
    :param tornado: what the answer hangs on: each axis a step, the load and these numbers, by path, 20% down and up.
    :param out: a directory that keeps what was run, taken up again with ``resume``.
    """
    loaded = _scenario(scenario, set, variant, seed, replications)
    _arguments.refuse_both("rate", rate is not None, "scale", scale is not None)
    _arguments.refuse_both("rate", rate is not None, "users", users is not None)
    _arguments.refuse_both("users", users is not None, "scale", scale is not None)
    _arguments.refuse_both("warm", warm is not None, "axes", axes is not None)
    _arguments.refuse_alone("requests_per_user", requests_per_user is not None, "users", users is not None)
    _arguments.refuse_alone("resume", resume, "out", out is not None)
    paths = None if tornado is None else _arguments.texts("tornado", tornado, "paths of numbers, or an empty list")
    question = {
        "axes": _arguments.by_path("axes", axes, '{"components.llm.replicas": "1..16/1"}'),
        "rate": _arguments.text("rate", rate, 'a rate, such as "120/s"'),
        "users": _arguments.whole("users", users, 0, _U32),
        "requests_per_user": _arguments.text("requests_per_user", requests_per_user, 'a rate, such as "6/h"'),
        "max_replicas": _arguments.whole("max_replicas", max_replicas, 1, _U32),
        "warm": _arguments.text("warm", warm, "the name of a component"),
        "pareto": _arguments.whole("pareto", pareto, 0, _U32),
        "tornado": paths,
        "out": _arguments.path("out", out),
        "resume": resume,
    }
    options = _options(1.0 if scale is None else scale, trace, duration, threads)
    with telling(progress, loaded.name) as tell:
        return _tenfold.plan(loaded, question, options, tell)


class SweepResult:
    """A sweep that is done: one file with a row a point."""

    def __init__(self, told: Mapping[str, Any], directory: Path, keep: Any = None, sweep: _tenfold.Sweep | None = None) -> None:
        #: How many points there are.
        self.points: int = told["points"]
        #: Points that keep to the SLO.
        self.passed: int = told["passed"]
        #: Points that do not.
        self.missed: int = told["missed"]
        #: Points that could not be run.
        self.failed: int = told["failed"]
        #: Why the first of them could not.
        self.first_error: str | None = told["first_error"]
        #: The file; ``None`` for a shard, which is to be merged.
        self.path: Path | None = None if told["path"] is None else Path(told["path"])
        #: The directory of the sweep.
        self.directory = directory
        self._keep = keep
        self._sweep = sweep

    @property
    def frame(self) -> Frame:
        """All points, in order: a Parquet file is read into memory."""
        if self.path is None or self.path.suffix != ".parquet":
            raise ValueError(f"{self.path} is no Parquet file: expected a whole sweep with format='parquet'")
        return Frame.read_parquet(self.path)

    def report(self) -> Report:
        """The report with its pictures."""
        if self._sweep is None:
            return _tenfold.merged_report(sorted((self.directory / "shards").iterdir()))
        return self._sweep.report(self.directory)

    def plot(
        self, x: str, y: str = "latency_p99_s", by: str | None = None, backend: str | None = None
    ) -> Any:
        """Draws a column against an axis, a line for each value of ``by``. Gives the figure.

        ``backend`` is ``"matplotlib"`` or ``"altair"``, by default the first of them that is installed.
        """
        from . import _plot

        return _plot.sweep(self, x, y, by, backend)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        verdict = f", {self.passed} pass, {self.missed} miss the SLO" if self.passed + self.missed else ""
        failed = f", {self.failed} could not be run ({self.first_error})" if self.failed else ""
        return f"<SweepResult of {self.points} points{verdict}{failed}: {self.path}>"


def _space(
    axes: Mapping[str, Any] | None,
    design: str | None,
    samples: int | None,
    format: str = "parquet",
    shard: str = "1/1",
    resume: bool = False,
) -> dict[str, Any]:
    return {
        "axes": _arguments.by_path("axes", axes, '{"components.db.servers": [1, 2, 4]}'),
        "design": _arguments.text("design", design, "grid, random or lhs"),
        "samples": _arguments.whole("samples", samples, 1, _U64),
        "shard": _arguments.text("shard", shard, "I/N, such as 2/4"),
        "format": _arguments.text("format", format, "parquet, csv, arrow or json"),
        "resume": resume,
    }


def sweep(
    scenario: ScenarioLike,
    axes: Mapping[str, Any] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    design: str | None = None,
    samples: int | None = None,
    format: str = "parquet",
    shard: str = "1/1",
    resume: bool = False,
    client: Client | None = None,
    chunks: int | None = None,
    shared: bool = False,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    scale: float | str = 1.0,
    trace: str | os.PathLike[str] | None = None,
    duration: float | str | None = None,
    seed: int | None = None,
    replications: int | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> SweepResult:
    """Runs a scenario at many points, on all cores or on a Dask cluster, into one file with a row a point.

    :param axes: values by path, as a list, or as the text of a list or range: ``{"components.db.servers": [1, 2, 4],
        "scale": "1..10 log 5"}``; by default those of the scenario.
    :param out: the directory of the sweep; by default a temporary one that goes with the result.
    :param design: ``grid``, ``random`` or ``lhs`` (Latin hypercube); by default a grid, or lhs with ``samples``.
    :param samples: how many points are drawn.
    :param format: of the one file: ``parquet``, ``csv``, ``arrow`` or ``json``.
    :param shard: runs only every N-th point from the I-th on: ``"I/N"``. :func:`merge` joins the shards.
    :param resume: takes up a sweep that was stopped or killed.
    :param client: a client of a Dask cluster that runs the points; the file has the same bytes.
    :param chunks: so many tasks for the cluster; by default four to eight for each of its threads.
    :param shared: whether workers write to ``out`` themselves, which all machines see under that name.
    :param threads: points that run at a time on this machine; by default one a core.
    """
    loaded = _scenario(scenario, set, variant, seed, replications)
    options = _options(scale, trace, duration, threads)
    _arguments.path("out", out)
    keep = None
    if out is None:
        keep = tempfile.TemporaryDirectory(prefix="tenfold-sweep-")
        directory = Path(keep.name)
    else:
        directory = Path(out)
    if client is not None:
        from . import dask

        if shard != "1/1":
            raise ValueError(f"shard: {shard} of a sweep that a cluster runs: expected all of it")
        space = _space(axes, design, samples, format)
        told = dask.run_sweep(client, loaded, space, options, directory, chunks, shared, resume, progress)
        return SweepResult(told, directory, keep)
    one = _tenfold.Sweep(loaded, _space(axes, design, samples, format, shard, resume), options)
    with telling(progress, loaded.name) as tell:
        told = one.run(directory, tell)
    return SweepResult(told, directory, keep, one)


def validate(
    scenario: ScenarioLike,
    *,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
    trace: str | os.PathLike[str] | None = None,
) -> list[str]:
    """Reads a scenario, its variants and its traces and builds the system, but runs nothing. Gives warnings.

    :raises ScenarioError: the first thing that cannot be simulated.
    """
    return _tenfold.validate(_scenario(scenario, set, variant), _options(trace=trace))


def calibrate(
    scenario: ScenarioLike,
    bench: str | os.PathLike[str],
    *,
    component: str | None = None,
    hold_back: float = 0.3,
    set: Mapping[str, Any] | None = None,
    variant: str | None = None,
) -> Calibration:
    """Fits a pool's step times to a benchmark of the real server (JSON of vLLM, GuideLLM or AIPerf, or a CSV). Of the
    scenario only the pool is used.

    :param component: the ``llm`` pool; by default the only one.
    :param hold_back: share of the requests, the last ones, that are held back to see how good the fit is: 0 to 0.9.
    """
    loaded = _scenario(scenario, set, variant)
    _arguments.path("bench", bench)
    _arguments.text("component", component, "the name of a component")
    if not isinstance(hold_back, float | int):
        raise _arguments.wrong("hold_back", hold_back, "a number from 0 to 0.9")
    return _tenfold.calibrate(loaded, bench, component, hold_back)


def merge(
    directories: Iterable[str | os.PathLike[str]] | str | os.PathLike[str], file: str | os.PathLike[str]
) -> dict[str, Any]:
    """Joins the shards of a sweep in their directories into one file, to the bytes of one run. The ending of the file
    says its format.
    """
    parts = _arguments.items("directories", directories, "paths of directories")
    for part in parts:
        _arguments.path("directories", part)
    _arguments.path("file", file)
    return _tenfold.merge(parts, file)
