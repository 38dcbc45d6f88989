"""A named dictionary: directions of an encoder's space that have names, and when a text has one.

An atom is the encoder's own embedding of a name. What is *searched* is a refined code; what is *read* is the plain code of these atoms: refining
would let a feature fire for what others leave over, and its name would no longer say when it does (evaluation/INTERPRETABILITY.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bsa_st.errors import BSAError

K = 12
MERGE_COSINE = 0.9  # names whose atoms are at least so alike are one feature
HIGHEST_RATE, LOWEST_RATE = 0.04, 0.0003  # shares of the corpus between which every feature fires
FEW_NAMES = 100
"""The mean of fewer names than that says more about what they are than about what all names share: it is drawn to the mean of the texts."""
BLOCK_CELLS = 1 << 24
ROUNDING = 2e-6


@dataclass(frozen=True)
class NamedDictionary:
    """Named features of an encoder: a text ``x`` has one where ``atoms @ (x - mean)`` is above its threshold."""

    names: tuple[str, ...]  # D, distinct
    aliases: tuple[tuple[str, ...], ...]  # for each name, others that the encoder takes for the same
    atoms: np.ndarray  # float32 (D, d), unit norm: directions from the mean of all names to each
    mean: np.ndarray  # float32 (d,), the mean embedding of texts
    thresholds: np.ndarray  # float32 (D,)
    rates: np.ndarray  # float32 (D,): share of the corpus that has it
    k: int = K  # most names that a text is told to have

    def __len__(self) -> int:
        return len(self.names)

    def blocks(self, embeddings: np.ndarray) -> Iterator[np.ndarray]:
        """``(x - mean) @ atoms.T`` of the directions of float (n, d), float32 (m, D), at most 64 MB at a time; raises :class:`BSAError` if the width is
        another, or a row is zero, NaN or infinite."""
        embeddings = np.asarray(embeddings)
        if embeddings.ndim != 2 or embeddings.shape[1] != len(self.mean):
            raise BSAError(f"embeddings must have shape (n, {len(self.mean)}), got {embeddings.shape}")
        step = max(1, BLOCK_CELLS // len(self))
        for start in range(0, len(embeddings), step):
            yield (unit(embeddings[start : start + step]) - self.mean) @ self.atoms.T

    def fires(self, embeddings: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each row the features that it has, int, and their strengths (the projections), at most ``k``, strongest first."""
        for block in self.blocks(embeddings):
            for row, mask in zip(block, block > self.thresholds, strict=True):
                ids = np.flatnonzero(mask)
                order = ids[np.argsort(-row[ids], kind="stable")[: self.k]]
                yield order, row[order]


class Candidates(NamedTuple):
    """Names with their embeddings, float32 (m, d), best first."""

    names: Sequence[str]
    embeddings: np.ndarray


def fit_dictionary(candidates: Candidates, texts: np.ndarray, hidden_dim: int | None = None, k: int = K) -> NamedDictionary:
    """A dictionary of the first ``hidden_dim`` names that differ, or all, with thresholds from the embeddings of texts, float (n, d); later names that are
    nearly the same as earlier ones become their aliases. Raises :class:`BSAError` if fewer than two names differ, or a size is out of range.

    All features share one threshold, chosen so that ``k`` are active in a text on average (2 % of the features, or 1, where that is fewer); it is
    raised for those that would fire on more than 4 % of the texts (twice the average, where there are few features) and lowered for those that would fire
    on fewer than 0.03 %.
    """
    if k < 1 or (hidden_dim is not None and hidden_dim < 2):
        raise BSAError(f"k must be at least 1 and hidden_dim at least 2, got {k} and {hidden_dim}")
    if len(texts) < 2:
        raise BSAError(f"a dictionary of names needs at least two texts to set its thresholds, got {len(texts)}")
    rows, raw = unit(texts), unit(candidates.embeddings)
    mean = rows.mean(axis=0)
    centre = (raw.sum(axis=0) + FEW_NAMES * mean) / (len(raw) + FEW_NAMES)
    atoms = unit(raw - centre, "a name lies exactly in the middle of the others")
    kept, merged = merge(atoms, hidden_dim or len(atoms))
    if len(kept) < 2:
        told = f"of {len(raw)} it tells {len(kept)} ({candidates.names[0]!r})"
        raise BSAError(f"a dictionary needs at least two names that the encoder tells apart; {told}")
    atoms = np.ascontiguousarray(atoms[kept])
    thresholds, rates = fit_thresholds(rows, mean, atoms, k)
    names = tuple(candidates.names[place] for place in kept)
    aliases = tuple(tuple(candidates.names[place] for place in others) for others in merged)
    return NamedDictionary(names, aliases, atoms, mean, thresholds, rates, k)


