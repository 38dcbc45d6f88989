"""Schedules for the unrolled encoder: the few steps that decode best, found by a random search.

A schedule has a dozen numbers (:class:`~bsa_st.unrolled.StepSchedule`: each of its fields is linear between three knots), and what a schedule is worth is one pass over
a thousand texts; so they are searched without gradients, by a (1+1) evolution strategy: a random change is kept where the mean cosine of ``x`` and ``x_hat`` rises, and the changes' size follows
how often that happens. Steps and momentum found like this go far beyond what is safe for many steps, and 8 of them do the work of 24 with fixed values.

Source: the search is I. Rechenberg, "Evolutionsstrategie" (1973), with its rule of success.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.module import BinarySparsityAlignment
from bsa_st.unrolled import Steps, StepSchedule, UnrolledEncoder, steps_that_fit, unroll

SAMPLE = 1000
KNOTS = 3
FIRST = (math.log(3.0), 0.9, 0.35, 3.0)
"""Logarithm of the step, momentum, push and logarithm of the damping to start from."""

CHANGES = (0.2, 0.1, 0.2, 0.7)
"""Their standard deviations in the first changes."""

START_CHANGE = 0.1
SHARE = 0.4
"""Share of the numbers that a change concerns."""

GROWTH, DECAY, LEAST_SIZE = 1.3, 0.94, 0.15


@torch.no_grad()
def fit_unrolled(head: BinarySparsityAlignment, rows: np.ndarray, trials: int, seed: int = 0) -> UnrolledEncoder | None:
    """The unrolled encoder of a fitted head; sparse heads get the threshold at which ``k`` features per text are active on average.

    Args:
        head: The layer; its decoder is used.
        rows: Training embeddings, float (n, d), n > 0, of length 1; a thousand are looked at.
        trials: Changes tried.
        seed: Seed of the changes.

    Returns:
        ``None`` where the code is too wide for two steps.
    """
    count = steps_that_fit(head.input_dim, head.hidden_dim)
    if not count:
        return None
    generator = np.random.default_rng(seed)
    x = torch.from_numpy(np.array(rows[:SAMPLE], dtype=np.float32)).to(head.weight.device)
    steps = Steps(head.decoder_weight, head.decoder_bias)
    active = 0.5 if head.compact else head.k / head.hidden_dim
    numbers = np.r_[np.repeat(FIRST, KNOTS), 2 * active - 1]
    deviations = np.r_[np.repeat(CHANGES, KNOTS), START_CHANGE]
    best, schedule = _try(head, steps, x, _schedule(numbers, count))
    size = 1.0
    for _ in range(trials):
        change = size * deviations * generator.standard_normal(len(numbers)) * (generator.random(len(numbers)) < SHARE)
        cosine, tried = _try(head, steps, x, _schedule(numbers + change, count))
        if cosine > best:
            best, schedule, numbers, size = cosine, tried, numbers + change, min(2.0, size * GROWTH)
        else:
            size = max(LEAST_SIZE, size * DECAY)
    return unroll(head.decoder_weight, head.decoder_bias, schedule)


def _schedule(numbers: np.ndarray, count: int) -> StepSchedule:
    places, knots = np.linspace(0, 1, count), np.linspace(0, 1, KNOTS)
    step, momentum, push, damping = (np.interp(places, knots, part) for part in numbers[:-1].reshape(-1, KNOTS))
    values = (np.exp(step), momentum, push, np.exp(damping))
    return StepSchedule(*(tuple(map(float, part)) for part in values), start=float(numbers[-1]))  # type: ignore[arg-type]  # four parts


def _try(head: BinarySparsityAlignment, steps: Steps, x: Tensor, schedule: StepSchedule) -> tuple[float, StepSchedule]:
    """Mean cosine of ``x`` and ``x_hat``, and the schedule with its threshold."""
    logits = steps.logits(x, schedule)
    if not torch.isfinite(logits).all():
        return -1.0, schedule
    if not head.compact:
        place = logits.numel() - len(x) * head.k
        threshold = float(logits.flatten().kthvalue(place).values) if place > 0 else -1.0
        schedule = StepSchedule(
            *(getattr(schedule, name) for name in ("step", "momentum", "push", "damping", "start")), threshold
        )
    return float(F.cosine_similarity(head.decode(logits > schedule.threshold), x).mean()), schedule
