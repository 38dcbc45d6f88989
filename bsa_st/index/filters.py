"""Which documents a search may find."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bsa_st.errors import BSAError
from bsa_st.index.documentids import DocumentIds


def allowed_documents(filter: npt.ArrayLike | None, live: np.ndarray, ids: DocumentIds) -> np.ndarray | None:
    """A mask of positions, bool (n,); None for all live documents.

    Args:
        filter: A mask over the live documents, or ids, of which unknown ones are passed over.
        live: Documents that are not deleted, bool (n,).
        ids: Their ids.

    Raises:
        BSAError: If the filter is neither.
    """
    if filter is None:
        return None
    given = np.asarray(filter)
    allowed = np.zeros(len(live), bool)
    if given.dtype == bool:
        count = int(np.count_nonzero(live))
        if given.shape != (count,):
            raise BSAError(f"a mask must have one entry for each of the {count} documents, got shape {given.shape}")
        allowed[np.flatnonzero(live)[given]] = True
        return allowed
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise BSAError(f"filter must be a boolean mask or a list of ids, got {given.dtype} of shape {given.shape}")
    positions = ids.find(given.astype(np.int64))
    allowed[positions[positions >= 0]] = True
    return allowed
