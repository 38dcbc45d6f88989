"""Sets of documents as bitmaps of 64-bit words."""

from __future__ import annotations

import numpy as np

from bsa_st.index.store import BLOCK

WORDS = BLOCK // 64
"""Words of a block."""


def to_words(mask: np.ndarray) -> np.ndarray:
    """A boolean mask of up to 2^15 documents as uint64 (512,)."""
    return all_words(mask, 1)[0]


def all_words(mask: np.ndarray, blocks: int) -> np.ndarray:
    """A boolean mask of the documents of some blocks as uint64 (blocks, 512)."""
    packed = np.zeros((blocks, BLOCK // 8), dtype=np.uint8)
    bits = np.packbits(mask, bitorder="little")
    packed.ravel()[: len(bits)] = bits
    return packed.view("<u8").astype(np.uint64, copy=False)
