"""Refit: alternating least squares between refined codes and the decoder, no gradient through the code.

Each round refines the codes of training texts with the present decoder (:mod:`bsa_st.head.refine`) and solves ridge least squares for ``V`` and ``c`` on them:
``(H^T H + r I) V = H^T (X - c) + r V_old``. The ridge pulls to the old decoder with the weight of ``r`` texts, so that an atom that fires rarely moves
little and one that never fires stays; held-out rows choose ``r``. They also decide when to stop, and which round's decoder is kept. At the end the linear
encoder is computed from the decoder, and kept where its plain codes decode better than before.

Nested budgets enter the same equations, each with its own codes and amplitude.

Source: the dictionary step of K. Engan, S. O. Aase and J. H. Husoy, "Method of optimal directions for frame design" (1999).
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm.auto import tqdm

from bsa_st.encoding.encode import refined_codes
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.nested import best_amplitude, prefix_head
from bsa_st.head.unrolled import linear_encoder
from bsa_st.inputs.unit_rows import batches

RIDGES = (1.0, 10.0, 100.0, 1000.0, 3000.0)  # the first round tries all, later ones the last winner and its neighbours
CHUNK_TEXTS = 2048  # rows refined at a time. Memory is one chunk and a few (D, D) matrices, whatever the number of texts

WHOLE_ROUNDS, PART = 5, 3
"""The last rounds use all rows; those before, in which most atoms still move far, every third."""

LEAST_GAIN = 1e-4
"""A round that raises the held-out cosine by less is followed by one with all rows; such a round without this gain is the last."""

HELD_OUT = 1000
RATE_ROWS = 4096
DAMPINGS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # of the linear encoder, in units of the mean eigenvalue of ``V^T V``


@torch.no_grad()
def refit(
    head: BinarySparsityAlignment,
    embeddings: np.ndarray,
    held_out: np.ndarray,
    *,
    rounds: int,
    refine: bool = True,
    show_progress_bar: bool = False,
) -> list[dict[str, Any]]:
    """Fit decoder and encoder of an initialised or trained head to the codes of ``embeddings`` that will really be stored; its mean stays.

    ``held_out`` rows decide; all are float (n, d) of length 1. Without ``refine`` the decoder is fitted to plain codes and the encoder stays.

    Returns:
        For every round its rows, ridge, seconds and the held-out cosine of ``x`` and ``x_hat`` before it; last the cosine after all, and the damping of the linear encoder.

    Raises:
        BSAError: If the embeddings are constant or repeat a few rows.
    """
    held_out = held_out[:HELD_OUT]
    small = embeddings if len(embeddings) < PART * 4 * head.hidden_dim else embeddings[::PART]
    amplitudes = dict.fromkeys(head.nested, 1.0)
    best, kept = -math.inf, _solution(head)
    history: list[dict[str, Any]] = []
    whole, before = rounds <= WHOLE_ROUNDS, -1.0
    bar = tqdm(range(rounds), desc="Refit", unit="round", disable=not show_progress_bar)
    for number in bar:
        whole = whole or rounds - number <= WHOLE_ROUNDS
        rows = embeddings if whole else small
        started = time.perf_counter()
        held_codes = _codes(head, held_out, refine)
        cosine = _cosine(head, held_codes, held_out)
        if cosine > best:
            best, kept = cosine, _solution(head)
        if number and cosine - before < LEAST_GAIN and whole and history[-1]["rows"] == len(rows):
            break
        whole = whole or (number > 0 and cosine - before < LEAST_GAIN)
        before = cosine
        near = RIDGES.index(history[-1]["ridge"]) if history else 0
        ridges = RIDGES[max(0, near - 1) : near + 2] if history else RIDGES
        ridge = _solve(head, *_equations(head, rows, refine, amplitudes), ridges, held_codes, held_out)
        seconds = round(time.perf_counter() - started, 2)
        history.append({"rows": len(rows), "ridge": ridge, "cosine": round(cosine, 5), "seconds": seconds})
        bar.set_postfix(cosine=f"{cosine:.4f}")
    final = _cosine(head, _codes(head, held_out, refine), held_out)
    if best > final:
        final = best
        _put(head, kept)
    history.append({"cosine": round(final, 5)})
    if refine:
        head.decoder_weight.copy_(head.decoder_weight.half().float())  # of no effect on codes, and half the bytes in files
        history[-1]["damping"] = _compute_encoder(head, embeddings, held_out)
    return history


def _equations(
    head: BinarySparsityAlignment, rows: np.ndarray, refine: bool, amplitudes: dict[tuple[int, int], float]
) -> tuple[Tensor, Tensor]:
    """``H^T H`` and ``H^T X`` of codes with a constant last feature, float64, accumulated over rows and nested budgets; their amplitudes are brought up to date."""
    features, width = head.decoder_weight.shape
    products = torch.zeros(features + 1, features + 1, device=head.weight.device)
    sums = torch.zeros(features + 1, width, device=head.weight.device)
    for start in range(0, len(rows), CHUNK_TEXTS):
        x = next(batches(rows[start : start + CHUNK_TEXTS], 1, head.weight.device))
        design = _design(_chosen(head, x, refine), 1.0)
        products.addmm_(design.T, design)
        sums.addmm_(design.T, x)
        for budget in head.nested:
            smaller = prefix_head(head, *budget, amplitudes[budget])
            codes = _chosen(smaller, x, refine)
            amplitudes[budget] *= best_amplitude(smaller, codes, x)
            design = _design(codes, amplitudes[budget])
            places = torch.tensor([*range(budget[0]), features], device=x.device)
            products[places[:, None], places] += design.T @ design
            sums[places] += design.T @ x
    return products.double(), sums.double()


def _chosen(head: BinarySparsityAlignment, x: Tensor, refine: bool) -> Tensor:
    return refined_codes(head, x) if refine else head.select(head.logits(x)).bool()


def _design(codes: Tensor, amplitude: float) -> Tensor:
    return torch.cat([amplitude * codes.float(), torch.ones(len(codes), 1, device=codes.device)], dim=1)


def _solve(
    head: BinarySparsityAlignment, products: Tensor, sums: Tensor, ridges: tuple[float, ...], codes: Tensor, rows: np.ndarray
) -> float:
    """Put the solution of the best ridge into the head, by held-out rows, float (n, d), and their codes, (n, D); returns that ridge."""
    old = _solution(head).double()
    pull = torch.ones(len(old), dtype=torch.float64, device=old.device)
    pull[-1] = 0  # the offset is free
    found = []
    for ridge in ridges:
        factor, failed = torch.linalg.cholesky_ex(products + torch.diag(ridge * pull + 1e-6))
        if not failed:
            solution = torch.cholesky_solve(sums + ridge * pull[:, None] * old, factor).float()
            _put(head, solution)
            found.append((_cosine(head, codes, rows), ridge, solution))
    if not found:
        raise BSAError("the decoder's equations have no solution: the embeddings are degenerate (constant or repeated rows)")
    _, ridge, solution = max(found, key=lambda one: one[0])
    _put(head, solution)
    return ridge


def _solution(head: BinarySparsityAlignment) -> Tensor:
    """The decoder's rows and its offset, (D + 1, d)."""
    return torch.cat([head.decoder_weight, head.decoder_bias[None]])


