"""Plots with matplotlib and with altair show the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import tenfold

FAST = {"components.db.servers": 2}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict:
    from conftest import ONE_SERVER

    variant = {"variant": [{"name": "two servers", "set": FAST}]}
    scenario = tenfold.Scenario.from_dict(ONE_SERVER | variant).set({"run.duration": "1m"})
    out: Path = tmp_path_factory.mktemp("sweep") / "out"
    axes = {"components.db.servers": [1, 2], "scale": [0.5, 1.0]}
    return {
        "run": tenfold.run(scenario),
        "comparison": tenfold.compare(scenario),
        "stress": tenfold.stress(scenario, multipliers=[1, 2]),
        "sweep": tenfold.sweep(scenario, axes, out=out),
    }


def plots(results: dict, backend: str | None) -> dict:
    return {
        "run": results["run"].plot(backend=backend),
        "comparison": results["comparison"].plot(["latency_p99_s"], backend=backend),
        "stress": results["stress"].plot(backend=backend),
        "sweep": results["sweep"].plot("multiplier", by="components.db.servers", backend=backend),
    }


def test_altair_draws_what_matplotlib_draws(results: dict) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    pytest.importorskip("altair", reason="altair is not installed")
    by_default, charts = plots(results, None), plots(results, "altair")
    for name, figure in plots(results, "matplotlib").items():
        assert type(by_default[name]) is type(figure)
        chart = charts[name].to_dict()
        panels = chart.get("hconcat", [chart])
        assert len(panels) == len(figure.axes)
        for panel, axes in zip(panels, figure.axes, strict=True):
            layers = panel.get("layer", [panel])
            rows = [row for layer in layers for row in _rows(chart, panel, layer)]
            shown = {(row["x"], row["y"]) for row in rows if row.get("y") is not None}
            drawn = {(x, y) for line in axes.lines for x, y in zip(*line.get_data(), strict=True) if y == y}
            if shown:
                # The line of the limit is one of matplotlib's, but has no points.
                assert shown <= drawn
            else:
                assert {row["value"] for row in rows} == {bar.get_width() for bar in axes.patches}


def _rows(chart: dict, panel: dict, layer: dict) -> list[dict]:
    for place in (layer, panel, chart):
        data = place.get("data", {})
        if "values" in data:
            return data["values"]
        if "name" in data:
            return chart["datasets"][data["name"]]
    return []


def test_what_is_not_there_is_said(results: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="expected 'matplotlib' or 'altair'"):
        results["run"].plot(backend="plotly")
    from tenfold import _plot

    monkeypatch.setattr(_plot.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="matplotlib or altair"):
        results["run"].plot()
    with pytest.raises(ImportError, match="pip install altair"):
        results["run"].plot(backend="altair")


def test_what_cannot_be_plotted_is_refused_with_what_can(results: dict) -> None:
    sweep, comparison = results["sweep"], results["comparison"]
    with pytest.raises(ValueError, match="x: 'scale' cannot be plotted: the axis `scale` is the column `multiplier`") as caught:
        sweep.plot("scale")
    assert "components.db.servers" in str(caught.value) and "fingerprint" not in str(caught.value)
    with pytest.raises(ValueError, match="y: 'latency' cannot be plotted: expected one of .*latency_p99_s"):
        sweep.plot("multiplier", "latency")
    for words in ("variant", "finding"):
        with pytest.raises(ValueError, match=f"y: '{words}' cannot be plotted"):
            sweep.plot("multiplier", words)
    with pytest.raises(ValueError, match="by: 'servers' cannot be plotted"):
        sweep.plot("multiplier", by="servers")
    with pytest.raises(ValueError, match="columns: 'latency': expected one of .*latency_p99_s"):
        comparison.plot(["latency"])


def test_one_figure_can_be_plotted_by_its_name(results: dict) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert [axes.get_title() for axes in results["comparison"].plot("latency_p50_s").axes] == ["latency_p50_s"]
    assert len(results["comparison"].plot().axes) == 2


def test_figures_are_what_came_of_a_run(results: dict) -> None:
    figures = results["run"].figures
    assert figures["goodput_per_s"] > 0 and not {"multiplier", "replication", "seed"} & figures.keys()
    assert results["run"].half_widths.keys() <= figures.keys()
