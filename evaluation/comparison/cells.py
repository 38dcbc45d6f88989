"""Cells: one method at one budget with one seed on one encoder, each kept in a file of its own, so that a run can be continued.

Fitted methods are kept beside them (pickled: only this program reads them).
"""

from __future__ import annotations

import json
import logging
import pickle
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evaluation.data.embeddings import unit_rows
from evaluation.data.inputs import Inputs
from evaluation.data.neighbours import General, found_counts, shares
from evaluation.jsonfiles import write
from evaluation.methods import METHODS
from evaluation.methods.base import Method

logger = logging.getLogger("evaluation")


@dataclass(frozen=True, order=True)
class Cell:
    """What is measured: a method's name, its budget of bytes (0 for a method of one size) and the seed."""

    method: str
    n_bytes: int
    seed: int

    def new(self) -> Method:
        """The method, not fitted."""
        return METHODS[self.method](self.n_bytes, self.seed)

    @property
    def fit(self) -> Cell:
        """The cell whose fit this one uses."""
        return replace(self, method=METHODS[self.method].fit_name or self.method)

    def __str__(self) -> str:
        return "-".join([self.method.replace(" ", "-"), str(self.n_bytes), str(self.seed)])


def cells(methods: list[str], sizes: list[int], seeds: int, width: int) -> list[Cell]:
    """The cells of some methods, budgets and at most so many seeds; a method takes the sizes that it can."""
    found = []
    for name in methods:
        kind = METHODS[name]
        own = [size for size in sizes if kind.fits(size, width)] if kind.sized else [0]
        found += [Cell(name, size, seed) for size in own for seed in range(min(seeds, kind.seeds))]
    return found


def measure(cell: Cell, inputs: Inputs) -> dict[str, Any]:
    """The figures of a cell, from its file as far as it holds them; a file of other data or settings is void.

    Returns:
        ``stored`` bytes per text, ``fit_seconds`` and ``encode_ms`` per text of processor time, mean ``cosine`` with what is decoded
        (or ``None``), and per estimate ``counts`` (see :func:`evaluation.data.neighbours.found_counts`) and ``tasks``.
    """
    path = inputs.work / inputs.encoder / "cells" / f"{cell}.json"
    method = cell.new()
    key = {"data": inputs.fingerprint, "settings": method.settings()}
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if kept.get("key") != json.loads(json.dumps(key)) or not set(method.estimates) <= kept["counts"].keys():
        kept = {}
    missing = [name for name in inputs.tasks if name not in kept.get("tasks", {})]
    if kept and not missing:
        return dict(kept)
    method, seconds = fit(cell, inputs)
    if not kept:
        kept = {"key": key, "fit_seconds": round(seconds, 1), **general_figures(method, inputs.general), "tasks": {}}
    for name in missing:
        task = inputs.tasks[name]
        codes = method.encode(task.documents)
        kept["tasks"][name] = {estimate: round(task.score(method, codes, estimate), 5) for estimate in method.estimates}
    write(path, json.dumps(kept).encode())
    best = max(shares(counts).mean() for counts in kept["counts"].values())
    logger.info("%s %s: found@10 %.1f, fitted in %.0f s", inputs.encoder, cell, 100 * best, kept["fit_seconds"])
    return kept


def fit(cell: Cell, inputs: Inputs) -> tuple[Method, float]:
    """The method of a cell, fitted here or by its file where data and settings are the same, and the processor seconds that the fit took."""
    method, path = cell.new(), inputs.work / inputs.encoder / "fitted" / f"{cell.fit}.pickle"
    key = {"data": inputs.fingerprint, "settings": method.fit_settings()}
    try:
        kept = pickle.loads(path.read_bytes())
    except (FileNotFoundError, ImportError, AttributeError):
        kept = {"key": None}  # there is none, or one of classes that have moved since
    if kept["key"] == key:
        vars(method).update(vars(kept["method"]))
    else:
        began = time.process_time()
        method.fit(inputs.general.training)
        kept = {"key": key, "seconds": time.process_time() - began, "method": method}
        write(path, pickle.dumps(kept))
    method.softening = method.choose_softening(inputs.general.training)
    return method, float(kept["seconds"])


def general_figures(method: Method, general: General) -> dict[str, Any]:
    """Figures of a fitted method on general sentences."""
    method.encode(general.documents[:100])  # what is compiled at first use is no part of the time
    began = time.process_time()
    codes = method.encode(general.documents)
    seconds = time.process_time() - began
    counts = {
        estimate: found_counts(method.scores(general.queries, codes, estimate), general.truth) for estimate in method.estimates
    }
    decoded = method.decode(codes)
    cosine = None if decoded is None else float(np.einsum("nd,nd->n", unit_rows(decoded), general.documents).mean())
    return {
        "stored": round(method.stored_bytes(codes), 2),
        "encode_ms": round(1000 * seconds / len(general.documents), 4),
        "cosine": None if cosine is None else round(cosine, 5),
        "counts": counts,
    }