def _put(head: BinarySparsityAlignment, solution: Tensor) -> None:
    head.decoder_weight.copy_(solution[:-1])
    head.decoder_bias.copy_(solution[-1])


def _codes(head: BinarySparsityAlignment, rows: np.ndarray, refine: bool) -> Tensor:
    return torch.cat([_chosen(head, x, refine) for x in batches(rows, head.hidden_dim, head.weight.device)])


def _cosine(head: BinarySparsityAlignment, codes: Tensor, rows: np.ndarray) -> float:
    x = torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(codes.device)
    return float(F.cosine_similarity(head.decode(codes), x).mean())


def _compute_encoder(head: BinarySparsityAlignment, rows: np.ndarray, held_out: np.ndarray) -> float | None:
    """Compute the linear encoder from the decoder, each feature firing as often as in refined codes; the old one stays where it decodes better.

    Returns the damping (:func:`bsa_st.head.unrolled.linear_encoder`) whose plain codes decode held-out rows best; ``None`` where the old encoder stayed.
    """
    x = next(batches(rows[:RATE_ROWS], 1, head.weight.device))
    rates = refined_codes(head, x).float().mean(dim=0)
    fitted: dict[str, Tensor] = {"weight": head.weight, "bias": head.bias, "log_scale": head.log_scale}
    chosen: float | None = None
    best, kept = -math.inf, fitted
    for damping in (None, *DAMPINGS):
        if damping is not None:
            head.weight.copy_(linear_encoder(head.decoder_weight, damping))
            head.set_rates(x, rates)
        cosine = _cosine(head, _codes(head, held_out, refine=False), held_out)
        if cosine > best:
            best, chosen = cosine, damping
            kept = {name: tensor.clone() for name, tensor in fitted.items()}
    for name, tensor in fitted.items():
        tensor.copy_(kept[name])
    return chosen
