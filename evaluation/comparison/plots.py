"""The picture of RESULTS.md: found@10 against bytes, one panel per encoder."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from evaluation.comparison.results import Results
from evaluation.methods import METHODS, OURS, RIVALS

COLOURS = ("#0072b2", "#009e73")
"""Of ours; from the palette of Okabe and Ito, which colour-blind readers can tell apart."""


def plot_found(found: list[Results], path: Path) -> None:
    """Save a panel per encoder: ours and the limit in colour, rivals in grey with their names."""
    figure, panels = plt.subplots(1, max(1, len(found)), figsize=(4.5 * max(1, len(found)), 4), squeeze=False, sharey=True)
    for panel, results in zip(panels[0], found, strict=False):
        largest = max(results.budgets, default=0)
        for number, name in enumerate([*RIVALS, "limit", *OURS]):
            points = sorted(
                (results.figure(name, budget, "stored") or 0.0, 100 * value.mean)
                for method, budget in results.cells
                if method == name and (value := results.found(name, budget))
            )
            points = [point for point in points if point[0] <= 1.1 * largest]
            if not points:
                continue
            style = (
                {"color": COLOURS[OURS.index(name)], "linewidth": 2.2}
                if name in OURS
                else {"color": "#999999", "linewidth": 0.9}
            )
            style |= {"color": "black", "linestyle": ":"} if name == "limit" else {}
            panel.plot(
                *zip(*points, strict=True), marker="o" if name in OURS or not METHODS[name].sized else ".", label=name, **style
            )
            lift = 0 if name in OURS or METHODS[name].sized else 8 * (number % 3 - 1)  # methods of one size lie close together
            panel.annotate(name, points[-1], fontsize=6, xytext=(3, lift), textcoords="offset points", color=style["color"])
        panel.set_title(results.content["encoder"], fontsize=9)
        panel.set_xlabel("bytes per text")
        panel.set_ylim(40, 100)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("found@10, %")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
