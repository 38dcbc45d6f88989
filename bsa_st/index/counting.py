"""What a decoder is, what counts are worth, and the best of many entries, in numpy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bsa_st.index.tables import COSINE, OVERLAP, Counting, Found


class Decoder(NamedTuple):
    """The decoder of a head: ``weight`` V, float32 (D, d), and ``offset`` c, float32 (d,)."""

    weight: np.ndarray
    offset: np.ndarray


def scores_of(counting: Counting, values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """:func:`bsa_st.index.score_kernel.score_of` on arrays: float64 (documents, queries), the same numbers bit by bit."""
    if counting.measure == OVERLAP:
        return values.astype(np.float64)
    shared, own = values.astype(np.float32), counting.own
    under = np.sqrt(own * size) if counting.measure == COSINE else own + size - shared
    return np.divide(shared, under, out=np.zeros_like(shared), where=shared > 0).astype(np.float64)


def joined_entries(found: list[Found]) -> Found:
    """All entries, one list after the other."""
    return found[0] if len(found) == 1 else Found(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


def only_best(found: Found, queries: int, want: int) -> Found:
    """Entries among the ``want`` best of their query, ties included."""
    if queries == 1:
        if len(found.scores) <= want:
            return found
        keep = found.scores >= np.partition(found.scores, len(found.scores) - want)[len(found.scores) - want]
        return Found(*(column[keep] for column in found))
    order = np.lexsort((-found.scores, found.queries))
    starts = np.searchsorted(found.queries[order], np.arange(queries + 1))
    places = np.minimum(starts[:-1] + want, starts[1:]) - 1
    least = np.full(queries, -np.inf)
    filled = starts[1:] > starts[:-1]
    least[filled] = found.scores[order][places[filled]]
    keep = found.scores >= least[found.queries]
    return Found(found.queries[keep], found.documents[keep], found.scores[keep])
