"""Ids of the documents of an index, int64, and where they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bsa_st.errors import BSAError


class DocumentIds:
    """Ids in the order of the positions; of equal ones only the last may be live.

    Args:
        values: int64 (n,).
        live: Which positions are not deleted, bool (n,).
    """

    def __init__(self, values: np.ndarray, live: np.ndarray) -> None:
        self.values = values
        self.live = live
        self.is_range = bool(len(values) == 0 or (live.all() and np.array_equal(values, values[0] + np.arange(len(values)))))
        self._order: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self._order is None else self._order.nbytes)

    def next_free(self) -> int:
        """One more than the largest id that was ever given; 0 in an empty index."""
        return int(self.values.max()) + 1 if len(self.values) else 0

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Positions of live ids, int64; -1 for those that are not there."""
        if len(self.values) == 0:
            return np.full(len(ids), -1, np.int64)
        if self.is_range:
            places = ids - self.values[0]
            return np.where((ids >= self.values[0]) & (ids <= self.values[-1]), places, -1)
        if self._order is None:
            positions = np.flatnonzero(self.live)
            self._order = positions[np.argsort(self.values[positions], kind="stable")]
        if len(self._order) == 0:
            return np.full(len(ids), -1, np.int64)
        ordered = self.values[self._order]
        places = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
        return np.where(ordered[places] == ids, self._order[places], -1)


def check_ids(ids: npt.ArrayLike | Iterable[int], count: int | None = None) -> np.ndarray:
    """Ids as int64 (n,), distinct.

    Args:
        ids: Integers.
        count: How many there must be.

    Raises:
        BSAError: If there is another number of ids, one is no integer or does not fit, is negative or given twice.
    """
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))  # type: ignore[arg-type]
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise BSAError(f"ids must be a one-dimensional list of integers, got {array.dtype} of shape {array.shape}")
    if count is not None and len(array) != count:
        raise BSAError(f"{count} documents need {count} ids, got {len(array)}")
    if len(array) and (int(array.min()) < 0 or int(array.max()) > np.iinfo(np.int64).max):
        raise BSAError(f"ids must lie between 0 and 2^63 - 1, got {array.min() if array.min() < 0 else array.max()}")
    array = array.astype(np.int64)
    values, times = np.unique(array, return_counts=True)
    if len(values) < len(array):
        raise BSAError(f"id {values[times > 1][0]} is given more than once")
    return array
