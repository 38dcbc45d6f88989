"""Refinement: greedy moves that bring the decoded code closer to the dense embedding, at encode time.

A code ``h`` reconstructs the target ``y = x - c`` as ``a V h`` with the best amplitude ``a >= 0``; its squared error is
``|y|^2 - max(y . s, 0)^2 / |s|^2`` with ``s = V h``. Each move takes the active feature whose removal costs least and puts the
inactive one in its place that gains most; under a budget a feature may also be added, and one that only hurts is
removed. A move is made only if the error falls, so refinement never increases it.

Everything is computed from ``V y`` and the Gram matrix ``V V^T``: a move costs O(D). Two implementations make the same moves: numba on
the CPU (one text's row stays in cache) and torch in batches, for GPUs and where numba is not installed.

Source: matching pursuit with replacement, S. Mallat and Z. Zhang, "Matching pursuits with time-frequency dictionaries" (1993), for
codes with a single amplitude.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from bsa_st.codes import BinaryCodes

HAS_NUMBA = find_spec("numba") is not None

LEAST_GAIN = 1e-6
"""A move must raise the squared cosine by this share, so that rounding cannot make moves go in circles."""

LEAST_LENGTH = 1e-4
"""A decoded code shorter than this, squared and relative to the longest atom, is rounding noise and counts as 0."""


def refine_codes(
    codes: BinaryCodes,
    targets: Tensor,
    decoder: Tensor,
    gram: Tensor,
    *,
    max_moves: int,
    budget: int | None = None,
) -> BinaryCodes:
    """Refined codes.

    Args:
        codes: n codes.
        targets: y = x - c, float32 (n, d).
        decoder: V, float32 (D, d).
        gram: V V^T, float32 (D, D).
        max_moves: Most moves per text.
        budget: Most active features per text; a text that has more keeps its number. ``None``: the number of active features of
            every text stays as it is.

    Returns:
        n codes with the same number of active features, or at most ``budget`` where it is given.
    """
    correlations = targets @ decoder.T
    if HAS_NUMBA and targets.device.type == "cpu":
        return _refine_numba(codes, correlations, gram, max_moves, budget)
    return _refine_torch(codes, correlations, gram, max_moves, budget)


def _refine_numba(codes: BinaryCodes, correlations: Tensor, gram: Tensor, max_moves: int, budget: int | None) -> BinaryCodes:
    from bsa_st.refine_kernel import refine_rows

    counts = codes.counts.astype(np.int32)
    width = max(int(counts.max(initial=0)), budget or 0)
    ids = np.zeros((len(codes), width), dtype=np.int32)
    filled = np.arange(width) < counts[:, None]
    ids[filled] = codes.ids
    refine_rows(
        correlations.numpy(),
        gram.numpy(),
        ids,
        counts,
        max_moves,
        -1 if budget is None else budget,
        np.float32(1 + LEAST_GAIN),
        np.float32(LEAST_LENGTH * gram.diagonal().max()),
    )
    ids[np.arange(width) >= counts[:, None]] = codes.hidden_dim  # sorts behind every real id
    ids.sort(axis=1)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    return BinaryCodes(ids[np.arange(width) < counts[:, None]], indptr, codes.hidden_dim)


@torch.no_grad()
def _refine_torch(codes: BinaryCodes, correlations: Tensor, gram: Tensor, max_moves: int, budget: int | None) -> BinaryCodes:
    active = torch.from_numpy(codes.to_dense()).to(gram.device).bool()
    rows = torch.arange(len(active), device=gram.device)
    norms = gram.diagonal()
    floor = LEAST_LENGTH * norms.max()
    sums = active.float() @ gram
    for _ in range(max_moves):
        agreement = (correlations * active).sum(dim=1, keepdim=True)
        length = (sums * active).sum(dim=1, keepdim=True)
        now = _score(agreement, length, floor)
        removed_agreement, removed_length = agreement - correlations, length + norms - 2 * sums
        removal = _score(removed_agreement, removed_length, floor).masked_fill(~active, -torch.inf)
        best_removal, out = removal.max(dim=1, keepdim=True)
        base_agreement, base_length = removed_agreement.gather(1, out), removed_length.gather(1, out)
        swap = _score(base_agreement + correlations, base_length + norms + 2 * (sums - gram[out[:, 0]]), floor)
        best_swap, swap_in = swap.masked_fill(active, -torch.inf).max(dim=1, keepdim=True)
        best_swap = best_swap.masked_fill(torch.isinf(best_removal), -torch.inf)
        if budget is None:
            best_removal = torch.full_like(best_removal, -torch.inf)
            best_add, add_in = best_removal, swap_in
        else:
            add = _score(agreement + correlations, length + norms + 2 * sums, floor)
            full = active.sum(dim=1, keepdim=True) >= budget
            best_add, add_in = add.masked_fill(active | full, -torch.inf).max(dim=1, keepdim=True)
        choices = torch.cat([best_removal, best_swap, best_add], dim=1)
        best, move = choices.max(dim=1)
        better = best > now[:, 0] * (1 + LEAST_GAIN) + 1e-30
        if not better.any():
            break
        leaves, enters = better & (move < 2), better & (move > 0)
        incoming = torch.where(move == 1, swap_in[:, 0], add_in[:, 0])
        active[rows[leaves], out[leaves, 0]] = False
        active[rows[enters], incoming[enters]] = True
        sums[leaves] -= gram[out[leaves, 0]]
        sums[enters] += gram[incoming[enters]]
    return BinaryCodes.from_dense(active.float())


def _score(agreement: Tensor, length: Tensor, floor: Tensor) -> Tensor:
    """Squared cosine of code and target, up to the target's length; 0 where they disagree in sign or the code decodes to 0."""
    return torch.where(length > floor, agreement.clamp_min(0).square() / length.clamp_min(floor), 0.0)
