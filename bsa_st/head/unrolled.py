"""The unrolled encoder: the relaxed steps of :mod:`bsa_st.head.refine`, few and fixed, as layers that stock modules can run.

With ``s = 2 h - 1`` a relaxed step is affine in ``[x, s]`` and then clamped to [-1, 1]: one linear layer with a ``Hardtanh``, whose matrix also hands ``x`` on.
The last layer keeps the logits alone. A step, whose length :mod:`bsa_st.training.unroll` has found for the head, is preconditioned: ``V g(V^T V)`` in place of ``V``, with
``g`` 1 at the largest eigenvalue and larger at the others. Left out of the refinement: momentum, whose weights are better spent on more steps; the greedy moves; and
that exactly so many features be active, which one fixed threshold replaces.

One feature is always active. It carries the decoder's offset: a query's weights are then all there is to its scores, and its row of the decoder is ``V_j + c``.

Source: unrolling is K. Gregor and Y. LeCun, "Learning fast approximations of sparse coding" (2010).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from bsa_st.head.refine import weigh_mean

MAX_DIM = 1024  # widest code that is unrolled: the layers' weights grow with the square of it

MAX_WEIGHTS = 20_000_000  # most weights of all layers together, 40 MB in half precision: as many steps as fit

STEPS = 12
HALF_RANGE = 2.0**15
FINAL_SCALE = 2.0**13
"""The last layer's logits times this are clamped to -1 and 1, so that all but the exactly undecided ones are."""


@dataclass(frozen=True)
class StepSchedule:
    """What makes the steps of a head's unrolled encoder; every field but the last two has one value for each step."""

    step: Sequence[float]  # length of the step in units of one over the largest eigenvalue of ``V V^T``
    push: Sequence[float]  # towards the corners of the box, in units of the step times the mean squared length of the atoms
    damping: Sequence[float]  # of the preconditioner in units of the mean eigenvalue
    start: float  # value of ``s`` before the first step
    threshold: float = 0.0  # value of ``s`` above which a feature is active after the last step


