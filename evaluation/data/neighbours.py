"""found@10: the share of the float embeddings' own ten nearest documents that a method finds, query by query.

General sentences: the first queries, then documents, then training rows of one file, so that none is in two parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bsa_st import BSAError
from bsa_st.inputs.texts import read_texts

QUERIES, DOCUMENTS, TRAINING = 1_000, 20_000, 30_000
FOUND = 10
DIGITS = "0123456789A"


@dataclass(frozen=True)
class General:
    """Embeddings of general sentences, float32 of unit norm: queries (q, d), documents (n, d), training rows (m, d)."""

    queries: np.ndarray
    documents: np.ndarray
    training: np.ndarray

    @cached_property
    def truth(self) -> np.ndarray:
        """The ten nearest documents of each query, int (q, 10), in no order."""
        return nearest(self.queries @ self.documents.T)


def general_texts(data: Path, share: float = 1.0) -> tuple[list[str], list[str], list[str]]:
    """Queries, documents and training texts.

    Args:
        data: Folder with ``text_mix/mix.txt.gz``.
        share: Share of each part's usual size.

    Raises:
        BSAError: If the file is not there or too short.
    """
    path = data / "text_mix" / "mix.txt.gz"
    if not path.is_file():
        raise BSAError(f"{path}: not found; the general sentences are read from it")
    sizes = [max(FOUND, round(size * share)) for size in (QUERIES, DOCUMENTS, TRAINING)]
    lines = list(dict.fromkeys(read_texts(path)))
    if len(lines) < sum(sizes):
        raise BSAError(f"{path}: {len(lines):,} distinct lines, but {sum(sizes):,} are needed; give a smaller --share")
    first, second = sizes[0], sizes[0] + sizes[1]
    return lines[:first], lines[first:second], lines[second : sum(sizes)]


def nearest(scores: np.ndarray, k: int = FOUND) -> np.ndarray:
    """Columns of the ``k`` largest scores of each row, int (q, k), in no order."""
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def with_block(best: tuple[np.ndarray, np.ndarray], scores: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
    """The ten best scores of each query so far, float32 (q, 10), and their documents, int64 (q, 10), with those of one more block.

    Args:
        best: The same before this block: to begin with minus infinity and any documents.
        scores: Of the block's documents, float32 (q, n).
        start: Number of the block's first document.
    """
    names = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
    scores, names = np.concatenate([best[0], scores], axis=1), np.concatenate([best[1], names], axis=1)
    chosen = nearest(scores)
    return np.take_along_axis(scores, chosen, 1), np.take_along_axis(names, chosen, 1)


def share_found(found: Iterable[np.ndarray], truth: np.ndarray) -> float:
    """Mean share of the ten nearest documents of each query, int (q, 10), among those found for it; of the first queries where only these were asked."""
    return float(
        np.mean([len(set(one.tolist()) & set(true.tolist())) / FOUND for one, true in zip(found, truth, strict=False)])
    )


def found_counts(scores: np.ndarray, truth: np.ndarray) -> str:
    """How many of each query's ten are among its ten best scores: one character per query, ``A`` for ten."""
    hits = (nearest(scores)[:, :, None] == truth[:, None, :]).sum(axis=(1, 2))
    return "".join(DIGITS[hit] for hit in hits)


def shares(counts: str) -> np.ndarray:
    """found@10 of each query, float (q,), from :func:`found_counts`."""
    return np.array([DIGITS.index(count) for count in counts]) / FOUND


def share(scores: np.ndarray, general: General) -> float:
    """found@10 of scores (q, n), mean over queries."""
    return float(shares(found_counts(scores, general.truth)).mean())
