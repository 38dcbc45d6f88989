"""Documents grouped by size, so that what a score needs at least can be told more tightly than for a whole block."""

from __future__ import annotations

import numpy as np

from bsa_st.index.store import BLOCK
from bsa_st.index.tables import Groups
from bsa_st.index.words import WORDS, to_words

GROUPS = 8


def grouped(sizes: np.ndarray) -> Groups:
    """Groups of about equal number within each block.

    Args:
        sizes: float32 (documents,).
    """
    blocks = -(-len(sizes) // BLOCK)
    if len(sizes) == 0 or sizes.min() == sizes.max():
        masks = np.full((1, 1, WORDS), np.iinfo(np.uint64).max, dtype=np.uint64)
        one = np.full((blocks, 1), sizes[0] if len(sizes) else 0, dtype=np.float32)
        return Groups(np.ascontiguousarray(sizes[:1], np.float32), np.repeat(masks, blocks, axis=0), one, one)
    masks = np.zeros((blocks, GROUPS, WORDS), dtype=np.uint64)
    low = np.full((blocks, GROUPS), np.inf, dtype=np.float32)
    high = np.full((blocks, GROUPS), -np.inf, dtype=np.float32)
    for block in range(blocks):
        part = sizes[block * BLOCK : (block + 1) * BLOCK]
        edges = np.quantile(part, np.arange(1, GROUPS) / GROUPS, method="lower")
        group = np.searchsorted(edges, part, side="left")
        for number in np.unique(group):
            members = group == number
            masks[block, number] = to_words(members)
            low[block, number], high[block, number] = part[members].min(), part[members].max()
    return Groups(np.ascontiguousarray(sizes, np.float32), masks, low, high)
