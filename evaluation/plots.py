"""The plots of RESULTS.md, drawn from the rows and details only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from evaluation.table import Line

SIZE = (7.0, 4.5)
DPI = 90
LOWEST = 0.8
"""Points below this share of the best score would only squeeze the others together."""
MARKERS = {"symmetric": "o", "cosine": "P", "decoded": "X", "idf": "^", "asymmetric": "s", "two-stage": "D", "rescored": "v"}
COLOURS = {
    "bsa": "tab:red",
    "csr": "tab:brown",
    "float16": "dimgray",
    "float32": "black",
    "int8": "darkkhaki",
    "itq": "tab:olive",
    "opq": "tab:cyan",
    "pq": "tab:blue",
    "rabitq": "tab:purple",
    "random-projection": "tab:orange",
    "sign": "tab:green",
    "sign-centered": "limegreen",
}


def pareto(lines: Sequence[Line], path: Path, title: str) -> None:
    """Quality against bytes, one point per method and scoring."""
    _scatter(lines, lambda line: line.bytes_per_text, "stored bytes per text", path, title)


def speed(lines: Sequence[Line], path: Path, title: str) -> None:
    """Quality against the time of one query."""
    timed = [line for line in lines if line.queries_per_second]
    label = "milliseconds per query, exhaustive search, one thread"
    _scatter(timed, lambda line: 1000 / (line.queries_per_second or 1), label, path, title)


def active_features(figures: dict[str, Any], path: Path) -> None:
    """How many features the texts of the training sample fire, per BSA method in threshold mode; top-k heads always fire k."""

    def draw(axes: Axes) -> None:
        for method, facts in figures.items():
            counts = facts["active_features"]
            if sum(count > 0 for count in counts) > 1:
                axes.plot(range(len(counts)), [count / sum(counts) for count in counts], label=method, drawstyle="steps-mid")
        axes.set(xlabel="active features of a text", ylabel="share of the texts", title="Active features per text")

    _figure(draw, path)


def firing_rates(figures: dict[str, Any], path: Path) -> None:
    """How often each feature fires, busiest first."""

    def draw(axes: Axes) -> None:
        for method, facts in figures.items():
            axes.plot(facts["firing_ranks"], facts["firing_rates"], label=method)
        axes.set(xlabel="feature, busiest first", ylabel="share of the texts on which it fires", title="Firing rates")
        axes.set_xscale("log")
        axes.set_yscale("log")

    _figure(draw, path)


def _scatter(lines: Sequence[Line], x: Callable[[Line], float], label: str, path: Path, title: str) -> None:
    best = max((line.mean for line in lines), default=0.0)
    shown = [line for line in lines if line.mean >= LOWEST * best]

    def draw(axes: Axes) -> None:
        for line in shown:
            axes.scatter(x(line), line.mean, color=_colour(line.family), marker=MARKERS.get(line.scoring, "x"), s=26, alpha=0.8)
        for line in shown:
            if not any(x(other) <= x(line) and other.mean > line.mean for other in shown):
                axes.annotate(line.method, (x(line), line.mean), fontsize=6, xytext=(4, 3), textcoords="offset points")
        scorings = [Line2D([], [], color="gray", marker=m, ls="", label=name) for name, m in MARKERS.items()]
        families = dict.fromkeys(line.family for line in shown)
        names = [Line2D([], [], color=_colour(name), marker="o", ls="", label=name) for name in families]
        place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        axes.legend(handles=[*scorings, *names], fontsize=6, title="marker: scoring\ncolour: method", title_fontsize=6, **place)
        axes.set_xscale("log")
        hidden = len(lines) - len(shown)
        note = f"; {hidden} below {LOWEST:.0%} of the best not shown" if hidden else ""
        axes.set(xlabel=label, ylabel=f"mean nDCG@10{note}", title=title)

    _figure(draw, path)


def _colour(family: str) -> str:
    return COLOURS.get(family, "tab:gray")


def _figure(draw: Callable[[Axes], None], path: Path) -> None:
    figure, axes = plt.subplots(figsize=SIZE)
    draw(axes)
    if axes.get_legend() is None and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
