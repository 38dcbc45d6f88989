"""The unrolled encoder: the relaxed steps of :mod:`bsa_st.refine`, few and fixed, as layers that stock modules can run.

With ``s = 2 h - 1`` a relaxed step with momentum is affine in ``[x, s, s_before]`` and then clamped to the box [-1, 1]; so it is one linear layer with a
``Hardtanh``, whose matrix also hands ``x`` and ``s`` on. The last layer keeps the logits alone. What is left out of the full refinement: the greedy moves, and
that exactly so many features be active, which one fixed threshold replaces.

Momentum and step lengths are those that :mod:`bsa_st.training.unroll` has found for a head. The step may be preconditioned:
``V g(V^T V)`` in place of ``V``, with ``g`` 1 at the largest eigenvalue and larger at the others.

Source: unrolling is K. Gregor and Y. LeCun, "Learning fast approximations of sparse coding" (2010).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_DIM = 1024
"""Widest code that is unrolled: the layers' weights grow with the square of it."""

MAX_WEIGHTS = 22_000_000
"""Most weights of all layers together, 44 MB in half precision: as many steps as fit."""

STEPS = 8
PER_STEP = ("step", "momentum", "push", "damping")
FINAL_SCALE = 2.0**13
"""The last layer's logits times this are clamped to -1 and 1, so that all but the exactly undecided ones are."""


@dataclass(frozen=True)
class StepSchedule:
    """What makes the steps of a head's unrolled encoder; every field but the last two has one value for each step.

    Attributes:
        step: Length of the step in units of one over the largest eigenvalue of ``V V^T``.
        momentum: Share of the last move that is made again.
        push: Push towards the corners of the box, in units of the step times the mean squared length of the atoms.
        damping: Damping of the preconditioner in units of the mean eigenvalue.
        start: Value of ``s`` before the first step.
        threshold: Value of ``s`` above which a feature is active after the last step.
    """

    step: tuple[float, ...]
    momentum: tuple[float, ...]
    push: tuple[float, ...]
    damping: tuple[float, ...]
    start: float
    threshold: float = 0.0


@dataclass(frozen=True)
class UnrolledEncoder:
    """Layers from dense embeddings to codes.

    Attributes:
        layers: ``(weight, bias)`` of each, float32 (out, in) and (out,) with values that half precision holds exactly. The first takes ``x``, float (n, d) of length 1;
            the last gives (n, D), positive where a feature is active.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """Codes of unit embeddings, float32 (n, d), as bool (n, D): those that the exported modules give, bit for bit."""
        state = x.float()
        for weight, bias in self.layers:
            state = F.hardtanh(F.linear(state, weight.to(x.device), bias.to(x.device)))
        return state > 0


def layer_shapes(input_dim: int, hidden_dim: int, steps: int) -> list[tuple[int, int]]:
    """``(in, out)`` of the layers of so many steps."""
    if steps < 2:
        return [(input_dim, hidden_dim)] * steps
    inner, outer = input_dim + hidden_dim, input_dim + 2 * hidden_dim
    widths = [input_dim, inner, *[outer] * (steps - 2), hidden_dim]
    return list(itertools.pairwise(widths))


def steps_that_fit(input_dim: int, hidden_dim: int) -> int:
    """Most steps, at most :data:`STEPS`, within :data:`MAX_WEIGHTS`; 0 where not even two fit or the code is too wide."""
    if hidden_dim > MAX_DIM:
        return 0
    fitting = [
        steps
        for steps in range(2, STEPS + 1)
        if sum(width * height for width, height in layer_shapes(input_dim, hidden_dim, steps)) <= MAX_WEIGHTS
    ]
    return max(fitting, default=0)


class Steps:
    """The relaxed steps of a decoder, for any schedule: ``s <- clamp((1 + p) s + m (s - s_before) + 2 K (x - c - V^T h), -1, 1)`` with ``h = (s + 1) / 2``.

    ``K = e V g(V^T V)``, computed in the eigenvectors of ``V^T V``.

    Args:
        decoder: V, float32 (D, d).
        offset: c, float32 (d,).
    """

    def __init__(self, decoder: Tensor, offset: Tensor) -> None:
        values, self.axes = torch.linalg.eigh(decoder.T @ decoder)
        self.values = values.clamp_min(0)
        self.atoms = decoder @ self.axes
        self.centre = (offset + decoder.sum(dim=0) / 2) @ self.axes
        self.squared = float(decoder.square().sum(dim=1).mean())

    def gains(self, schedule: StepSchedule) -> list[tuple[Tensor, float, float]]:
        """``(2 e g, m, p)`` of every step, ``g`` float32 (d,)."""
        largest = float(self.values[-1].clamp_min(1e-12))
        steps = []
        for length, momentum, push, damping in zip(*(getattr(schedule, name) for name in PER_STEP), strict=True):
            damped = damping * float(self.values.mean())
            gain = (largest + damped) / (self.values + damped)
            steps.append((2 * length / largest * gain, momentum, push * length / largest * self.squared))
        return steps

    def logits(self, x: Tensor, schedule: StepSchedule) -> Tensor:
        """Values of ``s`` after the last step, before it is clamped, float32 (n, D); ``x`` float32 (n, d)."""
        aim = x @ self.axes - self.centre
        before = state = x.new_full((len(x), len(self.atoms)), schedule.start)
        logits = state
        for gain, momentum, push in self.gains(schedule):
            logits = (1 + push + momentum) * state - momentum * before
            logits += ((aim - state @ self.atoms / 2) * gain) @ self.atoms.T
            before, state = state, logits.clamp(-1, 1)
        return logits


@torch.no_grad()
def unroll(decoder: Tensor, offset: Tensor, schedule: StepSchedule) -> UnrolledEncoder:
    """The layers of a schedule.

    Args:
        decoder: V, float32 (D, d).
        offset: c, float32 (d,).
        schedule: At least two steps.
    """
    features, width = decoder.shape
    steps = Steps(decoder.cpu(), offset.cpu())
    one, nothing = torch.eye(features), torch.zeros(features, features)
    layers = []
    gains = steps.gains(schedule)
    for number, (gain, momentum, push) in enumerate(gains):
        outer = (steps.atoms * gain) @ steps.axes.T
        pull = (1 + push + momentum) * one - (steps.atoms * gain) @ steps.atoms.T / 2
        constant = -(steps.atoms * gain) @ steps.centre
        if number == 0:  # s and s_before are constants
            constant = constant + schedule.start * (pull.sum(dim=1) - momentum)
            matrix, keep_state = outer, torch.zeros(0, width)
        elif number == 1:  # s_before is one
            constant = constant - schedule.start * momentum
            matrix = torch.cat([outer, pull], dim=1)
            keep_state = torch.cat([torch.zeros(features, width), one], dim=1)
        else:
            matrix = torch.cat([outer, pull, -momentum * one], dim=1)
            keep_state = torch.cat([torch.zeros(features, width), one, nothing], dim=1)
        if number == len(gains) - 1:
            layers.append((FINAL_SCALE * matrix, FINAL_SCALE * (constant - schedule.threshold)))
        else:
            kept = torch.zeros(width + len(keep_state))
            weight = torch.cat([torch.eye(width, matrix.shape[1]), matrix, keep_state])
            layers.append((weight, torch.cat([kept[:width], constant, kept[width:]])))
    return UnrolledEncoder(tuple((weight.half().float(), bias.half().float()) for weight, bias in layers))
