"""Section: the losses of BSA beside other sparsity objectives, with the same encoder, data, number of features and seeds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.data.inputs import Inputs
from evaluation.markdown import markdown_table
from evaluation.study.baselines import OBJECTIVES
from evaluation.study.heads import BASE, KINDS, ROUNDS, SETTINGS, found, in_percent, train
from evaluation.study.runner import Cells, Results

title = "Other sparsity objectives"

SEEDS = (0, 1)
BSA, NONE = "bsa", "none"
"""BSA's own losses, and none at all: the refit then starts from a random tight frame."""


def cells() -> Cells:
    """Every objective with every seed; the first seed first."""
    return {f"{name}-{seed}": partial(measure, name, seed) for seed in SEEDS for name in (NONE, BSA, *OBJECTIVES)}


def measure(name: str, seed: int, inputs: Inputs) -> dict[str, Any]:
    """Train with one objective, or none, and refit."""
    settings = replace(BASE, seed=seed, steps=0 if name == NONE else BASE.steps)
    objective = OBJECTIVES[name]() if name in OBJECTIVES else None
    return {"objective": name, "seed": seed, **train(inputs, settings, objective)}


def by_objective(results: Results) -> dict[str, list[dict[str, Any]]]:
    """Cells by objective, the best after the refit first."""
    grouped: dict[str, list[dict[str, Any]]] = {}
    for result in results.values():
        grouped.setdefault(result["objective"], []).append(result)
    return dict(sorted(grouped.items(), key=lambda item: -found(item[1], "refit").mean))


def render(results: Results) -> str:
    """The picture, what it shows, and the table."""
    grouped = by_objective(results)
    body = []
    for name, group in grouped.items():
        values = [in_percent(found(group, kind)) if name != NONE or kind == "refit" else "-" for kind in KINDS]
        lead = "" if name == NONE or NONE not in grouped else in_percent(found(group, "refit", grouped[NONE]), signed=True)
        seconds = float(np.mean([one["loss_seconds"] for one in group]))
        dead, busiest = (max(one[key] for one in group) for key in ("never_fired", "highest_rate"))
        losses = ["-"] * 3 if name == NONE else [str(dead), f"{busiest:.0%}", f"{seconds:.0f}"]
        body.append([f"**{name}**" if name == BSA else name, *values, lead, *losses, str(len(group))])
    header = ["objective", *KINDS.values(), "gain over none", "never fired", "busiest feature", "CPU s", "seeds"]
    picture = "![found@10 of every objective, before and after the refit](plots/study.png)"
    return f"{_finding(grouped)}\n\n{picture}\n\n{markdown_table(header, body)}"


def _finding(grouped: dict[str, list[dict[str, Any]]]) -> str:
    if BSA not in grouped:
        return f"{SETTINGS}."
    names = [name for name in grouped if name != NONE]
    spans = {kind: np.ptp([100 * found(grouped[name], kind).mean for name in names]) for kind in KINDS}
    ranks = {
        kind: 1 + sum(found(grouped[name], kind).mean > found(grouped[BSA], kind).mean for name in names) for kind in KINDS
    }
    none = grouped.get(NONE)
    gains = [name for name in names if none and (lead := found(grouped[name], "refit", none)).mean > lead.half]
    return (
        f"{SETTINGS}; `{NONE}` is the refit of a random tight frame. All codes have the same number of active features, and after the losses a decoder fitted"
        f" to plain codes. From the best objective to the worst it is {spans['plain']:.1f} points in plain codes, {spans['refined']:.1f} in refined ones and"
        f" {spans['refit']:.1f} after {ROUNDS} rounds of refit; BSA's losses are number {ranks['plain']}, {ranks['refined']} and {ranks['refit']} of {len(names)}."
        f" Better than no losses at all after the refit, by more than the interval: {', '.join(gains) or 'none'}."
    )


def plot(results: Results, path: Path) -> None:
    """Save found@10 of every objective: plain, refined, refitted."""
    from matplotlib.figure import Figure  # slow to import and needed here alone

    grouped = by_objective(results)
    figure = Figure(figsize=(7, 0.32 * len(grouped) + 1.2))
    axes = figure.subplots()
    places = np.arange(len(grouped))[::-1]
    for (kind, label), marker in zip(KINDS.items(), "osD", strict=True):
        shown = [
            (found(group, kind), place)
            for (name, group), place in zip(grouped.items(), places, strict=True)
            if name != NONE or kind == "refit"
        ]
        axes.errorbar(
            [100 * value.mean for value, _ in shown],
            [place for _, place in shown],
            xerr=[100 * value.half for value, _ in shown],
            fmt=marker,
            label=label,
            markersize=5,
        )
    axes.set_yticks(places, list(grouped))
    axes.set_xlabel("found@10, %")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})