def merge(atoms: np.ndarray, wanted: int) -> tuple[list[int], list[list[int]]]:
    """The first ``wanted`` unit rows, of float32 (m, d), none of which is nearly the same as an earlier one, and for each the later rows that are."""
    kept: list[int] = []
    owner: dict[int, list[int]] = {}
    chosen = np.zeros((min(wanted, len(atoms)), atoms.shape[1]), dtype=np.float32)
    step = min(1024, max(64, BLOCK_CELLS // len(chosen)))
    for start in range(0, len(atoms), step):
        block = atoms[start : start + step]
        known = len(kept)
        alike = block @ chosen[:known].T
        inside = block @ block.T
        here: list[int] = []
        for at in range(len(block)):
            best = int(alike[at].argmax()) if known else -1
            nearest = here[int(inside[at, here].argmax())] if here else -1
            if known and alike[at, best] >= MERGE_COSINE:
                owner[kept[best]].append(start + at)
            elif nearest >= 0 and inside[at, nearest] >= MERGE_COSINE:
                owner[start + nearest].append(start + at)
            elif len(kept) < wanted:
                chosen[len(kept)] = block[at]
                kept.append(start + at)
                owner[start + at] = []
                here.append(at)
    return kept, [owner[place] for place in kept]


def fit_thresholds(rows: np.ndarray, mean: np.ndarray, atoms: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds and firing rates on unit rows, both float32 (D,); see :func:`fit_dictionary`."""
    n, count = len(rows), len(atoms)
    average = min(float(k), max(1.0, HIGHEST_RATE / 2 * count))
    share = min(1.0, max(HIGHEST_RATE, 2 * average / count))
    depth = min(n, math.ceil(share * n) + 1)
    tops = np.empty((count, depth), dtype=np.float32)
    step = max(1, BLOCK_CELLS // n)
    for start in range(0, count, step):
        block = atoms[start : start + step] @ (rows - mean).T
        tops[start : start + step] = -np.sort(np.partition(-block, depth - 1, axis=1)[:, :depth], axis=1)

    def middle(rank: int) -> np.ndarray:
        """Halfway between two texts, and a little lower for two of the same: rounding in another library's order of sums must not decide."""
        return np.asarray((tops[:, min(rank, depth) - 1] + tops[:, min(rank, depth - 1)]) / 2 - ROUNDING)

    highest, lowest = middle(max(1, math.floor(share * n))), middle(max(1, math.ceil(LOWEST_RATE * n)))
    low, high = float(tops.min()), float(tops.max())
    for _ in range(40):
        shared = (low + high) / 2
        thresholds = np.minimum(np.maximum(shared, highest), lowest)
        low, high = (shared, high) if (tops > thresholds[:, None]).sum() > average * n else (low, shared)
    return thresholds.astype(np.float32), ((tops > thresholds[:, None]).sum(axis=1) / n).astype(np.float32)


def unit(rows: np.ndarray, problem: str = "an embedding is zero, NaN or infinite", dtype: type = np.float32) -> np.ndarray:
    """Rows of length 1; raises :class:`BSAError` with the problem if a row has no direction."""
    rows = np.array(rows, dtype=dtype)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 1e-9).all()):
        raise BSAError(problem)
    return np.asarray(rows / lengths)
