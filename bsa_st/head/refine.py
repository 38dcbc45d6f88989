"""Refinement: the code whose decoding comes closest to the dense embedding, by relaxed steps and then greedy moves.

A code decodes to ``x_hat = V^T h + c``. Refinement minimises ``|x - x_hat|^2`` over binary ``h``, at most or exactly so many of whose features are active. *Relaxed steps*
are gradient steps with momentum on ``h`` in the box [0, 1], with a push towards its corners that grows (mean-field annealing of a binary quadratic problem); then every
value is rounded. *Greedy moves* switch single features, else exchange an active and an inactive one, as long as the exact error falls.

The error along the direction of the mean embedding counts :data:`MEAN_WEIGHT` times: it is common to all scores of a text, and a query has more of this
direction than of any other. That is a change of basis, which :func:`weigh_mean` makes in embeddings and decoder alike. Products of matrices run in torch, on
any device; inner loops in numba on a CPU.

Source: the greedy part is matching pursuit with replacement, S. Mallat and Z. Zhang, "Matching pursuits with time-frequency dictionaries" (1993); the
relaxed part is a box-constrained descent as in P. H. Tan, L. K. Rasmussen and T. J. Lim, "Constrained maximum-likelihood detection in CDMA" (2001).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

RELAXED_STEPS = 48  # more find better codes: evaluation/NOTES.md has the figures

MOMENTUM = 0.9
STEP = 3.0
"""Length of a step in units of one over the largest eigenvalue of ``V V^T``; below 2 (1 + momentum) it cannot diverge."""

PUSH = 0.7  # the last step's push towards the corners, in units of a step times the mean squared length of the atoms

MEAN_WEIGHT = 4.0

LEAST_GAIN = 1e-6
"""What a move must gain at least, relative to embeddings of length 1: rounding must not make moves go in circles."""

LENGTH_WEIGHT = 1.0
"""``mu`` where decoded texts shall be equally long: moves then minimise ``|x - x_hat|^2 + mu (|x_hat|^2 - nu |x|^2)^2``."""


@dataclass(frozen=True)
class Problem:
    """What the refinement of any text has in common with that of the others."""

    decoder: Tensor  # V, float32 (D, d)
    offset: Tensor  # c, float32 (d,)
    gram: Tensor  # V V^T, float32 (D, D)
    fewest: int  # active features of a text
    most: int
    expected: int  # number of them from which relaxed steps start, and which they keep where ``fewest`` or ``most`` say so
    length: float | None = (
        None  # ``nu``, the share of an embedding's squared length that its decoded code shall have; None: any
    )

    @cached_property
    def largest(self) -> float:
        """Largest eigenvalue of ``V V^T``."""
        return float(torch.linalg.eigvalsh(self.decoder.T @ self.decoder)[-1].clamp_min(1e-12))


def weigh_mean(rows: Tensor, mean: Tensor) -> Tensor:
    """Rows in the basis in which distances are measured: the part along ``mean`` (d,) is lengthened by the root of :data:`MEAN_WEIGHT`, float (n, d)."""
    direction = mean / mean.norm().clamp_min(1e-12)
    return rows + (MEAN_WEIGHT**0.5 - 1) * (rows @ direction)[..., None] * direction


@torch.no_grad()
def refine(problem: Problem, x: Tensor, plain: Tensor, relaxed_steps: int = RELAXED_STEPS) -> Tensor:
    """Refined codes, bool (n, D), of embeddings ``x``, float32 (n, d), of length 1; greedy moves start from ``plain``, bool (n, D), where there are no relaxed steps."""
    active = relaxed(problem, x, relaxed_steps) > 0.5 if relaxed_steps else plain
    improve = _improve_numba if x.device.type == "cpu" else _improve_torch
    return improve(problem, x, active)


@torch.no_grad()
def relaxed(problem: Problem, x: Tensor, steps: int) -> Tensor:
    """The relaxed codes after so many steps, float32 (n, D) in [0, 1]; see :func:`refine`."""
    from bsa_st.head.refine_kernel import step_rows  # numba takes half a second to import

    decoder, gram = problem.decoder, problem.gram
    features, width = decoder.shape
    step = STEP / problem.largest
    push = PUSH * step * float(gram.diagonal().mean())
    linear = step * ((x - problem.offset) @ decoder.T)
    if problem.expected == 0:
        return torch.zeros_like(linear)
    total = problem.expected if problem.fewest > 0 or problem.most < features else -1
    state = torch.full_like(linear, problem.expected / features)
    before = state.clone()
    for number in range(steps):
        pushed = push * number / max(1, steps - 1)
        pull = (state @ decoder) @ decoder.T if features > 2 * width else state @ gram
        if x.device.type == "cpu":
            numbers = (np.float32(value) for value in (step, pushed, MOMENTUM, total))
            step_rows(pull.numpy(), state.numpy(), before.numpy(), linear.numpy(), *numbers)
        else:
            before, state = state, _step(pull, state, before, linear, step, pushed, total)
    return state


def _step(pull: Tensor, state: Tensor, before: Tensor, linear: Tensor, step: float, pushed: float, total: int) -> Tensor:
    """The step of :func:`bsa_st.head.refine_kernel.step_rows`; returns the new state."""
    after = (1 + pushed + MOMENTUM) * state - MOMENTUM * before - step * pull + linear - pushed / 2
    if total >= 0:
        for _ in range(2):
            inside = ((after > 0) & (after < 1)).sum(dim=1, keepdim=True).clamp_min(1)
            after -= (after.clamp(0, 1).sum(dim=1, keepdim=True) - total) / inside
    return after.clamp_(0, 1)


def _start(problem: Problem, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """``V (x - x_hat)`` (n, D), ``V x_hat`` (n, D), ``|x_hat|^2`` (n,) of codes, bool (n, D); the squared lengths that these shall have, (n,), and how much that counts."""
    decoded = active.float() @ problem.decoder + problem.offset
    goals, weight = x.square().sum(dim=1) * (problem.length or 0.0), 0.0 if problem.length is None else LENGTH_WEIGHT
    return (x - decoded) @ problem.decoder.T, decoded @ problem.decoder.T, decoded.square().sum(dim=1), goals, weight


def _improve_numba(problem: Problem, x: Tensor, active: Tensor) -> Tensor:
    from bsa_st.head.refine_kernel import improve_rows

    on, (residual, toward, lengths, goals, weight) = active.clone(), _start(problem, x, active)
    arrays: list[Any] = [array.numpy() for array in (on, residual, toward, lengths, goals, problem.gram)]
    arrays += [problem.fewest, problem.most, np.float32(-LEAST_GAIN), np.float32(weight)]
    improve_rows(*arrays)
    return on


def _improve_torch(problem: Problem, x: Tensor, active: Tensor) -> Tensor:
    """The moves of :func:`bsa_st.head.refine_kernel.improve_rows`, all texts at a time."""
    gram = problem.gram
    norms = gram.diagonal()
    active = active.clone()
    residual, toward, lengths, goals, weight = _start(problem, x, active)
    counts = active.sum(dim=1)
    rows = torch.arange(len(x), device=x.device)

    def change(error: Tensor, length: Tensor) -> Tensor:
        return error + weight * length * (2 * (lengths - goals)[:, None] + length)

    for _ in range(2 * gram.shape[0]):
        sign = 1.0 - 2.0 * active
        error, length = norms - 2 * sign * residual, norms + 2 * sign * toward
        single = change(error, length)
        removal, out = single.masked_fill(~active, torch.inf).min(dim=1)
        addition, into = single.masked_fill(active, torch.inf).min(dim=1)
        few, many = counts < problem.fewest, counts > problem.most
        may_remove = (counts > problem.fewest) & ~few
        may_add = (counts < problem.most) & ~many
        best_removal = torch.where(may_remove & ((removal < -LEAST_GAIN) | many), removal, torch.inf)
        best_addition = torch.where(may_add & ((addition < -LEAST_GAIN) | few), addition, torch.inf)
        removes, adds = best_removal <= best_addition, best_addition < best_removal
        removes &= torch.isfinite(best_removal)
        leave, enter = torch.where(removes, out, -1), torch.where(adds, into, -1)
        stuck = ~(removes | adds) & torch.isfinite(removal) & torch.isfinite(addition)
        if stuck.any():
            both = []
            for fixed, others in ((out, ~active), (into, active)):
                own_error, own_length = error.gather(1, fixed[:, None]), length.gather(1, fixed[:, None])
                value = change(own_error + error - 2 * gram[fixed], own_length + length - 2 * gram[fixed])
                both.append(value.masked_fill(~others, torch.inf).min(dim=1))
            (first, first_in), (second, second_out) = both
            swaps_first = stuck & (first <= second) & (first < -LEAST_GAIN)
            swaps_second = stuck & (second < first) & (second < -LEAST_GAIN)
            leave = torch.where(swaps_first, out, torch.where(swaps_second, second_out, leave))
            enter = torch.where(swaps_first, first_in, torch.where(swaps_second, into, enter))
        if not ((leave >= 0) | (enter >= 0)).any():
            break
        for places, direction in ((leave, -1.0), (enter, 1.0)):
            moved = places >= 0
            ids = places[moved]
            lengths[moved] += direction * 2 * toward[moved, ids] + norms[ids]
            residual[moved] -= direction * gram[ids]
            toward[moved] += direction * gram[ids]
            active[rows[moved], ids] = direction > 0
            counts[moved] += int(direction)
    return active
