"""Dictionary polish: after training, fit the decoder once more to the refined codes that will really be stored.

Training decodes plain codes; refinement then picks other features than the encoder would. Each round refines the codes of a sample
and solves ridge least squares for ``V`` on them: ``(H^T H + r I) V = H^T (X - c) + r V_old``. The ridge pulls to the old decoder
with the weight of ``r`` texts, so an atom that fires rarely moves little and one that never fires stays. Held-out rows
choose ``r``, and keep the old decoder where no ``r`` is better: a few thousand texts are too few for a wide dictionary.

Nested budgets enter the same equations, each with its own codes and amplitude.

Source: the dictionary step of K. Engan, S. O. Aase and J. H. Husoy, "Method of optimal directions for frame design" (1999).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

from bsa_st.elastic import prefix_head
from bsa_st.encoding import encode_embeddings
from bsa_st.module import BinarySparsityAlignment

RIDGES = (10.0, 100.0, 1000.0)
CHUNK_TEXTS = 2048
"""Rows refined at a time. Memory is one chunk and a few (D, D) matrices, whatever the number of texts."""


@torch.no_grad()
def polish(
    head: BinarySparsityAlignment,
    embeddings: np.ndarray,
    held_out: np.ndarray,
    *,
    rounds: int = 1,
    refine: bool = True,
    show_progress_bar: bool = False,
) -> None:
    """Replace the decoder of a trained head by the one that fits refined codes best; mean, encoder and offset stay.

    Args:
        head: The trained layer; changed.
        embeddings: Training rows, float (n, d), n > 0, of length 1; may be a memory map.
        held_out: Rows that decide, float (m, d), m > 0.
        rounds: How often to refine and solve.
        refine: Whether codes are refined; without, the decoder is fitted to plain codes.
        show_progress_bar: Show a bar over the rows.

    Raises:
        BSAError: If the embeddings have another width or hold NaN or infinite values.
    """
    with tqdm(total=rounds * len(embeddings), desc="Polishing", unit="text", disable=not show_progress_bar) as bar:
        for _ in range(rounds):
            old = head.decoder_weight.clone()
            products, sums = _normal_equations(head, embeddings, refine, bar)
            best, best_cosine = old, _cosine(head, held_out, refine)
            for ridge in RIDGES:
                right = torch.from_numpy(sums).float() + ridge * old.cpu()
                factor = torch.linalg.cholesky(torch.from_numpy(products) + ridge * torch.eye(len(products)))
                head.decoder_weight.copy_(torch.cholesky_solve(right, factor))
                if (cosine := _cosine(head, held_out, refine)) > best_cosine:
                    best, best_cosine = head.decoder_weight.clone(), cosine
            head.decoder_weight.copy_(best)
            if best is old:
                break


@torch.no_grad()
def refined_cosine(head: BinarySparsityAlignment, embeddings: np.ndarray) -> float:
    """Mean cosine of dense embeddings, float (n, d), with what their refined codes decode to."""
    return _cosine(head, embeddings, refine=True)


def _cosine(head: BinarySparsityAlignment, embeddings: np.ndarray, refine: bool) -> float:
    codes = torch.from_numpy(encode_embeddings(head, embeddings, refine=refine).to_dense())
    decoded = head.decode(codes.to(head.weight.device)).cpu()
    return float(F.cosine_similarity(decoded, torch.from_numpy(np.asarray(embeddings, dtype=np.float32))).mean())


def _normal_equations(
    head: BinarySparsityAlignment, embeddings: np.ndarray, refine: bool, bar: tqdm
) -> tuple[np.ndarray, np.ndarray]:
    """``H^T H`` float32 (D, D) and ``H^T (X - c)`` (D, d), summed over the head and its nested budgets."""
    products = np.zeros((head.hidden_dim, head.hidden_dim), dtype=np.float32)
    sums = np.zeros((head.hidden_dim, head.input_dim), dtype=np.float64)
    decoder, offset = head.decoder_weight.cpu().numpy(), head.decoder_bias.cpu().numpy()
    heads = [head, *(prefix_head(head, width, k) for width, k in head.nested)]
    for start in range(0, len(embeddings), CHUNK_TEXTS):
        rows = np.array(embeddings[start : start + CHUNK_TEXTS], dtype=np.float32)
        for one in heads:
            codes = encode_embeddings(one, rows, refine=refine).to_scipy()
            aims, summed = rows - offset, codes @ decoder[: one.hidden_dim]
            amplitude = float((summed * aims).sum() / max(float(np.square(summed).sum()), 1e-12))
            together = (codes.T @ codes).tocoo()
            products[together.row, together.col] += amplitude**2 * together.data
            sums[: one.hidden_dim] += amplitude * (codes.T @ aims)
        bar.update(len(rows))
    return products, sums
