"""Section: one knob of BSA at a time, against five seeds of the base configuration."""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from bsa_st import DistillSettings
from evaluation.markdown import markdown_table, score
from evaluation.paper.bsa_variants import BSAVariant
from evaluation.paper.cells import Cell, Results
from evaluation.paper.figures import picture
from evaluation.paper.heads import (
    BASE,
    adopt,
    base,
    describe,
    plain_quality,
    refined_quality,
    refitted,
    rows_for,
    train,
)
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.bsa import BSA, Variant
from evaluation.paper.quality import mean_retrieval

title = "Ablations of BSA"

SEEDS = range(5)
STEPS, TEXTS = 200, 62_000
"""Half of what other sections train, so that the whole grid can be afforded."""

LARGEST_REFINED = 8192
"""Refinement and the decoder fit keep a matrix of D x D: larger dictionaries are measured unrefined."""

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "alignment weight": [{"alignment_weight": value} for value in (0.0, 0.3, 3.0)],
    "k": [{"k": value} for value in (32, 128)],
    "D": [{"hidden_dim": value} for value in (2048, 4096, 8192)],
    "selection": [{"selection": "threshold"}],
    "batch size": [{"batch_size": 64, "steps": 4 * STEPS}, {"batch_size": 1024, "steps": STEPS // 4}],
    "learning rate": [{"learning_rate": value} for value in (3e-4, 3e-3, 1e-2)],
    "input noise": [{"noise": 0.0}],
    "training texts": [{"texts": value} for value in (1000, 10_000, 496_000)],
    "large D": [{"hidden_dim": value} for value in (16_384, 32_768)],
}
"""Settings of the library, by knob. Batch sizes see as many texts in all; the other rows train as many steps."""

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "temperature": [{"scale": value} for value in (0.25, 1.0, 4.0)],
    "initialisation": [{"initialisation": "data"}, {"initialisation": "principal"}],
    "centring": [{"centring": False}],
    "tied decoder": [{"tied": True}],
    "straight-through or soft": [{"soft_code": True}],
    "soft or hard top-k": [{"hard_topk": True}],
}
"""Parts of the training that are no settings; see :mod:`evaluation.paper.bsa_variants`."""

MOVES = (0, 8, 32, 100)
ROUNDS = (0, 1, 3)


def cells(quick: bool) -> list[Cell]:
    """Seeds of the base and a cell per value of a knob: every knob's first value first, dictionaries too large for a short run last."""
    seeds = [_cell("seed", {"seed": seed}) for seed in SEEDS]
    encoding = Cell("encoding", measure_encoding)
    if quick:
        return [*seeds[:2], _cell("k", {"k": 4}), _cell("tied decoder", {"tied": True}), encoding]
    knobs = {name: values for name, values in {**SETTINGS, **VARIANTS}.items() if name != "large D"}
    rounds = zip_longest(*([_cell(knob, change) for change in values] for knob, values in knobs.items()))
    varied = [[cell for cell in one if cell is not None] for one in rounds]
    return [
        *(seeds[0], encoding, *varied[0], *seeds[1:3]),
        *(cell for one in varied[1:] for cell in one),
        *(*seeds[3:], *(_cell("D", change) for change in SETTINGS["large D"])),
    ]


def _cell(knob: str, change: dict[str, Any]) -> Cell:
    label = "-".join(f"{name}={value}" for name, value in change.items())
    return Cell(f"{knob.replace(' ', '-')}-{label}", partial(measure, knob, change))


