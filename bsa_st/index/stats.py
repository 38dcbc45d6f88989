"""How large an index is, part by part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bsa_st.codes.binary_codes import log2_binomial
from bsa_st.index.counting import Decoder
from bsa_st.index.documentids import DocumentIds
from bsa_st.index.part import Part
from bsa_st.index.store import CodeStore
from bsa_st.index.view import View


class IndexStats(NamedTuple):
    """Counts and bytes.

    Attributes:
        documents: Documents that can be found.
        deleted: Documents whose room :meth:`Index.compact` would free.
        hidden_dim: Number D of features.
        active_features: Mean active features of a document.
        blocks: Blocks of 2^15 documents.
        code_bytes: Compressed codes.
        ideal_code_bytes: ``sum log2 C(D, active) / 8`` over all documents.
        id_bytes: Ids and live marks, in memory.
        decoder_bytes: The decoder.
        inverted_bytes: Bitmaps, offset lists and tables of the inverted index, and where there is a decoder the codes once more,
            uncompressed, for scoring candidates; 0 before the first search.
        helper_bytes: Tables that find single documents and group them by size.
        memory_bytes: All of these in memory, memory-mapped codes included.
    """

    documents: int
    deleted: int
    hidden_dim: int
    active_features: float
    blocks: int
    code_bytes: int
    ideal_code_bytes: float
    id_bytes: int
    decoder_bytes: int
    inverted_bytes: int
    helper_bytes: int
    memory_bytes: int


def measure(
    store: CodeStore, ids: DocumentIds, live: np.ndarray, decoder: Decoder | None, parts: list[Part], view: View | None
) -> IndexStats:
    """Sizes of the parts of an index."""
    sizes = {
        "code_bytes": store.code_bytes,
        "id_bytes": ids.nbytes + live.nbytes,
        "decoder_bytes": 0 if decoder is None else decoder.weight.nbytes + decoder.offset.nbytes,
        "inverted_bytes": sum(part.nbytes for part in parts),
        "helper_bytes": store.skips.nbytes + store.table.nbytes + (0 if view is None else view.nbytes),
    }
    active = float(store.table[:, 2].sum() / max(1, len(store)))
    return IndexStats(
        documents=int(live.sum()),
        deleted=int((~live).sum()),
        hidden_dim=store.hidden_dim,
        active_features=active,
        blocks=store.blocks,
        ideal_code_bytes=float(len(store) * log2_binomial(store.hidden_dim, active) / 8),
        memory_bytes=sum(sizes.values()),
        **sizes,
    )
