"""Every way to store embeddings that is compared."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from bsa_st import BSAError
from evaluation.methods import bsa, codebooks, dimensions, limit
from evaluation.methods.base import Method
from evaluation.methods.osq import OSQ

METHODS: dict[str, type[Method]] = {
    method.name: method
    for method in (
        bsa.Compact,
        bsa.Sparse,
        bsa.WideSparse,
        bsa.EqualLengths,
        bsa.PlainCompact,
        codebooks.OPQ,
        codebooks.PRQ,
        codebooks.PQ,
        codebooks.PLSQ,
        codebooks.LSQ,
        codebooks.RQ,
        dimensions.Sign,
        dimensions.CentredSign,
        dimensions.EDEN,
        dimensions.EDEN2,
        dimensions.RaBitQ,
        dimensions.RaBitQ2,
        dimensions.RaBitQ4,
        OSQ,
        dimensions.Int8,
        dimensions.Float32,
        limit.Limit,
    )
}
OURS = ("compact", "sparse")
RIVALS = tuple(
    name for name, method in METHODS.items() if not issubclass(method, bsa.Head) and name not in ("limit", "float32")
)
SIZED_RIVALS = tuple(name for name in RIVALS if METHODS[name].sized)


def choose(names: Sequence[str], known: Sequence[str], what: str) -> list[str]:
    """The names, checked; all that are known where none is given.

    Raises:
        BSAError: If a name is unknown; it says which one is nearest.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise BSAError(f"unknown {what} {name!r}; did you mean {near[0]!r}? (known: {', '.join(known)})")
    return list(dict.fromkeys(names)) or list(known)
