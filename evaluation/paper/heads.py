"""Training and scoring of heads for the page: the base configuration, and what is measured of every head."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from bsa_st import DistillSettings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.objectives import Objective
from bsa_st.training import train_head
from bsa_st.training.monitor import code_statistics
from bsa_st.training.refit import refit
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.bsa import BSA, Variant
from evaluation.paper.quality import mean_retrieval

BASE = DistillSettings(hidden_dim=1024, k=64, selection="topk", steps=400, batch_size=256, refit_rounds=0, eval_steps=10_000)
"""What sections train unless they vary it: small enough that a hundred heads are trained in a few hours on two cores."""

TINY = replace(BASE, hidden_dim=64, k=8, steps=8, batch_size=64)
AnyBSA = TypeVar("AnyBSA", bound=BSA)

TEXTS = 124_000
TINY_TEXTS = 400
FIRING_TEXTS = 50_000
REFIT_TEXTS = 15_000


def base(quick: bool, **changes: Any) -> DistillSettings:
    """The base configuration, or the tiny one, with changes."""
    return replace(TINY if quick else BASE, **changes)


def rows_for(inputs: Inputs, texts: int | None = None) -> np.ndarray:
    """Training rows of a head, float16 (n, d): :data:`TEXTS` unless said otherwise."""
    return inputs.training(min(texts or TEXTS, TINY_TEXTS) if inputs.quick else texts or TEXTS)


def train(
    inputs: Inputs, settings: DistillSettings, objective: Objective | None = None, texts: int | None = None
) -> tuple[BinarySparsityAlignment, dict[str, Any]]:
    """A trained head, its sizes, and ``cpu_seconds``, ``never_fired``, ``highest_rate``, ``reconstruction_cosine``, ``active_mean`` of plain codes."""
    rows = rows_for(inputs, texts)
    began = time.process_time()
    head = train_head(rows, settings, objective=objective, show_progress_bar=False)
    seconds = time.process_time() - began
    fired = code_statistics(head, rows[:FIRING_TEXTS])
    held_out = head.report["figures"]
    facts = {name: fired[name] for name in ("never_fired", "highest_rate", "active_mean")}
    return head, {
        "texts": len(rows),
        **{name: getattr(settings, name) for name in ("hidden_dim", "k", "steps", "batch_size")},
        "cpu_seconds": round(seconds, 1),
        "reconstruction_cosine": held_out["reconstruction_cosine"],
        **{name: round(value, 4) for name, value in facts.items()},
    }


def as_method(head: BinarySparsityAlignment, settings: DistillSettings, *, refine: bool) -> BSA:
    """A trained head as a method of the evaluation."""
    return adopt(BSA(Variant(settings, {"refine": True} if refine else {})), head)


def adopt(method: AnyBSA, head: BinarySparsityAlignment) -> AnyBSA:
    """A method that uses a trained head instead of training one."""
    method.whole_head = method.head = head
    method.decoder, method.offset = head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy()
    return method


def refitted(
    head: BinarySparsityAlignment, rows: np.ndarray, rounds: int = 1, *, refine: bool = True
) -> BinarySparsityAlignment:
    """A copy of a head refitted to refined codes, or plain ones; the last rows decide."""
    better = copy.deepcopy(head)
    held_out = max(1, min(2000, len(rows) // 10))
    refit(better, rows[:REFIT_TEXTS][:-held_out], np.asarray(rows[-held_out:], dtype=np.float32), rounds=rounds, refine=refine)
    return better


def describe(result: dict[str, Any]) -> str:
    """The configuration of a measured head, and the tasks behind its scores, for the page."""
    sizes = f"{result['texts']:,} texts, D={result['hidden_dim']}, k={result['k']}, {result['steps']} steps of {result['batch_size']} texts"
    return f"{sizes}; mean nDCG@10 over {', '.join(result['overlap']['tasks'])}"


def plain_quality(head: BinarySparsityAlignment, settings: DistillSettings, inputs: Inputs) -> dict[str, Any]:
    """Mean retrieval quality of codes as the encoder gives them: ``overlap`` of two codes, ``float_query`` against a code."""
    method = as_method(head, settings, refine=False)
    scorings = {"overlap": "symmetric", "float_query": "asymmetric"}
    return {name: mean_retrieval(method, inputs, scoring) for name, scoring in scorings.items()}


def refined_quality(head: BinarySparsityAlignment, settings: DistillSettings, inputs: Inputs) -> dict[str, Any]:
    """Mean retrieval quality of refined codes: ``refined_decoded``, both sides codes, and ``refined_float_query``."""
    method = as_method(head, settings, refine=True)
    scorings = {"refined_decoded": "decoded", "refined_float_query": "asymmetric"}
    return {name: mean_retrieval(method, inputs, scoring) for name, scoring in scorings.items()}
