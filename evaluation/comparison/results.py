"""``evaluation/results/ENCODER.json``: the cells of one encoder, and what the report reads out of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bsa_st import BSAError
from evaluation.comparison.cells import Cell
from evaluation.data.inputs import Inputs
from evaluation.data.neighbours import shares
from evaluation.jsonfiles import read_json, write
from evaluation.methods import METHODS

RESAMPLES = 2000
FLOAT = "float32"


class Value(NamedTuple):
    """A mean over queries and seeds, and half the width of its 95 % interval."""

    mean: float
    half: float


@dataclass(frozen=True)
class Results:
    """One encoder's file.

    Attributes:
        content: ``encoder``, ``width``, ``queries``, ``documents``, ``training``, ``mean_cosine`` of two texts, ``effective_dimensions``,
            ``estimates`` (the one chosen for each method: that which finds most over all its cells) and ``cells``: of each its ``method``,
            ``budget``, ``seed`` and what :func:`evaluation.comparison.cells.measure` gives, for the chosen estimate; ``found`` for all estimates.
    """

    content: dict[str, Any]

    @cached_property
    def cells(self) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """Cells by method and budget, one per seed."""
        grouped: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        for cell in self.content["cells"]:
            grouped[cell["method"], cell["budget"]].append(cell)
        return dict(grouped)

    @property
    def budgets(self) -> list[int]:
        """All budgets, ascending."""
        return sorted({budget for _, budget in self.cells} - {0})

    def figure(self, method: str, budget: int, name: str) -> float | None:
        """Mean over seeds of a figure of the cells, ``None`` where there is none."""
        values = [cell[name] for cell in self.cells.get((method, budget), []) if cell[name] is not None]
        return float(np.mean(values)) if values else None

    def queries(self, method: str, budget: int) -> np.ndarray | None:
        """found@10 by seed and query, float (seeds, q)."""
        cells = self.cells.get((method, budget))
        return np.stack([shares(cell["counts"]) for cell in cells]) if cells else None

    def found(self, method: str, budget: int) -> Value | None:
        """found@10 with its interval over queries and seeds."""
        values = self.queries(method, budget)
        return None if values is None else interval(values)

    def lead(self, method: str, other: str, budget: int) -> Value | None:
        """By how much one method finds more than another, query by query."""
        left, right = self.queries(method, budget), self.queries(other, budget)
        return None if left is None or right is None else interval(left, right)

    def share(self, method: str, budget: int, kind: str) -> float | None:
        """Mean of a judged score (``ndcg`` or ``spearman``) over its tasks, as a share of float32's."""
        own, dense = self.cells.get((method, budget), []), self.cells.get((FLOAT, 0), [])
        names = [name for name in dense[0]["tasks"] if (name.startswith("sts")) == (kind == "spearman")] if dense else []
        if not own or not names or any(name not in cell["tasks"] for cell in own for name in names):
            return None
        values = np.mean([[cell["tasks"][name] for name in names] for cell in own])
        return float(values / np.mean([dense[0]["tasks"][name] for name in names]))


def interval(values: np.ndarray, against: np.ndarray | None = None) -> Value:
    """Mean and half of a 95 % bootstrap interval over queries and seeds.

    Args:
        values: By seed and query, float (s, q).
        against: Values of another method on the same queries (its seeds are drawn for themselves): the difference is estimated.
    """
    rng = np.random.default_rng(0)
    columns = rng.integers(values.shape[1], size=(RESAMPLES, values.shape[1]))

    def draws(table: np.ndarray) -> np.ndarray:
        rows = rng.integers(len(table), size=(RESAMPLES, len(table)))
        return np.array([table[chosen].mean(axis=0)[queries].mean() for chosen, queries in zip(rows, columns, strict=True)])

    drawn, mean = draws(values), values.mean()
    if against is not None:
        drawn, mean = drawn - draws(against), mean - against.mean()
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Value(float(mean), float(high - low) / 2)


def merge(path: Path, inputs: Inputs, measured: Iterable[tuple[Cell, dict[str, Any]]]) -> None:
    """Put measured cells into an encoder's file; cells of other methods, budgets and seeds stay as long as the data are the same.

    Where an estimate must be chosen, all cells of a method that have been measured together decide.
    """
    general = inputs.general
    fingerprint = inputs.fingerprint
    old = read(path).content["cells"] if path.is_file() and read(path).content["data"] == fingerprint else []
    kept = {(cell["method"], cell["budget"], cell["seed"]): cell for cell in old if cell["method"] in METHODS}
    by_method: dict[str, list[tuple[Cell, dict[str, Any]]]] = defaultdict(list)
    for cell, figures in measured:
        by_method[cell.method].append((cell, figures))
    for method, group in by_method.items():
        found = {
            estimate: float(np.mean([shares(figures["counts"][estimate]).mean() for _, figures in group]))
            for estimate in METHODS[method].estimates
        }
        chosen = METHODS[method].estimate or max(found, key=lambda estimate: found[estimate])
        for cell, figures in group:
            key = cell.method, cell.n_bytes, cell.seed
            kept[key] = {
                **dict(zip(("method", "budget", "seed"), key, strict=True)),
                **{name: figures[name] for name in ("stored", "fit_seconds", "encode_ms", "cosine")},
                "limit_bytes": round(inputs.limit.n_bytes(figures["cosine"]), 1)
                if figures["cosine"] and cell.n_bytes
                else None,
                "estimate": chosen,
                "found": {name: round(float(shares(counts).mean()), 4) for name, counts in figures["counts"].items()},
                "counts": figures["counts"][chosen],
                "tasks": {name: scores[chosen] for name, scores in figures["tasks"].items()},
            }
    order = list(METHODS)
    head = {
        "encoder": inputs.encoder,
        "data": fingerprint,
        "width": general.training.shape[1],
        "queries": len(general.queries),
        "documents": len(general.documents),
        "training": len(general.training),
        "mean_cosine": round(float(np.linalg.norm(general.training.mean(axis=0)) ** 2), 4),
        "effective_dimensions": round(inputs.limit.effective_dimensions, 1),
    }
    lines = [json.dumps(kept[key]) for key in sorted(kept, key=lambda key: (order.index(key[0]), *key[1:]))]
    text = json.dumps(head)[:-1] + ', "cells": [\n' + ",\n".join(lines) + "\n]}\n"
    write(path, text.encode())


def read(path: Path) -> Results:
    """An encoder's file.

    Raises:
        BSAError: If it is missing, damaged or of another version.
    """
    content = read_json(path)
    if not isinstance(content, dict) or "cells" not in content:
        raise BSAError(f"{path}: no results of this version; run python -m evaluation again")
    return Results(content)
