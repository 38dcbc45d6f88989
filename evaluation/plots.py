"""The plots of RESULTS.md, drawn from the rows and details only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from adjustText import adjust_text  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from evaluation.table import Line

SIZE = (7.0, 4.5)
WIDE = (12.0, 5.0)
DPI = 90
LOWEST = 0.85
"""Points below this share of the best score would only squeeze the others together."""
MARKERS = {"symmetric": "o", "cosine": "P", "decoded": "X", "idf": "^", "asymmetric": "s", "two-stage": "D", "rescored": "v"}
FLOAT_QUERY = ("asymmetric", "two-stage", "rescored")
UNCODED = ("float32", "float16")
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
    """Two panels, float queries and coded ones; the best at each size are joined and named."""
    best = max((line.mean for line in lines), default=0.0)
    shown = [line for line in lines if line.mean >= LOWEST * best]
    hidden = len(lines) - len(shown)
    figure, panels = plt.subplots(1, 2, figsize=WIDE, sharey=True)
    for axes, name, floats in zip(panels, ("float query", "code query"), (True, False), strict=True):
        inside = [line for line in shown if line.family in UNCODED or (line.scoring in FLOAT_QUERY) == floats]
        _panel(axes, inside, x)
        axes.set(xlabel=label, title=f"{title}\n{name}")
        axes.title.set_fontsize(9)
    note = f"; {hidden} below {LOWEST:.0%} of the best not shown" if hidden else ""
    panels[0].set_ylabel(f"mean nDCG@10{note}")
    present = {line.scoring for line in shown}
    scorings = [Line2D([], [], color="gray", marker=m, ls="", label=name) for name, m in MARKERS.items() if name in present]
    names = [Line2D([], [], color=_colour(f), marker="o", ls="", label=f) for f in dict.fromkeys(line.family for line in shown)]
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    panels[1].legend(
        handles=[*scorings, *names], fontsize=7, title="marker: scoring\ncolour: method", title_fontsize=7, **place
    )
    for axes in panels:
        axes.grid(alpha=0.3)
    _save(figure, path)


def _panel(axes: Axes, lines: Sequence[Line], x: Callable[[Line], float]) -> None:
    for line in lines:
        axes.scatter(x(line), line.mean, color=_colour(line.family), marker=MARKERS.get(line.scoring, "x"), s=26, alpha=0.8)
    front = sorted(
        (line for line in lines if not any(x(other) <= x(line) and other.mean > line.mean for other in lines)),
        key=lambda line: x(line),
    )
    axes.plot([x(line) for line in front], [line.mean for line in front], color="gray", lw=0.8, alpha=0.6, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.08)
    named = {line.method: line for line in front}  # one label for a method whose scorings are both on the front
    labels = [axes.text(x(line), line.mean, line.method, fontsize=7) for line in named.values()]
    if labels:
        points = ([x(line) for line in lines], [line.mean for line in lines])
        adjust_text(labels, *points, ax=axes, arrowprops={"arrowstyle": "-", "color": "gray", "lw": 0.5}, expand=(1.2, 1.6))


def _colour(family: str) -> str:
    return COLOURS.get(family, "tab:gray")


def _figure(draw: Callable[[Axes], None], path: Path) -> None:
    figure, axes = plt.subplots(figsize=SIZE)
    draw(axes)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=6)
    axes.grid(alpha=0.3)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
