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
    rows = rows[np.argsort(ids[rows], kind="stable")]
    places = np.searchsorted(ids[rows], wanted)
    found = np.isin(wanted, ids[rows])
    return np.where(found, np.append(rows, -1)[places], -1)
