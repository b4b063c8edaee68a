"""How scenarios and results show in a notebook."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Comparison, PlanResult, RunResult, Scenario, StressResult

#: Rows of a table that are shown.
_ROWS = 12
_GOOD, _BAD, _LINE = "#0072B2", "#D55E00", "#57606A"


def _seconds(value: float) -> str:
    for least, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= least:
            return f"{value / least:.3g} {unit}"
    return f"{value:.3g} s"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"


def _usd(value: float) -> str:
    return f"${value:,.0f}" if value >= 100 else f"${value:.3g}"


def _rate(value: float) -> str:
    return f"{value:.3g}/s"


#: Key figures of a run: column, name, and how it is written.
_FIGURES = (
    ("latency_p50_s", "latency p50", _seconds),
    ("latency_p99_s", "latency p99", _seconds),
    ("ttft_p95_s", "TTFT p95", _seconds),
    ("tpot_mean_s", "TPOT mean", _seconds),
    ("error_rate", "errors", _share),
    ("slo_attainment", "SLO met", _share),
    ("goodput_per_s", "goodput", _rate),
    ("accuracy", "accuracy", _share),
    ("cost_usd_per_month", "bill a month", _usd),
)


def _image(svg: str | None, alt: str) -> str:
    """A picture that no style of the page changes and no sanitizer takes out."""
    if svg is None:
        return ""
    data = base64.b64encode(svg.encode()).decode()
    return f'<img alt="{escape(alt)}" style="max-width:100%" src="data:image/svg+xml;base64,{data}">'


def _spark(values: Sequence[float | None], width: int = 180, height: int = 32) -> str:
    """A line of values over time, in so many pixels, from 0 up."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    top = max(known) or 1.0
    step = (width - 2) / (len(values) - 1)
    points = " ".join(
        f"{1 + index * step:.1f},{height - 1 - value / top * (height - 2):.1f}"
        for index, value in enumerate(values)
        if value is not None
    )
    return (
        f'<svg width="{width}" height="{height}" role="img">'
        f'<polyline points="{points}" fill="none" stroke="{_GOOD}" stroke-width="1.2"/></svg>'
    )


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are HTML already."""
    head = "".join(f'<th style="text-align:left">{cell}</th>' for cell in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _items(sentences: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences) + "</ul>"


def _verdict(passed: bool | None, text: str) -> str:
    color = {True: _GOOD, False: _BAD, None: _LINE}[passed]
    return f'<p style="border-left:4px solid {color};padding-left:8px">{escape(text)}</p>'


def _head(title: str, lead: str) -> str:
    return f"<h4>{escape(title)}</h4><p>{escape(lead)}</p>"


def scenario(shown: Scenario) -> str:
    text = f"<h4>{escape(shown.name)}</h4>"
    if shown.description:
        text += f"<p>{escape(shown.description)}</p>"
    text += _image(shown.architecture(), "Who calls whom")
    variants = ", ".join(shown.variants)
    text += f"<p>Variants: {escape(variants)}.</p>" if variants else ""
    return text + f"<details><summary>scenario file</summary><pre>{escape(shown.to_toml())}</pre></details>"


def _key_figures(result: RunResult) -> str:
    means, widths = result.figures, result.half_widths

    def cell(column: str, show: Callable[[float], str]) -> str:
        width = widths.get(column)
        return show(means[column]) + (f" ± {show(width)}" if width else "")

    rows = [(name, cell(column, show)) for column, name, show in _FIGURES if column in means]
    return _table(("all requests", "mean ± 95% interval"), rows)


def _sparklines(result: RunResult) -> str:
    series = result.series
    names = series["component"]
    first = series["replication"]
    rows = [row for row, name in enumerate(names) if name == "system" and first[row] == first[0]]
    lines = []
    for column, name, show in (
        ("latency_p99_s", "latency p99", _seconds),
        ("in_flight", "in flight", lambda value: f"{value:.3g}"),
        ("answered", "answered a window", lambda value: f"{value:.3g}"),
    ):
        values = series[column]
        line = [values[row] for row in rows]
        known = [value for value in line if value is not None]
        if known:
            lines.append((name, _spark(line), f"{show(min(known))} to {show(max(known))}"))
    return _table(("over time", "", "range"), lines) if lines else ""


def run(result: RunResult) -> str:
    page = result.report()
    text = _head(page.title, page.lead)
    text += "".join(_verdict(passed, said) for passed, said in page.verdicts)
    text += _items(result.findings)
    if "architecture" in page.pictures:
        text += _image(page.svg("architecture"), "Who calls whom, and how busy they are")
    both = f'<div style="display:flex;gap:24px;flex-wrap:wrap">{_key_figures(result)}{_sparklines(result)}</div>'
    return text + both + _origin(result.provenance)


def _origin(provenance: dict[str, Any]) -> str:
    fingerprints = provenance["fingerprints"]
    first = fingerprints[0] if fingerprints else "none"
    more = f" (+{len(fingerprints) - 1})" if len(fingerprints) > 1 else ""
    said = f"tenfold {provenance['version']}, scenario {provenance['scenario_hash']}, fingerprint {first}{more}"
    return f"<small>{escape(said)}</small>"


def comparison(result: Comparison) -> str:
    page = result.report()
    text = _head(page.title, page.lead) + _items(result.findings)
    for title, header, rows in page.tables[:1]:
        cells = ([escape(cell) for cell in row] for row in rows[:_ROWS])
        text += f"<p>{escape(title)}</p>" + _table(map(escape, header), cells)
    return text


def experiment(result: StressResult | PlanResult) -> str:
    """The head of a report, its verdicts, its first table and its first picture."""
    page = result.report()
    text = _head(page.title, page.lead)
    text += "".join(_verdict(passed, said) for passed, said in page.verdicts)
    for title, header, rows in page.tables[:1]:
        cells = ([escape(cell) for cell in row] for row in rows[:_ROWS])
        text += f"<p>{escape(title)}</p>" + _table(map(escape, header), cells)
    for name in page.pictures[:1]:
        text += _image(page.svg(name), name)
    return text
