"""Ids of documents: checks, and where they are."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from bsa_st.errors import BSAError


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
    ordered = np.sort(array)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise BSAError(f"id {twice[0]} is given more than once")
    return array


def smallest(ids: np.ndarray) -> np.ndarray:
    """Ids in the smaller type that holds them: uint32 or int64."""
    return ids.astype(np.uint32 if len(ids) == 0 or int(ids.max()) < 1 << 32 else np.int64)


def rows_of(ids: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted id its row among distinct ids, int64; -1 where it is not there."""
    rows = np.flatnonzero(np.isin(ids, wanted))
    order = np.argsort(ids[rows], kind="stable")
    rows, found = rows[order], ids[rows[order]].astype(np.int64)
    if len(rows) == 0:
        return np.full(len(wanted), -1, np.int64)
    places = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
    return np.where(found[places] == wanted, rows[places], -1)
