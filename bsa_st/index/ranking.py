"""From scored entries to hits in their order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bsa_st.codes.scoring import Hits
from bsa_st.index.tables import Found

Ids = Callable[[np.ndarray], np.ndarray]
"""From positions to the documents' ids."""


def no_hits(queries: int, top_k: int) -> Hits:
    """Nothing found: ids -1, scores minus infinity."""
    return Hits(np.full((queries, top_k), -1, np.int64), np.full((queries, top_k), -np.inf, np.float32))


def ranked(found: Found, second: np.ndarray | None, queries: int, top_k: int, ids: Ids) -> Hits:
    """The first ``top_k`` of each query by score, then by the second score, then by id."""
    hits = no_hits(queries, top_k)
    names = ids(found.documents)
    keys = (names, -found.scores, found.queries) if second is None else (names, -second, -found.scores, found.queries)
    order = np.lexsort(keys)
    owners = found.queries[order]
    rank = np.arange(len(order)) - np.searchsorted(owners, owners)
    kept = rank < top_k
    hits.ids[owners[kept], rank[kept]] = names[order][kept]
    hits.scores[owners[kept], rank[kept]] = found.scores[order][kept]
    return hits


def joined(parts: list[Hits], top_k: int) -> Hits:
    if not parts:
        return no_hits(0, top_k)
    return Hits(np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]))
