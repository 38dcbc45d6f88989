"""Some blocks of an index, ready to be searched."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.index import store as store_module
from bsa_st.index.postings import Postings
from bsa_st.index.store import BLOCK, CodeStore
from bsa_st.index.tables import Groups


@dataclass
class Part:
    """Some consecutive blocks, inverted with numba; without it, their decoded codes.

    Attributes:
        first: First block.
        last: Behind the last block.
        sealed: Whether all blocks are full.
        documents: Documents of the index up to the last block.
        frequency: Documents of each feature, int64 (D,).
        postings: With numba.
        codes: Without numba.
        groups: Its documents grouped by size, for each measure that was asked for.
        factors: See :meth:`View.factors`; None until they are needed.
    """

    first: int
    last: int
    sealed: bool
    documents: int
    frequency: np.ndarray
    postings: Postings | None = None
    codes: list[BinaryCodes] = field(default_factory=list)
    groups: dict[int, Groups] = field(default_factory=dict)
    factors: np.ndarray | None = None

    @classmethod
    def build(cls, store: CodeStore, first: int, last: int, before: Part | None, *, sealed: bool, with_rows: bool) -> Part:
        documents = last * BLOCK if sealed else len(store)
        if store_module.HAS_NUMBA:
            postings = Postings.build(store, first, last, before.postings if before else None, with_rows=with_rows)
            return cls(first, last, sealed, documents, postings.frequency, postings)
        codes = [store.block_codes(block) for block in range(first, last)]
        frequency = sum((np.bincount(part.ids, minlength=store.hidden_dim) for part in codes), np.zeros(store.hidden_dim, int))
        return cls(first, last, sealed, documents, frequency, codes=codes)

    def extend(self, more: Part) -> Part:
        postings = self.postings.extend(more.postings) if self.postings and more.postings else None
        frequency = self.frequency + more.frequency
        return Part(self.first, more.last, more.sealed, more.documents, frequency, postings, [*self.codes, *more.codes])

    def counts(self) -> np.ndarray:
        """Active features of each document."""
        if self.postings is not None:
            return self.postings.counts
        return np.concatenate([np.zeros(0, np.int64), *(codes.counts for codes in self.codes)])

    @property
    def nbytes(self) -> int:
        return (
            (self.postings.nbytes if self.postings else 0)
            + sum(codes.nbytes_as("memory") for codes in self.codes)
            + sum(array.nbytes for groups in list(self.groups.values()) for array in groups)
        )


def inverted_parts(store: CodeStore, parts: list[Part], *, with_rows: bool) -> list[Part]:
    """All blocks of a store, inverted: the full blocks, then the last one. Full blocks of ``parts`` are kept as they are.

    Args:
        store: The codes.
        parts: Those of an earlier state.
        with_rows: Whether documents are going to be scored one by one.
    """
    full = len(store) // BLOCK
    sealed = [part for part in parts if part.last <= full and part.sealed]
    done = sealed[0].last if sealed else 0
    if done < full:
        more = Part.build(store, done, full, sealed[0] if sealed else None, sealed=True, with_rows=with_rows)
        sealed = [sealed[0].extend(more)] if sealed else [more]
    tail = [part for part in parts if not part.sealed and part.documents == len(store) and part.first == full]
    if not tail and full < store.blocks:
        tail = [Part.build(store, full, store.blocks, None, sealed=False, with_rows=with_rows)]
    return [*sealed, *tail]
