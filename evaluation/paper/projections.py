"""Encoding and decoding as a projection: binary sparse codes, principal components and product quantisation behind one function."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from evaluation.embeddings import unit_rows
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.baselines import PQ
from evaluation.paper.methods.bsa import BSA
from evaluation.paper.smallheads import HeadKind, small_method, training_rows

Projection = Callable[[np.ndarray], np.ndarray]
"""Embeddings, float32 (n, d), to their reconstructions, float32 (n, d), unit norm."""

HEADS = {
    "BSA 16": (HeadKind(1024, 64), 16),
    "BSA 32": (HeadKind(1024, 64), 32),
    "BSA 64": (HeadKind(1024, 64), 64),
    "BSA 200": (HeadKind(1536, 200), 200),
}
"""Head and active features of each code."""
UNREFINED = "BSA 64 unrefined"
RANKS = (16, 32, 64, 96, 128, 192, 256, 320)
BYTES = (24, 48, 96)


def principal(training: np.ndarray, rank: int) -> Projection:
    """Reconstruction from the first principal components of the training embeddings, float (n, d)."""
    mean = training.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(np.cov(training, rowvar=False))
    kept = axes[:, ::-1][:, :rank]
    return lambda dense: unit_rows((dense - mean) @ kept @ kept.T + mean)


def quantised(training: np.ndarray, n_bytes: int) -> Projection:
    """Reconstruction from a product quantiser of so many bytes per text."""
    method = PQ(n_bytes)
    method.fit(training)
    return lambda dense: unit_rows(method.decode(method.encode(dense)))


def coded(method: BSA) -> Projection:
    """Reconstruction from the codes of a fitted head."""
    return lambda dense: unit_rows(method.encode(dense).to_scipy() @ method.decoder + method.offset)


@cache
def projections(inputs: Inputs) -> dict[str, Projection]:
    """All that are compared, by name; fitted to general texts."""
    training = training_rows(inputs)
    codes = {name: coded(small_method(inputs, kind, k)) for name, (kind, k) in HEADS.items()}
    codes[UNREFINED] = coded(small_method(inputs, *HEADS["BSA 64"], refine=False))
    components = {f"PCA {rank}": principal(training, rank) for rank in RANKS}
    return codes | components | {f"PQ {size}": quantised(training, size) for size in BYTES}


@cache
def bytes_per_text(inputs: Inputs) -> dict[str, float]:
    """Stored bytes of the codes among :func:`projections`, measured on training texts; float components are not listed."""
    sample = training_rows(inputs)[:2000]
    own = {name: small_method(inputs, kind, k).encode(sample).nbytes / len(sample) for name, (kind, k) in HEADS.items()}
    return {name: round(size, 1) for name, size in own.items()} | {f"PQ {size}": float(size) for size in BYTES}
