"""Schedules for the unrolled encoder: the few steps that decode best, found by a random search.

A schedule has ten numbers (each field of :class:`~bsa_st.head.unrolled.StepSchedule` is linear between three knots), and what it is worth is one pass over a few hundred
texts; so a (1+1) evolution strategy searches without gradients: a random change is kept where the mean cosine of ``x`` and ``x_hat`` rises, in the basis of refinement,
and the changes' size follows how often that happens. The steps found like this grow far beyond what would be stable in the long run.

Source: the search is I. Rechenberg, "Evolutionsstrategie" (1973), with its rule of success.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.encoding.encode import refined_codes
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.refine import weigh_mean
from bsa_st.head.unrolled import Steps, StepSchedule, steps_that_fit, unroll
from bsa_st.training.monitor import best_softening

SAMPLE = 800
FIRST = ((-1.3, 2.3, 2.4), (1.2, 1.0, 1.6), (2.0, 1.5, 2.6))
"""Logarithm of the step, push and logarithm of the damping to start from, at three knots: what searches for compact heads ended near."""

CHANGES = (0.2, 0.2, 0.7)  # their standard deviations in the first changes

START_CHANGE = 0.1
SHARE = 0.4  # share of the numbers that a change concerns

GROWTH, DECAY, LEAST_SIZE = 1.3, 0.94, 0.15


@torch.no_grad()
def fit_unrolled(
    head: BinarySparsityAlignment, rows: np.ndarray, queries: np.ndarray, documents: np.ndarray, trials: int, seed: int = 0
) -> dict[str, Any] | None:
    """Put the unrolled encoder into a fitted head; sparse heads get the threshold at which ``k`` features per text are active on average.

    ``rows``, training embeddings, float (n, d), decide the steps; ``queries``, held-out ones, by their neighbours among ``documents``, how lengths are softened; all have
    length 1. ``trials`` changes are tried.

    Returns:
        ``found_at_10`` of those neighbours, and what the encoder can be made from again: the ``constant`` feature and the ``schedule``; ``None``, and no
        encoder, where the code is too wide for two steps.
    """
    count = steps_that_fit(head.input_dim, head.hidden_dim)
    if not count:
        return None
    generator = np.random.default_rng(seed)
    device = head.weight.device
    x, asked, there = (
        torch.from_numpy(np.array(part, dtype=np.float32)).to(device) for part in (rows[:SAMPLE], queries, documents)
    )
    rates = refined_codes(head, x).float().mean(dim=0)
    # always active, this feature changes what is decoded least
    least = int(((1 - rates) * head.decoder_weight.square().sum(dim=1)).argmin())
    steps = Steps(head.decoder_weight, head.decoder_bias, head.mean, least)
    active = 0.5 if head.compact else head.k / head.hidden_dim
    numbers = np.r_[np.ravel(FIRST), 2 * active - 1]
    deviations = np.r_[np.repeat(CHANGES, len(FIRST[0])), START_CHANGE]
    best, schedule = _try(head, steps, x, _schedule(numbers, count))
    size = 1.0
    for _ in range(trials):
        change = size * deviations * generator.standard_normal(len(numbers)) * (generator.random(len(numbers)) < SHARE)
        value, tried = _try(head, steps, x, _schedule(numbers + change, count))
        if value > best:
            best, schedule, numbers, size = value, tried, numbers + change, min(2.0, size * GROWTH)
        else:
            size = max(LEAST_SIZE, size * DECAY)
    decoded = unroll(steps, schedule).codes(there).float() @ steps.decoder
    softening, found = best_softening(asked, there, decoded)
    head.unrolled = unroll(steps, schedule, softening)
    return {"found_at_10": found, "constant": steps.constant, "schedule": asdict(schedule)}


def _schedule(numbers: np.ndarray, count: int) -> StepSchedule:
    parts = numbers[:-1].reshape(len(FIRST), -1)
    knots = np.linspace(0, 1, parts.shape[1])
    step, push, damping = (np.interp(np.linspace(0, 1, count), knots, part) for part in parts)
    return StepSchedule(np.exp(step).tolist(), push.tolist(), np.exp(damping).tolist(), start=float(numbers[-1]))


def _try(head: BinarySparsityAlignment, steps: Steps, x: Tensor, schedule: StepSchedule) -> tuple[float, StepSchedule]:
    """How well a schedule's codes decode, and the schedule with its threshold."""
    logits = steps.logits(x, schedule)
    if not torch.isfinite(logits).all():
        return -math.inf, schedule
    if not head.compact:
        place = logits.numel() - len(x) * head.k
        threshold = float(logits.flatten().kthvalue(place).values) if place > 0 else -1.0
        schedule = replace(schedule, threshold=threshold)
    decoded = head.decode(logits > schedule.threshold)
    return float(F.cosine_similarity(weigh_mean(decoded, head.mean), weigh_mean(x, head.mean)).mean()), schedule
