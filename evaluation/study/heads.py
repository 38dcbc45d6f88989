"""Small heads and what their codes find: what the section on objectives measures of each."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from bsa_st import BinarySparsityAlignment, DistillSettings
from bsa_st.training.monitor import code_statistics
from bsa_st.training.refit import HELD_OUT, refit
from bsa_st.training.trainer import train_head
from evaluation.comparison.cells import general_figures
from evaluation.comparison.results import Value, interval
from evaluation.data.inputs import Inputs
from evaluation.data.neighbours import General, shares
from evaluation.methods.base import Method
from evaluation.methods.bsa import Head
from evaluation.study.baselines import Objective, train_by

BASE = DistillSettings(
    hidden_dim=512, k=48, selection="topk", steps=200, batch_size=256, refit_rounds=0, unroll_trials=0, eval_steps=10_000
)
"""What is trained unless a cell varies it: the published losses on a small dictionary. The refit follows apart from it."""
ROUNDS = 3
"""Rounds of the refit after the losses."""
SETTINGS = f"D={BASE.hidden_dim}, k={BASE.k} (top-k), {BASE.steps} steps of {BASE.batch_size} texts by the losses, then {ROUNDS} rounds of refit"
"""For the page."""
DOCUMENTS, TRAINING = 10_000, 10_000
"""Of the general sentences that the main comparison uses: fewer, so that fifty heads are fitted in minutes."""

KINDS = {"plain": "plain codes", "refined": "refined codes", "refit": "refined after the refit"}
"""What is scored of every head: plain codes and refined ones, the decoder fitted to plain codes, and refined ones after the refit."""


class Refined(Head):
    """A head that has been trained, as a method of the comparison."""

    name, sized, estimates = "refined", False, ("softened",)
    choose_softening = Method.choose_softening  # the head's own was chosen for refined codes


class Plain(Refined):
    """The same without refinement."""

    name, encoding = "plain", {"refine": False}


def train(inputs: Inputs, settings: DistillSettings, objective: Objective | None = None) -> dict[str, Any]:
    """Train a head by BSA's losses, or an objective, then refit it.

    Returns:
        ``loss_seconds`` and ``refit_seconds`` of processor time, ``never_fired``, ``highest_rate`` of the plain codes, and for each of
        :data:`KINDS` the ``counts`` of :func:`evaluation.data.neighbours.found_counts`, ``active`` features and ``stored`` bytes.
    """
    general = inputs.general
    general = replace(general, documents=general.documents[:DOCUMENTS], training=general.training[:TRAINING])
    rows = np.array(general.training)
    began = time.process_time()
    head = train_by(objective, rows, settings) if objective else train_head(rows, settings, show_progress_bar=False)
    loss_seconds = time.process_time() - began
    plain = refitted(head, rows, 1, refine=False)
    began = time.process_time()
    better = refitted(head, rows, ROUNDS)
    fired = code_statistics(head, rows)
    refit_seconds = time.process_time() - began
    return {
        "loss_seconds": round(loss_seconds, 1),
        "refit_seconds": round(refit_seconds, 1),
        "never_fired": int(fired["never_fired"]),
        "highest_rate": round(fired["highest_rate"], 4),
        "active": round(fired["active_mean"], 1),
        "plain": figures(Plain(), plain, general),
        "refined": figures(Refined(), plain, general),
        "refit": figures(Refined(), better, general),
    }


def refitted(head: BinarySparsityAlignment, rows: np.ndarray, rounds: int, *, refine: bool = True) -> BinarySparsityAlignment:
    """A copy of a head refitted to refined codes, or its decoder fitted to plain ones; the first rows decide when to stop."""
    better = copy.deepcopy(head)
    held_out = min(HELD_OUT, len(rows) // 10)
    refit(better, rows[held_out:], rows[:held_out], rounds=rounds, refine=refine)
    better.calibrate(torch.from_numpy(rows), keep_decoder=True)
    return better


def figures(method: Head, head: BinarySparsityAlignment, general: General) -> dict[str, Any]:
    """What a head's codes find of general sentences."""
    method.use(head)
    method.softening = method.choose_softening(general.training)
    found = general_figures(method, general)
    return {"stored": found["stored"], "cosine": found["cosine"], "counts": found["counts"]["softened"]}


def found(cells: list[dict[str, Any]], kind: str, against: list[dict[str, Any]] | None = None) -> Value:
    """found@10 of cells that differ in the seed, with its interval; or its difference from that of other cells, query by query."""
    own, other = (np.array([shares(cell[kind]["counts"]) for cell in group or ()]) for group in (cells, against))
    return interval(own, other if against else None)


def in_percent(value: Value, *, signed: bool = False) -> str:
    """``82.1 ± 0.8``."""
    return f"{100 * value.mean:{'+' if signed else ''}.1f} ± {100 * value.half:.1f}"
