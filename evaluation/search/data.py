"""Documents for the search benchmark: real embeddings, and more grown from them by adding noise, made again chunk by chunk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bsa_st.atomic import atomic_file
from evaluation.data.embeddings import unit_rows
from evaluation.data.neighbours import FOUND, with_block

LOG = logging.getLogger(__name__)
CHUNK = 10_000
CHECKPOINT = 200_000
NOISE = 0.35
"""Length of the noise added to a copy of a unit embedding."""
STEPS = 8
QUERIES = 500


class Head(NamedTuple):
    """A decoder: V, float32 (D, d), and c, float32 (d,)."""

    weight: np.ndarray
    offset: np.ndarray


class Data(NamedTuple):
    """What is searched.

    Attributes:
        real: Real embeddings, float32 (r, d), unit norm.
        size: Documents, n: the real ones, then grown ones.
        queries: Real embeddings of other texts, float32 (500, d).
        nearest: The ten nearest documents of each query by the floats, int64 (500, 10).
        codes: Packed codes of the documents, uint8 (n, D / 8), memory-mapped.
        head: Their decoder.
    """

    real: np.ndarray
    size: int
    queries: np.ndarray
    nearest: np.ndarray
    codes: np.ndarray
    head: Head

    def chunks(self) -> Iterator[np.ndarray]:
        """The documents' embeddings, float32, 10,000 at a time."""
        return grown(self.real, self.size)


def grown(real: np.ndarray, count: int, first: int = 0) -> Iterator[np.ndarray]:
    """``count`` unit rows: the real ones, then copies of random ones with noise; the same for the same arguments. ``first``: from the chunk of
    this one on."""
    for start in range(first // CHUNK * CHUNK, count, CHUNK):
        if start + CHUNK <= len(real):
            rows = real[start : start + CHUNK]
        else:
            rng = np.random.default_rng(start)
            noise = rng.standard_normal((CHUNK, real.shape[1]), dtype=np.float32)
            rows = unit_rows(real[rng.integers(0, len(real), CHUNK)] + NOISE * unit_rows(noise))
        yield rows[: count - start]


def prepare(queries: np.ndarray, real: np.ndarray, head: Head, count: int, folder: Path) -> Data:
    """Codes of the documents and the queries' nearest ones, made once and kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    queries, real = unit_rows(queries[:QUERIES]), unit_rows(real[: len(real) // CHUNK * CHUNK])
    codes_file, nearest_file = folder / f"codes-{count}.npy", folder / f"nearest-{count}.npy"
    if not nearest_file.is_file():
        _grow(queries, real, head, count, folder)
    codes = np.load(codes_file, mmap_mode="r")
    assert isinstance(codes, np.memmap)
    return Data(real, count, queries, np.load(nearest_file), codes, head)


def _grow(queries: np.ndarray, real: np.ndarray, head: Head, count: int, folder: Path) -> None:
    """Write codes and nearest documents; whoever is stopped goes on from the last of its checkpoints."""
    codes_file, state_file = folder / f"codes-{count}.npy", folder / f"growing-{count}.npz"
    best, done = (np.full((len(queries), FOUND), -np.inf, np.float32), np.zeros((len(queries), FOUND), np.int64)), 0
    if state_file.is_file():
        state = np.load(state_file)
        best, done = (state["scores"], state["nearest"]), int(state["done"])
        codes = np.lib.format.open_memmap(codes_file, "r+")
    else:
        codes = np.lib.format.open_memmap(codes_file, "w+", np.uint8, (count, -(-len(head.weight) // 8)))
    LOG.info("growing %d documents from %d on", count, done)
    relaxed = Relaxed(head)
    for rows in grown(real, count, done):
        codes[done : done + len(rows)] = relaxed.encode(rows)
        best = with_block(best, queries @ rows.T, done)
        done += len(rows)
        if done % CHECKPOINT == 0:
            codes.flush()
            with atomic_file(state_file) as file:
                np.savez(file, scores=best[0], nearest=best[1], done=done)
    codes.flush()
    np.save(folder / f"nearest-{count}.npy", best[1])
    state_file.unlink(missing_ok=True)


class Relaxed:
    """Codes by relaxed steps with momentum: from s = 0 towards the corners of the box (DESIGN of the method: README)."""

    def __init__(self, head: Head) -> None:
        half = head.weight / 2
        gram = half @ half.T
        rate = 2 / float(np.linalg.eigvalsh(gram)[-1])
        self.offset = head.offset + head.weight.sum(axis=0) / 2
        self.outer, self.gram = np.ascontiguousarray((rate * half).T), rate * gram
        self.push = rate * float(np.mean(np.diag(gram)))

    def encode(self, rows: np.ndarray) -> np.ndarray:
        """Packed codes of unit rows: uint8 (n, D / 8)."""
        target = (rows - self.offset) @ self.outer
        state = before = np.zeros_like(target)
        for step in range(STEPS):
            moved = target - state @ self.gram + (1.7 + self.push * step / (STEPS - 1)) * state - 0.7 * before
            before, state = state, np.clip(moved, -1, 1, out=moved)
        return np.packbits(state > 0, axis=1)
