"""Draws plots with matplotlib."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from ._plot import COLORS, GREY, Panel


def draw(panels: list[Panel]) -> Any:
    """A figure of the panels side by side."""
    width = 5.5 * len(panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(width, 3.6), layout="constrained", squeeze=False)
    # A notebook shows the figure that is given back, once.
    plt.close(figure)
    for number, (panel, place) in enumerate(zip(panels, axes[0], strict=True)):
        place.grid(alpha=0.3)
        place.spines[["top", "right"]].set_visible(False)
        place.set(title=panel.title or "", xlabel=panel.x or "", ylabel=panel.y or "")
        if panel.bars:
            names, values, widths = zip(*panel.bars, strict=True)
            errors = widths if any(widths) else None
            place.barh(names, values, xerr=errors, color=COLORS[0], ecolor=GREY, capsize=3)
            place.invert_yaxis()
        for line in panel.lines:
            place.plot(line.xs, line.ys, line.mark, color=line.color, label=line.label)
        if panel.rule is not None:
            place.axvline(panel.rule[0], color=COLORS[1], linestyle="--", label=panel.rule[1])
        if panel.lines:
            place.set_ylim(0, None)
        if panel.x_range is not None:
            place.set_xlim(*panel.x_range)
        if panel.multiples is not None:
            place.set_xscale("log")
            place.set_xticks(panel.multiples, [f"{multiple:g}x" for multiple in panel.multiples])
            place.minorticks_off()
        # Panels with the same lines have one legend.
        labels = [line.label for line in panel.lines if line.label is not None]
        if labels and (number == 0 or labels != [line.label for line in panels[0].lines]):
            place.legend(title=panel.legend, frameon=False)
    return figure
