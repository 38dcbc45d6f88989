"""Schedules for the unrolled encoder: the few steps that decode best, found by a random search.

A schedule has ten numbers (:class:`~bsa_st.head.unrolled.StepSchedule`: each of its fields is linear between three knots), and what a schedule is worth is one pass over
a few hundred texts; so they are searched without gradients, by a (1+1) evolution strategy: a random change is kept where the mean cosine of ``x`` and ``x_hat`` rises, in the basis of refinement, and the changes' size follows
how often that happens. The steps found like this grow far beyond what would be stable in the long run.

Then the decoder is solved for once more, for exactly these codes.

Source: the search is I. Rechenberg, "Evolutionsstrategie" (1973), with its rule of success.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.encoding.encode import refined_codes
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.refine import weigh_mean
from bsa_st.head.unrolled import Steps, StepSchedule, UnrolledEncoder, run_layers, steps_that_fit, unroll
from bsa_st.training.statistics import best_softening

SAMPLE = 800
FITTED_ROWS = 20_000
RIDGE = 1000.0
"""The pull to the old decoder, in texts."""
FIRST = ((-1.3, 2.3, 2.4), (1.2, 1.0, 1.6), (2.0, 1.5, 2.6))
"""Logarithm of the step, push and logarithm of the damping to start from, at three knots: what searches for compact heads ended near."""

CHANGES = (0.2, 0.2, 0.7)
"""Their standard deviations in the first changes."""

START_CHANGE = 0.1
SHARE = 0.4
"""Share of the numbers that a change concerns."""

GROWTH, DECAY, LEAST_SIZE = 1.3, 0.94, 0.15


@torch.no_grad()
def fit_unrolled(
    head: BinarySparsityAlignment, rows: np.ndarray, queries: np.ndarray, trials: int, seed: int = 0
) -> tuple[UnrolledEncoder, float] | None:
    """The unrolled encoder of a fitted head, with a decoder of its own; sparse heads get the threshold at which ``k`` features per text are active on average.

    Args:
        head: The layer; its decoder is used.
        rows: Training embeddings, float (n, d), n > 0, of length 1; the first 500 decide the steps, the first 20,000 the decoder.
        queries: Held-out embeddings, float (m, d), m > 0, of length 1, whose neighbours among the rows decide how lengths are softened.
        trials: Changes tried.
        seed: Seed of the changes.

    Returns:
        The encoder and its found@10 of those neighbours; ``None`` where the code is too wide for two steps.
    """
    found = fit_schedule(head, rows, trials, seed)
    if found is None:
        return None
    steps, schedule = found
    layers = unroll(steps, schedule)
    x = torch.from_numpy(np.array(rows[:FITTED_ROWS], dtype=np.float32)).to(head.weight.device)
    codes = run_layers(layers, x).float()
    decoder = _solve(codes, x, head, steps.constant)
    asked = torch.from_numpy(np.array(queries, dtype=np.float32)).to(x.device)
    softening, share = best_softening(asked, x, codes @ decoder)
    return UnrolledEncoder(layers, decoder.cpu(), softening), share


@torch.no_grad()
def fit_schedule(
    head: BinarySparsityAlignment, rows: np.ndarray, trials: int, seed: int = 0
) -> tuple[Steps, StepSchedule] | None:
    """The search of :func:`fit_unrolled` alone: the steps of the head's decoder, and their schedule."""
    count = steps_that_fit(head.input_dim, head.hidden_dim)
    if not count:
        return None
    generator = np.random.default_rng(seed)
    x = torch.from_numpy(np.array(rows[:SAMPLE], dtype=np.float32)).to(head.weight.device)
    steps = Steps(head.decoder_weight, head.decoder_bias, head.mean, _least_informative(head, x))
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
    return steps, schedule


def _least_informative(head: BinarySparsityAlignment, x: Tensor) -> int:
    """The feature whose being always active changes what is decoded least."""
    rates = refined_codes(head, x).float().mean(dim=0)
    return int(((1 - rates) * head.decoder_weight.square().sum(dim=1)).argmin())


def _solve(codes: Tensor, x: Tensor, head: BinarySparsityAlignment, constant: int) -> Tensor:
    """Ridge least squares for ``x = V^T h``, float32 (D, d), pulled to the head's decoder with its offset in the constant feature's row."""
    old = head.decoder_weight.detach().clone()
    old[constant] += head.decoder_bias.detach()
    products = (codes.T @ codes).double()
    products.diagonal().add_(RIDGE)
    return torch.linalg.solve(products, (codes.T @ x + RIDGE * old).double()).float()


def _schedule(numbers: np.ndarray, count: int) -> StepSchedule:
    parts = numbers[:-1].reshape(len(FIRST), -1)
    knots = np.linspace(0, 1, parts.shape[1])
    step, push, damping = (np.interp(np.linspace(0, 1, count), knots, part) for part in parts)
    return StepSchedule(_tuple(np.exp(step)), _tuple(push), _tuple(np.exp(damping)), start=float(numbers[-1]))


def _tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


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
