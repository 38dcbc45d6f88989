"""Section: one part of the training at a time, against seeds of the base: losses first, then what follows them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from evaluation.markdown import markdown_table
from evaluation.study.heads import BASE, KINDS, ROUNDS, describe, found, in_percent, train
from evaluation.study.runner import Cell, Inputs, Results
from evaluation.study.variants import BSAVariant

title = "Ablations of BSA"

SEEDS = range(2)
LOSSES: list[dict[str, Any]] = [
    {"alignment_weight": 0.0},
    {"alignment_weight": 3.0},
    {"hard_topk": True},
    {"soft_code": True},
    {"tied": True},
    {"centring": False},
    {"scale": 4.0},
    {"initialisation": "principal"},
    {"noise": 0.0},
    {"learning_rate": 1e-2},
    {"batch_size": 64, "steps": 4 * BASE.steps},
    {"selection": "threshold"},
    {"steps": 4 * BASE.steps},
]
"""Changes of the losses: settings of the library, and parts that are none, see :mod:`evaluation.study.variants`."""
AFTER: list[dict[str, Any]] = [
    {"steps": 0, "rounds": 1},
    {"steps": 0, "rounds": 8},
    {"rounds": 8},
    {"steps": 0, "texts": 3_000},
    {"steps": 0, "hidden_dim": 256, "k": 80},
    {"steps": 0, "hidden_dim": 1024, "k": 37},
]
"""The refit, mostly without losses: its rounds, its texts, and other dictionaries at the same bytes."""


def cells() -> list[Cell]:
    """Seeds of the base, then a cell per change."""
    return [Cell(_name(change), partial(measure, change)) for change in ({"seed": seed} for seed in SEEDS)] + [
        Cell(_name(change), partial(measure, change)) for change in (*LOSSES, *AFTER)
    ]


def measure(change: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    """Train with one thing changed."""
    settings = {name: value for name, value in change.items() if hasattr(BASE, name)}
    refit = {name: change[name] for name in ("rounds", "texts") if name in change}
    parts = {name: value for name, value in change.items() if name not in settings and name not in refit}
    objective = BSAVariant(**parts) if parts else None
    return {"change": change, **train(inputs, replace(BASE, **settings), objective, **refit)}


def _name(change: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in change.items())


def render(results: Results) -> str:
    """The seeds of the base, and every change as its difference from them."""
    seeds = [result for result in results.values() if "seed" in result["change"]]
    if not seeds:
        return "No seed of the base has been measured."
    body = [[f"base, {len(seeds)} seeds", *(in_percent(found(seeds, kind)) for kind in KINDS), *_bytes(seeds[0])]]
    for name, result in results.items():
        if "seed" in result["change"]:
            continue
        untrained = result["change"].get("steps") == 0
        leads = [
            "-" if untrained and kind != "refit" else in_percent(found([result], kind, seeds), signed=True) for kind in KINDS
        ]
        body.append([name, *leads, *_bytes(result)])
    header = ["change", *KINDS.values(), "bytes", "active"]
    return (
        f"Base: {describe()}. Every other row changes one thing, one seed, and shows differences from the base query by query; with steps=0 there are no losses,"
        f" and the refit of {ROUNDS} rounds starts from a random tight frame.\n\n{markdown_table(header, body)}"
    )


def _bytes(result: dict[str, Any]) -> list[str]:
    return [f"{result['refit']['stored']:.0f}", f"{result['active']:.0f}"]
