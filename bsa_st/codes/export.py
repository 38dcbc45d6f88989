"""Codes files in the forms that other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import sparse

from bsa_st.atomic import atomic_file
from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError


def export_codes(codes: BinaryCodes, target: Path) -> None:
    """Write codes in the form that the file's ending names.

    Args:
        codes: The codes; the scale byte is not exported.
        target: ``.npz`` scipy CSR matrix; ``.npy`` packed bits, uint8 (n, ceil(D / 8)); ``.jsonl`` a list of feature ids a line.

    Raises:
        BSAError: If the ending is another, or the file cannot be written.
    """
    if target.suffix not in (".npz", ".npy", ".jsonl"):
        raise BSAError(f"{target}: unknown kind of export; use .npz, .npy or .jsonl")
    with atomic_file(target) as file:
        if target.suffix == ".npz":
            sparse.save_npz(file, codes.to_scipy())
        elif target.suffix == ".npy":
            np.save(file, codes.to_packed())
        else:
            for start, stop in zip(codes.indptr[:-1], codes.indptr[1:], strict=True):
                file.write(json.dumps(codes.ids[start:stop].tolist()).encode() + b"\n")
