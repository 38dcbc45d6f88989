"""Section: BSA beside other sparsity objectives, with the same encoder, data, budget and seeds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from bsa_st.head.objectives import make_objective
from bsa_st.head.settings import OBJECTIVES
from evaluation.markdown import markdown_table, score
from evaluation.paper.cells import Cell, Results
from evaluation.paper.figures import picture
from evaluation.paper.heads import FIRING_TEXTS, base, describe, plain_quality, refined_quality, refitted, rows_for, train
from evaluation.paper.inputs import Inputs
from evaluation.paper.quality import mean_retrieval
from evaluation.paper.strengths import CHUNK, Strengths

title = "Other sparsity objectives"

SEEDS = (0, 1)
QUICK = ("bsa", "topk", "l1-cosine")
REFINED = ("refined_decoded", "refined_float_query")


def cells(quick: bool) -> list[Cell]:
    """Every objective with every seed; the first seed first."""
    names, seeds = (QUICK, SEEDS[:1]) if quick else (OBJECTIVES, SEEDS)
    return [Cell(f"{name}-{seed}", partial(measure, name, seed)) for seed in seeds for name in names]


def measure(name: str, seed: int, inputs: Inputs) -> dict[str, Any]:
    """Train with one objective and score its codes: binary, refined, and with their continuous values."""
    settings = base(inputs.quick, objective=name, seed=seed)
    objective = make_objective(name)
    head, facts = train(inputs, settings, objective)
    rows = rows_for(inputs)
    strengths = Strengths(head, objective)
    strengths.fit(rows)
    found = {
        **plain_quality(refitted(head, rows, refine=False), settings, inputs),
        **refined_quality(refitted(head, rows), settings, inputs),
        "values_cosine": mean_retrieval(strengths, inputs, "symmetric"),
        "values_float_query": mean_retrieval(strengths, inputs, "asymmetric"),
    }
    return {"objective": name, "seed": seed, **facts, **found}


def render(results: Results, pictures: Path) -> str:
    """The plot and the table, best refined float query first."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for result in results.values():
        by_name.setdefault(result["objective"], []).append(result)

    def average(name: str, key: str, figure: str = "score") -> float:
        return mean(one[key][figure] if isinstance(one[key], dict) else one[key] for one in by_name[name])

    order = sorted(by_name, key=lambda name: -average(name, "refined_float_query"))
    rows = []
    for name in order:
        rows.append(
            [
                f"**{name}**" if name == "bsa" else name,
                *(
                    score(average(name, key))
                    for key in ("overlap", "float_query", *REFINED, "values_cosine", "values_float_query")
                ),
                f"{average(name, 'float_query', 'bytes'):.0f}",
                f"{average(name, 'values_float_query', 'bytes'):.0f}",
                f"{average(name, 'never_fired'):.0f}",
                f"{average(name, 'highest_rate'):.0%}",
                f"{average(name, 'cpu_seconds'):.0f}",
                str(len(by_name[name])),
            ]
        )
    header = [
        "objective",
        "binary: overlap",
        "binary: float query",
        "refined: code query",
        "refined: float query",
        "continuous: code query",
        "continuous: float query",
        "bytes",
        "bytes with values",
        "never fired",
        "busiest feature",
        "CPU s",
        "seeds",
    ]
    first = next(iter(results.values()))
    text = f"""Same encoder and data for all: {describe(first)}. The `binary` and `refined` columns fire exactly {first["k"]} features per text, so all
objectives have the same bytes there:
the largest pre-activations, with a decoder fitted to these codes by least squares. `refined` adds refinement and fits the decoder to refined codes. `continuous` keeps each objective's own strengths
as float16; batch-topk and matryoshka choose them among {CHUNK:,} scored texts at a time. Never fired: of {first["hidden_dim"]} features, over at most {FIRING_TEXTS:,} training texts; nothing revives features, which is why TopK runs without its
auxiliary loss. This is a short training; `distill(objective=...)` or `bsa-st distill --objective` trains any of them longer. CPU seconds depend on what else ran: compare them roughly."""
    return f"{_plot(by_name, order, pictures)}\n\n{text}\n\n{markdown_table(header, rows)}\n\n{_findings(average, order)}{_noise(by_name)}"


def _plot(by_name: dict[str, list[dict[str, Any]]], order: list[str], pictures: Path) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.36 * len(order) + 1.6), sharey=True, width_ratios=(3, 1))
    styles = {
        "overlap": ("binary, overlap", "o"),
        "float_query": ("binary, float query", "s"),
        "refined_float_query": ("refined, float query", "D"),
        "values_float_query": ("continuous, float query", "x"),
    }
    places = np.arange(len(order))[::-1]
    for shift, (key, (label, marker)) in zip((-0.15, -0.05, 0.05, 0.15), styles.items(), strict=True):
        for place, name in zip(places, order, strict=True):
            points = [one[key]["score"] for one in by_name[name]]
            colour = f"C{list(styles).index(key)}"
            left.plot(points, [place + shift] * len(points), marker, color=colour, label=label if name == order[0] else None)
    right.barh(places, [mean(one["never_fired"] for one in by_name[name]) for name in order], color="tab:gray")
    left.set(yticks=places, yticklabels=order, xlabel="mean nDCG@10")
    right.set(xlabel="features never fired")
    left.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return picture(figure, pictures, "objectives", "Quality and features never fired of every objective")


def _findings(average: Any, order: list[str]) -> str:
    if "bsa" not in order or len(order) < 2:
        return ""
    lines = []
    labels = {
        "overlap": "Overlap of plain codes",
        "float_query": "Plain codes, float queries",
        REFINED[1]: "Refined codes, float queries",
    }
    for key, label in labels.items():
        ranked = sorted(order, key=lambda name: -average(name, key))
        best = next(name for name in ranked if name != "bsa")
        gap, span = average("bsa", key) - average(best, key), average(ranked[0], key) - average(ranked[-1], key)
        lines.append(
            f"- {label}: BSA is number {ranked.index('bsa') + 1} of {len(ranked)}, {gap:+.4f} against the best other one ({best}); the first and"
            f" the last are {span:.4f} apart."
        )
    dead = [name for name in order if average(name, "never_fired") > 0]
    left = f"Features that never fire: with {', '.join(dead)}." if dead else "No objective left a feature that never fires."
    lines.append(
        f"- {left} All but abs-topk and matching-pursuit start from the same layer, in which every feature fires at its target rate."
    )
    return "\n".join(lines)


def _noise(by_name: dict[str, list[dict[str, Any]]]) -> str:
    if min(map(len, by_name.values())) > 1:
        return ""
    return "\n- One seed for some or all: which of these differences are more than noise was not measured."
