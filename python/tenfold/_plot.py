"""Plots of results with matplotlib, which is not a dependency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Comparison, RunResult, StressResult, SweepResult

#: Colours of Okabe and Ito, which colour-blind readers tell apart, as in the reports.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")


def _subplots(columns: int) -> tuple[Any, Any]:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install matplotlib") from error
    figure, axes = plt.subplots(1, columns, figsize=(5.5 * columns, 3.6), layout="constrained", squeeze=False)
    # A notebook shows the figure that is given back, once.
    plt.close(figure)
    for place in axes[0]:
        place.grid(alpha=0.3)
        place.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def run(result: RunResult) -> Any:
    """Latency and what is in flight over time, and how busy the components are: the first replication."""
    figure, (latency, load, busy) = _subplots(3)
    series = result.series
    replications, names = series["replication"], series["component"]
    first = min(replications, default=0)
    rows = [row for row, name in enumerate(names) if name == "system" and replications[row] == first]

    def line(column: str) -> list[float]:
        values = series[column]
        return [float("nan") if values[row] is None else values[row] for row in rows]

    times = line("start_s")
    for number, (column, name) in enumerate((("latency_mean_s", "mean"), ("latency_p99_s", "p99"))):
        latency.plot(times, line(column), color=_COLORS[number], label=name)
    latency.set(title="Latency", xlabel="time (s)", ylabel="latency (s)", ylim=(0, None))
    latency.legend(frameon=False)
    load.plot(times, line("in_flight"), color=_COLORS[2])
    load.set(title="Requests in flight", xlabel="time (s)", ylim=(0, None))
    components = result.components
    use: dict[str, list[float]] = {}
    for name, share in zip(components["component"], components["utilization"], strict=True):
        if share is not None:
            use.setdefault(name, []).append(share)
    shares = [sum(values) / len(values) for values in use.values()]
    busy.barh(list(use), shares, color=_COLORS[0])
    busy.invert_yaxis()
    busy.set(title="In use", xlabel="share of capacity", xlim=(0, 1))
    return figure


def comparison(result: Comparison, columns: list[str]) -> Any:
    """Figures of all requests, a bar for each system with its 95% interval."""
    figure, axes = _subplots(len(columns))
    systems = result.results
    for place, column in zip(axes, columns, strict=True):
        names = [system.variant for system in systems if column in system.figures]
        means = [system.figures[column] for system in systems if column in system.figures]
        widths = [system.half_widths.get(column, 0.0) for system in systems if column in system.figures]
        place.barh(names, means, xerr=widths, color=_COLORS[0], ecolor=_COLORS[6], capsize=3)
        place.invert_yaxis()
        place.set(title=column, xlim=(0, None))
    return figure


def stress(result: StressResult) -> Any:
    """Latency and goodput against the load."""
    figure, (latency, goodput) = _subplots(2)
    told = result.to_dict()
    tried = sorted(told["tried"], key=lambda one: one["multiple"])
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
    for place, number, column, title in (
        (latency, 0, "latency_p99_s", "Latency p99 (s)"),
        (goodput, 1, "goodput_per_s", "Good requests a second"),
    ):
        means = [mean([pair[number] for pair in levels[multiple]]) for multiple in multiples]
        place.plot(multiples, means, "o-", color=_COLORS[0], label="levels")
        seen = [(one["multiple"], one[column]) for one in tried if one[column] is not None]
        if seen:
            place.plot(*zip(*seen, strict=True), "x", color=_COLORS[6], label="tried to find the limit")
        if result.limit and result.limit[0]:
            place.axvline(result.limit[0], color=_COLORS[1], linestyle="--", label=f"passes up to {result.limit[0]:.3g}x")
        place.set(title=title, xlabel="multiple of today's load", xscale="log", ylim=(0, None))
        place.set_xticks(multiples, [f"{multiple:g}x" for multiple in multiples])
        place.minorticks_off()
    latency.legend(frameon=False)
    return figure


def sweep(result: SweepResult, x: str, y: str, by: str | None) -> Any:
    """A column against an axis, a line for each value of another."""
    figure, (place,) = _subplots(1)
    frame = result.frame
    groups = frame[by] if by else [None] * len(frame)
    lines: dict[Any, list[tuple[Any, Any]]] = {}
    for group, across, up in zip(groups, frame[x], frame[y], strict=True):
        if up is not None:
            lines.setdefault(group, []).append((across, up))
    for number, (group, points) in enumerate(lines.items()):
        color = _COLORS[number % len(_COLORS)]
        place.plot(*zip(*sorted(points), strict=True), "o-", color=color, label=None if by is None else f"{group}")
    place.set(xlabel=x, ylabel=y, ylim=(0, None))
    if by:
        place.legend(title=by, frameon=False)
    return figure
