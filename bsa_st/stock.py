"""The head as two stock ``Dense`` modules, so that plain sentence-transformers loads it with no flag and no bsa_st.

The first Dense subtracts the mean and puts a constant column in front; the second applies ``[b, W]`` and a ``Hardsigmoid``. Both are
scaled by powers of two so large that the Hardsigmoid saturates, which changes no rounding: in threshold mode the codes equal
those of :class:`~bsa_st.module.BinarySparsityAlignment` bit for bit. Splitting the scale between the two keeps every weight within
the range of float16, so a model cast to half precision still works (with float16's own rounding).

Known limit: float32 rounds a logit to exactly 0 about once in 10^9 (on 2 of 496,000 texts at D=4096). The stock form then gives
0.5 where the module gives 0. Two Denses with the constant first came out rarest: with the constant last it was 3, with the
threshold in the bias of a single Dense 7.
"""

from __future__ import annotations

import math

import torch
from sentence_transformers.base.modules import Dense
from torch import Tensor, nn

from bsa_st.module import BinarySparsityAlignment

STOCK_MODULES = 2
HALF_RANGE = 2.0**15


@torch.no_grad()
def stock_modules(head: BinarySparsityAlignment) -> tuple[Dense, Dense]:
    """Two Dense modules (d -> d + 1 -> D) that give the head's codes as float32 in {0.0, 1.0}.

    A topk head becomes a threshold on the logit, ``head.export_threshold``, chosen so that ``k`` features per text are active on
    average.

    Args:
        head: The trained head, calibrated.
    """
    d = head.input_dim
    scale = power_of_two_below(HALF_RANGE / 2, head.input_bound)
    constant_first = torch.cat([torch.zeros(1, d), torch.eye(d)]) * scale
    shift = Dense(d, d + 1, activation_function=nn.Identity(), init_weight=constant_first)
    shift.linear.bias.copy_(torch.cat([torch.ones(1), -head.mean.cpu()]) * scale)
    weight = torch.cat([(head.bias - head.export_threshold)[:, None], head.weight], dim=1).cpu()
    weight *= power_of_two_below(HALF_RANGE, weight.abs().max())
    binarise = Dense(d + 1, head.hidden_dim, activation_function=nn.Hardsigmoid(), init_weight=weight)
    binarise.linear.bias.zero_()
    return shift, binarise


def stock_shapes(head: BinarySparsityAlignment) -> list[tuple[int, int]]:
    """``(in, out)`` of the modules that :func:`stock_modules` gives."""
    return [(head.input_dim, head.input_dim + 1), (head.input_dim + 1, head.hidden_dim)]


def power_of_two_below(limit: float, largest: Tensor) -> float:
    """Largest power of two, itself below float16's limit, that keeps ``largest`` below ``limit`` when multiplied with it."""
    return min(2.0 ** math.floor(math.log2(limit / max(float(largest), 1e-30))), HALF_RANGE)
