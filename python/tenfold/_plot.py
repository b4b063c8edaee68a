"""What plots of results show. They are drawn by matplotlib or by altair, of which neither is a dependency."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import _arguments

if TYPE_CHECKING:
    from . import Comparison, Frame, RunResult, StressResult, SweepResult

#: Colours of Okabe and Ito, which colour-blind readers tell apart, as in the reports.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
GREY = COLORS[6]


@dataclass
class Line:
    """Points, joined by a line where ``mark`` has a dash."""

    xs: list[Any]
    ys: list[float]
    label: str | None = None
    color: str = COLORS[0]
    #: ``-``, ``o-`` or ``x``, as matplotlib names them.
    mark: str = "-"


@dataclass
class Panel:
    """One plot: lines, or a bar for each name."""

    title: str | None = None
    x: str | None = None
    y: str | None = None
    lines: list[Line] = field(default_factory=list)
    #: Names, values and half widths of their intervals.
    bars: list[tuple[str, float, float]] = field(default_factory=list)
    x_range: tuple[float, float | None] | None = None
    #: Ticks of a logarithmic x axis, in multiples.
    multiples: list[float] | None = None
    #: A place on the x axis, and what it is.
    rule: tuple[float, str] | None = None
    legend: str | None = None


def _draw(panels: list[Panel], backend: str | None) -> Any:
    """Draws with ``matplotlib`` or ``altair``, by default the first of them that is installed."""
    there = [name for name in ("matplotlib", "altair") if importlib.util.find_spec(name) is not None]
    if backend is None:
        if not there:
            raise ImportError("plots need matplotlib or altair: pip install matplotlib")
        backend = there[0]
    if backend not in ("matplotlib", "altair"):
        raise ValueError(f"backend={backend!r}: expected 'matplotlib' or 'altair'")
    if backend not in there:
        raise ImportError(f"plots with backend={backend!r} need it: pip install {backend}")
    if backend == "altair":
        from ._altair import draw
    else:
        from ._matplotlib import draw
    return draw(panels)


def run(result: RunResult, backend: str | None) -> Any:
    """Latency and what is in flight over time, and how busy the components are: the first replication."""
    series = result.series
    replications, names = series["replication"], series["component"]
    first = min(replications, default=0)
    rows = [row for row, name in enumerate(names) if name == "system" and replications[row] == first]

    def line(column: str, color: str, label: str | None = None) -> Line:
        ys = [float("nan") if series[column][row] is None else series[column][row] for row in rows]
        return Line([series["start_s"][row] for row in rows], ys, label, color)

    means = [("latency_mean_s", "mean"), ("latency_p99_s", "p99")]
    latencies = [line(column, COLORS[number], name) for number, (column, name) in enumerate(means)]
    components = result.components
    use: dict[str, list[float]] = {}
    for name, share in zip(components["component"], components["utilization"], strict=True):
        if share is not None:
            use.setdefault(name, []).append(share)
    bars = [(name, sum(shares) / len(shares), 0.0) for name, shares in use.items()]
    panels = [
        Panel("Latency", "time (s)", "latency (s)", latencies),
        Panel("Requests in flight", "time (s)", None, [line("in_flight", COLORS[2])]),
        Panel("In use", "share of capacity", bars=bars, x_range=(0, 1)),
    ]
    return _draw(panels, backend)


def comparison(result: Comparison, columns: Iterable[str] | str | None, backend: str | None) -> Any:
    """Figures of all requests, a bar for each system with its 95% interval."""
    asked = ("latency_p99_s", "cost_usd_per_month") if columns is None else columns
    there = {column: None for system in result.results for column in system.figures}
    panels = []
    for column in _arguments.texts("columns", asked, "names of figures"):
        if columns is not None and column not in there:
            raise ValueError(f"columns: {column!r}: expected one of {', '.join(there)}")
        systems = [system for system in result.results if column in system.figures]
        bars = [(system.variant, system.figures[column], system.half_widths.get(column, 0.0)) for system in systems]
        panels.append(Panel(column, bars=bars, x_range=(0, None)))
    return _draw(panels, backend)


def stress(result: StressResult, backend: str | None) -> Any:
    """Latency and goodput against the load."""
    tried = sorted(result.to_dict()["tried"], key=lambda one: one["multiple"])
    summary = result.summary
    levels: dict[float, list[tuple[float | None, float | None]]] = {}
    keys = zip(summary["multiplier"], summary["class"], summary["tenant"], strict=True)
    for row, (multiple, name, tenant) in enumerate(keys):
        if name == tenant == "all":
            levels.setdefault(multiple, []).append((summary["latency_p99_s"][row], summary["goodput_per_s"][row]))

    def mean(values: list[float | None]) -> float:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else float("nan")

    multiples = sorted(levels)
    panels = []
    for number, column, title in (
        (0, "latency_p99_s", "Latency p99 (s)"),
        (1, "goodput_per_s", "Good requests a second"),
    ):
        means = [mean([pair[number] for pair in levels[multiple]]) for multiple in multiples]
        lines = [Line(list(multiples), means, "levels", mark="o-")]
        seen = [(one["multiple"], one[column]) for one in tried if one[column] is not None]
        if seen:
            lines.append(Line([x for x, _ in seen], [y for _, y in seen], "tried to find the limit", GREY, "x"))
        panel = Panel(title, "multiple of today's load", lines=lines, multiples=multiples)
        if result.limit and result.limit[0]:
            panel.rule = (result.limit[0], f"passes up to {result.limit[0]:.3g}x")
        panels.append(panel)
    return _draw(panels, backend)


#: Columns of a sweep that say where a row comes from, or what is worth knowing of it.
_WORDS = frozenset(
    {"slo", "finding", "error", "calibration", "fingerprint", "outcome_hash", "seed", "scenario_hash", "version"}
)


def _known(frame: Frame, argument: str, column: str, numbers: bool) -> None:
    """Refuses a column that is not there or says nothing that can be drawn."""

    def fits(name: str) -> bool:
        return not numbers or any(isinstance(value, int | float) for value in frame[name])

    if column in frame.columns and column not in _WORDS and fits(column):
        return
    names = ", ".join(name for name in frame.columns if name not in _WORDS and fits(name))
    hint = "the axis `scale` is the column `multiplier`; " if column == "scale" else ""
    raise ValueError(f"{argument}: {column!r} cannot be plotted: {hint}expected one of {names}")


def sweep(result: SweepResult, x: str, y: str, by: str | None, backend: str | None) -> Any:
    """A column against an axis, a line for each value of another."""
    frame = result.frame
    _known(frame, "x", x, numbers=False)
    _known(frame, "y", y, numbers=True)
    if by is not None:
        _known(frame, "by", by, numbers=False)
    groups = frame[by] if by else [None] * len(frame)
    points: dict[Any, list[tuple[Any, Any]]] = {}
    for group, across, up in zip(groups, frame[x], frame[y], strict=True):
        if up is not None:
            points.setdefault(group, []).append((across, up))
    lines = []
    for number, (group, of_group) in enumerate(points.items()):
        of_group.sort()
        xs, ys = [one for one, _ in of_group], [one for _, one in of_group]
        label = None if by is None else f"{group}"
        lines.append(Line(xs, ys, label, COLORS[number % len(COLORS)], "o-"))
    return _draw([Panel(None, x, y, lines, legend=by)], backend)