@dataclass(frozen=True)
class UnrolledEncoder:
    """Layers from dense embeddings to codes."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    """``(weight, bias)`` of each, float32 (out, in) and (out,) with values that half precision holds exactly. The first takes ``x``, float (n, d) of length 1;
    the last gives (n, D), positive where a feature is active."""
    decoder: Tensor
    """What decodes these codes, float32 (D, d): ``x_hat = V^T h`` with no offset, so that ``V q . h`` is the whole of ``q . x_hat``."""
    softening: float  # added to ``|x_hat|^2`` before scores are divided by its root

    def codes(self, x: Tensor) -> Tensor:
        """Codes of unit embeddings, float32 (n, d), as bool (n, D): those that the exported modules give, bit for bit."""
        state = x.float()
        with torch.no_grad():
            for weight, bias in self.layers:
                state = F.hardtanh(F.linear(state, weight.to(x.device), bias.to(x.device)))
        return state > 0


def layer_shapes(input_dim: int, hidden_dim: int, steps: int) -> list[tuple[int, int]]:
    """``(in, out)`` of the layers of so many steps, at least one."""
    widths = [input_dim, *[input_dim + hidden_dim] * (steps - 1), hidden_dim]
    return list(itertools.pairwise(widths))


def steps_that_fit(input_dim: int, hidden_dim: int) -> int:
    """Most steps, at most :data:`STEPS`, within :data:`MAX_WEIGHTS`; 0 where not even two fit or the code is too wide."""
    if hidden_dim > MAX_DIM:
        return 0
    sizes = {steps: layer_shapes(input_dim, hidden_dim, steps) for steps in range(2, STEPS + 1)}
    return max((steps for steps, shapes in sizes.items() if sum(map(math.prod, shapes)) <= MAX_WEIGHTS), default=0)


class Steps:
    """The relaxed steps of a decoder, for any schedule: ``s <- clamp((1 + p) s + 2 K (x - c - V^T h), -1, 1)`` with ``h = (s + 1) / 2``.

    ``K = e V g(V^T V)``, computed in the eigenvectors of ``V^T V``; everything in the basis of :func:`bsa_st.head.refine.weigh_mean`, as in the refinement.
    ``decoder`` is V, float32 (D, d), ``offset`` c and ``mean`` the mean embedding, float32 (d,), ``constant`` the feature that is always active; its row of the
    attribute ``decoder``, which decodes the codes, has the offset in it.
    """

    def __init__(self, decoder: Tensor, offset: Tensor, mean: Tensor, constant: int) -> None:
        self.constant = constant
        decoder, offset = decoder.detach(), offset.detach()
        self.decoder = decoder.clone()
        self.decoder[constant] += offset
        decoder, offset = weigh_mean(decoder, mean), weigh_mean(offset, mean)
        values, axes = torch.linalg.eigh(decoder.T @ decoder)
        self.values = values.clamp_min(0)
        self.atoms = decoder @ axes
        self.axes = weigh_mean(torch.eye(len(mean), device=mean.device), mean) @ axes
        self.centre = (offset + decoder.sum(dim=0) / 2) @ axes
        self.squared = float(decoder.square().sum(dim=1).mean())

    def gains(self, schedule: StepSchedule) -> list[tuple[Tensor, float]]:
        """``(2 e g, p)`` of every step, ``g`` float32 (d,)."""
        largest = float(self.values[-1].clamp_min(1e-12))
        steps = []
        for length, push, damping in zip(schedule.step, schedule.push, schedule.damping, strict=True):
            damped = damping * float(self.values.mean())
            gain = (largest + damped) / (self.values + damped)
            steps.append((2 * length / largest * gain, push * length / largest * self.squared))
        return steps

    def logits(self, x: Tensor, schedule: StepSchedule) -> Tensor:
        """Values of ``s`` after the last step, before it is clamped, float32 (n, D); ``x`` float32 (n, d)."""
        aim = x @ self.axes - self.centre
        logits = self.start(schedule).expand(len(x), -1).clone()
        for gain, push in self.gains(schedule):
            state = logits.clamp_(-1, 1)
            logits = (1 + push) * state + ((aim - state @ self.atoms / 2) * gain) @ self.atoms.T
            logits[:, self.constant] = 1
        return logits

    def start(self, schedule: StepSchedule) -> Tensor:
        """Values of ``s`` before the first step, float32 (D,)."""
        start = torch.full_like(self.atoms[:, 0], schedule.start)
        start[self.constant] = 1
        return start


@torch.no_grad()
def unroll(steps: Steps, schedule: StepSchedule, softening: float = 0.0) -> UnrolledEncoder:
    """The encoder of a schedule of at least two steps, on the CPU."""
    features, width = steps.atoms.shape
    one = torch.eye(features, device=steps.atoms.device)
    layers = []
    gains = steps.gains(schedule)
    for number, (gain, push) in enumerate(gains):
        outer = steps.atoms * gain
        toward, pull, constant = outer @ steps.axes.T, (1 + push) * one - outer @ steps.atoms.T / 2, -outer @ steps.centre
        toward[steps.constant] = pull[steps.constant] = 0
        constant[steps.constant] = 1
        matrix = torch.cat([toward, pull], dim=1)
        if number == 0:  # s is a constant
            matrix, constant = toward, constant + pull @ steps.start(schedule)
        if number < len(gains) - 1:
            matrix = torch.cat([torch.eye(width, matrix.shape[1], device=matrix.device), matrix])
            layers.append((matrix, torch.cat([constant.new_zeros(width), constant])))
        else:
            constant -= schedule.threshold
            constant[steps.constant] = 1
            scale = power_of_two_below(HALF_RANGE, torch.maximum(matrix.abs().max(), constant.abs().max()))
            layers.append((min(scale, FINAL_SCALE) * matrix, min(scale, FINAL_SCALE) * constant))
    halved = tuple((weight.half().float().cpu(), bias.half().float().cpu()) for weight, bias in layers)
    return UnrolledEncoder(halved, steps.decoder.cpu(), softening)


def linear_encoder(decoder: Tensor, damping: float) -> Tensor:
    """``V (V^T V + damping m I)^-1`` with rows of length 1, ``m`` the mean eigenvalue: float32 (D, d).

    It is the first preconditioned step; of codes whose features are uncorrelated, the least squares estimate of the code. Computed in double precision, so
    that machines agree.
    """
    exact = decoder.double()
    gram = exact.T @ exact
    gram.diagonal().add_(damping * gram.diagonal().mean())
    return F.normalize(torch.linalg.solve(gram, exact.T).T, dim=1).float()


def power_of_two_below(limit: float, largest: Tensor) -> float:
    """Largest power of two, itself below float16's limit, that keeps ``largest`` below ``limit`` when multiplied with it."""
    return min(2.0 ** math.floor(math.log2(limit / max(float(largest), 1e-30))), HALF_RANGE)
