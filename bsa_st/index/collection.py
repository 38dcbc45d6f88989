"""The documents of an index at one moment: codes, ids, and which are deleted. Changes give a new collection."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError
from bsa_st.index.documentids import DocumentIds, check_ids
from bsa_st.index.store import BLOCK, CodeStore


class Collection(NamedTuple):
    """Documents by position.

    Attributes:
        store: Their codes.
        ids: Their ids.
        live: Those that are not deleted, bool (n,).
    """

    store: CodeStore
    ids: DocumentIds
    live: np.ndarray

    def positions(self, ids: npt.ArrayLike) -> np.ndarray:
        """Positions of ids, int64 (m,); raises :class:`BSAError` if one is unknown."""
        given = check_ids(np.atleast_1d(np.asarray(ids)))
        positions = self.ids.find(given)
        if (positions < 0).any():
            raise BSAError(f"id {given[positions < 0][0]} is not in the index")
        return positions

    def new_ids(self, ids: npt.ArrayLike | None, count: int) -> np.ndarray:
        """Ids for ``count`` further documents, int64 (count,): the given ones, or those behind the largest.

        Raises:
            BSAError: If one is taken or given twice, or there is another number of them.
        """
        if ids is None:
            first = self.ids.next_free()
            return np.arange(first, first + count, dtype=np.int64)
        given = check_ids(ids, count)
        taken = given[self.ids.find(given) >= 0]
        if len(taken):
            raise BSAError(f"id {taken[0]} is already in the index; use update to replace it")
        return given

    def with_more(self, codes: BinaryCodes, ids: np.ndarray) -> Collection:
        """These documents followed by others."""
        if len(codes) == 0:
            return self
        live = np.concatenate([self.live, np.ones(len(codes), bool)])
        return Collection(self.store.append(codes), DocumentIds(np.concatenate([self.ids.values, ids]), live), live)

    def without(self, positions: np.ndarray) -> Collection:
        """The same with some documents marked as deleted."""
        live = self.live.copy()
        live[positions] = False
        return self._replace(ids=DocumentIds(self.ids.values, live), live=live)

    def compacted(self) -> Collection:
        """Only the documents that are not deleted."""
        store = CodeStore.empty(self.store.hidden_dim)
        for start in range(0, len(self.live), BLOCK):
            store = store.append(self.store.take(start + np.flatnonzero(self.live[start : start + BLOCK])))
        live = np.ones(int(self.live.sum()), bool)
        return Collection(store, DocumentIds(self.ids.values[self.live], live), live)
