"""Draws plots with altair."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from ._plot import COLORS, GREY, Line, Panel


def _kind(values: list[Any]) -> str:
    return "Q" if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) else "N"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _lines(panel: Panel) -> Any:
    kind = _kind([x for line in panel.lines for x in line.xs])
    axis = alt.Axis(title=panel.x)
    scale = alt.Undefined
    if panel.multiples is not None:
        scale = alt.Scale(type="log")
        axis = alt.Axis(title=panel.x, values=panel.multiples, labelExpr="datum.label + 'x'")
    labels = [line.label for line in panel.lines if line.label is not None]
    colors = alt.Scale(domain=labels, range=[line.color for line in panel.lines if line.label is not None])

    def layer(line: Line) -> Any:
        values = [{"x": x, "y": _known(y), "line": line.label} for x, y in zip(line.xs, line.ys, strict=True)]
        chart = alt.Chart(alt.Data(values=values))
        if line.mark == "x":
            chart = chart.mark_point(shape="cross", color=line.color)
        else:
            chart = chart.mark_line(point=line.mark == "o-", color=line.color)
        chart = chart.encode(x=alt.X(f"x:{kind}", axis=axis, scale=scale), y=alt.Y("y:Q", title=panel.y or panel.title))
        if line.label is not None:
            chart = chart.encode(color=alt.Color("line:N", scale=colors, title=panel.legend))
        return chart

    layers = [layer(line) for line in panel.lines]
    if panel.rule is not None:
        at = alt.Chart(alt.Data(values=[{"x": panel.rule[0], "what": panel.rule[1]}]))
        layers.append(at.mark_rule(color=COLORS[1], strokeDash=[6, 4]).encode(x="x:Q", tooltip="what:N"))
    return alt.layer(*layers)


def _bars(panel: Panel) -> Any:
    values = [
        {"name": name, "value": value, "least": value - width, "most": value + width}
        for name, value, width in panel.bars
    ]
    scale = alt.Undefined if panel.x_range is None or panel.x_range[1] is None else alt.Scale(domain=list(panel.x_range))
    chart = alt.Chart(alt.Data(values=values)).encode(y=alt.Y("name:N", sort=None, title=None))
    bars = chart.mark_bar(color=COLORS[0]).encode(x=alt.X("value:Q", title=panel.x, scale=scale))
    if not any(width for _, _, width in panel.bars):
        return bars
    return bars + chart.mark_rule(color=GREY).encode(x="least:Q", x2="most:Q")


def draw(panels: list[Panel]) -> Any:
    """A chart of the panels side by side."""
    charts = []
    for panel in panels:
        chart = (_bars(panel) if panel.bars else _lines(panel)).properties(width=320, height=220)
        charts.append(chart if panel.title is None else chart.properties(title=panel.title))
    return charts[0] if len(charts) == 1 else alt.hconcat(*charts).resolve_scale(color="independent")