def measure(knob: str, change: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Train with one thing changed and score plain and refined codes."""
    own = {name: value for name, value in change.items() if hasattr(BASE, name)}
    settings = _settings(inputs, own)
    objective = BSAVariant(**change) if knob in VARIANTS else None
    head, facts = train(inputs, settings, objective, change.get("texts", TEXTS))
    found = {"knob": knob, "change": change, **facts, **plain_quality(head, settings, inputs)}
    return found | (refined_quality(head, settings, inputs) if settings.hidden_dim <= LARGEST_REFINED else {})


def _settings(inputs: Inputs, change: dict[str, Any]) -> DistillSettings:
    return base(inputs.quick, **({} if inputs.quick else {"steps": STEPS}) | change)


def measure_encoding(inputs: Inputs) -> dict[str, Any]:
    """What relaxed steps and rounds of refit do to one head: float queries and decoded code queries."""
    settings = _settings(inputs, {})
    head, _ = train(inputs, settings, texts=TEXTS)
    moves = {}
    for limit in MOVES[:2] if inputs.quick else MOVES:
        method = adopt(BSA(Variant(settings, {"refine": True, "relaxed_steps": limit})), head)
        moves[limit] = {name: mean_retrieval(method, inputs, name)["score"] for name in ("decoded", "asymmetric")}
    rounds = {0: refined_quality(head, settings, inputs)}
    for number in ROUNDS[1:]:
        rounds[number] = refined_quality(refitted(head, rows_for(inputs, TEXTS), number), settings, inputs)
    scores = {number: {key: found["score"] for key, found in one.items()} for number, one in rounds.items()}
    return {"moves": moves, "rounds": scores}


def render(results: Results, pictures: Path) -> str:
    """The plot of all differences from the base, the interval of the seeds, and the table."""
    heads = {name: result for name, result in results.items() if name != "encoding"}
    seeds = [result for result in heads.values() if result["knob"] == "seed"]
    if not seeds:
        return "No seed of the base configuration has been measured."
    others = [result for result in heads.values() if result["knob"] != "seed"]
    base_scores = {key: [one[key]["score"] for one in seeds] for key in KEYS}
    text = [_plot(others, base_scores, pictures)] if others else []
    if "encoding" in results:
        text.append(_encoding_plot(results["encoding"], pictures))
    text.append(
        f"Base: {describe(seeds[0])}, top-k codes, no refit. Every row changes one thing. CPU seconds depend on what else ran: compare them roughly. {_seed_line(base_scores)}"
    )
    text.append(markdown_table(HEADER, [_row("base", seeds), *(_row(_label(one), [one]) for one in others)]))
    if "encoding" in results:
        text.append(_encoding_line(results["encoding"]))
    return "\n\n".join(text)


KEYS = {"overlap": "overlap", "float_query": "float query", "refined_float_query": "refined, float query"}
HEADER = [
    "change",
    "overlap",
    "float query",
    "refined, float query",
    "bytes",
    "active",
    "never fired",
    "busiest feature",
    "CPU s",
]


def _label(result: dict[str, Any]) -> str:
    changes = ", ".join(f"{name}={value}" for name, value in result["change"].items())
    return f"{result['knob']}: {changes}"


def _row(label: str, found: list[dict[str, Any]]) -> list[str]:
    def average(key: str, figure: str | None = None) -> float:
        return float(np.mean([one[key] if figure is None else one[key][figure] for one in found]))

    scores = [score(average(key, "score")) if key in found[0] else "-" for key in KEYS]
    return [
        label,
        *scores,
        f"{average('float_query', 'bytes'):.0f}",
        f"{average('active_mean'):.0f}",
        f"{average('never_fired'):.0f}",
        f"{average('highest_rate'):.0%}",
        f"{average('cpu_seconds'):.0f}",
    ]


def _seed_line(base_scores: dict[str, list[float]]) -> str:
    parts = []
    for key, values in base_scores.items():
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
            spread = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))
            parts.append(
                f"{KEYS[key]} {score(float(np.mean(values)))} ± {half:.4f} (a single other run would fall within ± {spread:.4f})"
            )
    found = "; ".join(parts)
    return f"{len(base_scores['overlap'])} seeds of the base, mean and 95 % t-interval: {found}." if parts else "One seed only."


def _plot(others: list[dict[str, Any]], base_scores: dict[str, list[float]], pictures: Path) -> str:
    figure, axes = plt.subplots(figsize=(8, 0.25 * len(others) + 1.4))
    places = np.arange(len(others))[::-1]
    for number, (key, label) in enumerate(KEYS.items()):
        middle = float(np.mean(base_scores[key]))
        shown = [(one[key]["score"] - middle, place) for place, one in zip(places, others, strict=True) if key in one]
        axes.plot([x for x, _ in shown], [y for _, y in shown], "os^"[number], color=f"C{number}", label=label, ms=5)
        if len(base_scores[key]) > 1 and key == "refined_float_query":
            count = len(base_scores[key])
            spread = stats.t.ppf(0.975, count - 1) * np.std(base_scores[key], ddof=1) * np.sqrt(1 + 1 / count)
            axes.axvspan(-spread, spread, color=f"C{number}", alpha=0.12, label="where another seed falls (refined)")
    axes.axvline(0, color="gray", lw=0.8)
    axes.set(yticks=places, yticklabels=[_label(one) for one in others], xlabel="nDCG@10, difference from the base")
    axes.tick_params(axis="y", labelsize=7)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    return picture(figure, pictures, "ablations", "What each change of the training does to retrieval")


def _encoding_plot(result: dict[str, Any], pictures: Path) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    for key, label in (("asymmetric", "float query"), ("decoded", "code query, decoded")):
        left.plot([int(moves) for moves in result["moves"]], [one[key] for one in result["moves"].values()], "o-", label=label)
    for key, label in (("refined_float_query", "float query"), ("refined_decoded", "code query, decoded")):
        right.plot(
            [int(number) for number in result["rounds"]], [one[key] for one in result["rounds"].values()], "o-", label=label
        )
    left.set(xlabel="relaxed steps before the moves", ylabel="mean nDCG@10")
    right.set(xlabel="rounds of refit, with refinement")
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    return picture(figure, pictures, "ablations-encoding", "What relaxed steps and rounds of refit add")


def _encoding_line(result: dict[str, Any]) -> str:
    moves = ", ".join(f"{number}: {score(one['asymmetric'])}" for number, one in result["moves"].items())
    rounds = ", ".join(f"{number}: {score(one['refined_float_query'])}" for number, one in result["rounds"].items())
    return f"Float queries by relaxed steps before the moves: {moves}. By rounds of refit, with refinement: {rounds}."
