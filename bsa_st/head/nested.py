"""Elastic budgets: one trained head used with fewer features, or with fewer active ones.

A prefix of the features, the logits as they are, and a smaller ``k`` make a smaller head. Two numbers change with the budget:
the amplitude ``a`` in ``x_hat = a V h + c``, since fewer active features have to reach as far, and the threshold at which ``k``
features are active on average. Both are measured after training for a few ``k`` per width (:mod:`bsa_st.training.budgets`) and interpolated between.

Source: nested dictionaries, B. Bussmann et al., "Learning multi-level features with Matryoshka sparse autoencoders" (2025), after
A. Kusupati et al., "Matryoshka representation learning" (2022).
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import make_interp_spline

from bsa_st.errors import BSAError
from bsa_st.head.layer import BUDGET_STEPS, BinarySparsityAlignment
from bsa_st.head.settings import check_sizes


@torch.no_grad()
def truncate_head(
    head: BinarySparsityAlignment, hidden_dim: int | None = None, k: int | None = None
) -> BinarySparsityAlignment:
    """The head at a smaller budget; see :func:`bsa_st.truncate`. Without a change, the head itself."""
    largest = largest_budgets(head)
    width = head.hidden_dim if hidden_dim is None else hidden_dim
    if width not in largest:
        raise BSAError(f"this head was trained for a hidden_dim of {', '.join(map(str, sorted(largest)))}, not {width}")
    k = largest[width] if k is None else k
    check_sizes(head.input_dim, width, k, head.selection)
    if (width, k) == (head.hidden_dim, head.k):
        return head
    if head.compact:
        raise BSAError(f"a compact head has one size, hidden_dim = {head.hidden_dim}; train another one for other bytes")
    start = list(largest).index(width) * len(BUDGET_STEPS)
    ks, amplitudes, thresholds = head.budgets[start : start + len(BUDGET_STEPS)].double().cpu().numpy().T
    amplitude = float(np.exp(_interpolate(np.log(k), np.log(ks), np.log(amplitudes))))
    threshold = float(_interpolate(np.log(k), np.log(ks), thresholds))
    small = prefix_head(head, width, k, amplitude)
    small.selection = head.selection
    small.firing_rate.mul_(k / small.firing_rate.sum().clamp_min(1e-12)).clamp_(max=1.0)
    if head.selection == "threshold":
        small.bias.sub_(threshold)
        thresholds = thresholds - threshold
    else:
        small.export_threshold.fill_(threshold)
    small.budgets.copy_(torch.from_numpy(np.stack([ks, amplitudes / amplitude, thresholds], axis=1)))
    small.report = head.report
    return small


@torch.no_grad()
def prefix_head(head: BinarySparsityAlignment, hidden_dim: int, k: int, amplitude: float = 1.0) -> BinarySparsityAlignment:
    """A topk head of the first features, with the decoder's atoms times an amplitude."""
    with torch.device(head.weight.device):
        small = BinarySparsityAlignment(head.input_dim, hidden_dim, k, "topk")
    for name in ("weight", "bias", "decoder_weight", "firing_rate"):
        getattr(small, name).copy_(getattr(head, name)[:hidden_dim])
    for name in ("mean", "log_scale", "decoder_bias", "decoded_share", "length_softening", "input_bound"):
        getattr(small, name).copy_(getattr(head, name))
    small.decoder_weight.mul_(amplitude)
    return small.eval()


@torch.no_grad()
def best_amplitude(head: BinarySparsityAlignment, codes: torch.Tensor, x: torch.Tensor) -> float:
    """Least-squares factor of ``V^T h`` in ``x = a V^T h + c`` over codes, bool (n, D), of rows, float32 (n, d)."""
    summed, aim = codes.float() @ head.decoder_weight, x - head.decoder_bias
    return max(float((summed * aim).sum() / summed.square().sum().clamp_min(1e-12)), 1e-3)


def largest_budgets(head: BinarySparsityAlignment) -> dict[int, int]:
    """The largest k that was trained at each width, by width."""
    budgets = [(head.hidden_dim, head.k), *head.nested]
    return {width: max(k for other, k in budgets if other == width) for width, _ in budgets}


def _interpolate(x: float, xs: np.ndarray, ys: np.ndarray) -> float:
    """Linear between the measured points, and along the outer pieces beyond them."""
    xs, first = np.unique(xs, return_index=True)
    return float(make_interp_spline(xs, ys[first], k=1)(x)) if len(xs) > 1 else float(ys[0])
