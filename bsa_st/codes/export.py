"""Codes files in the forms that other tools read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import sparse

from bsa_st.atomic import atomic_file
from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError

KINDS = (".npz", ".npy", ".jsonl", ".parquet", ".faiss", ".usearch")


def export_codes(codes: BinaryCodes, target: Path) -> None:
    """Write codes in the form that the file's ending names: ``.npz`` scipy CSR matrix; ``.npy`` packed bits, uint8 (n, ceil(D / 8)); ``.jsonl`` a list of
    feature ids a line; ``.parquet`` a table of ``id``, int64 that counts from 0, and ``bits``, a list of ceil(D / 8) uint8 of fixed size, which LanceDB, DuckDB
    and others take as it is; ``.faiss`` an ``IndexBinaryFlat``; ``.usearch`` a graph over bits by Hamming distance, whose keys count from 0. Raises
    :class:`BSAError` if the ending is another, the codes do not fit it, or the file cannot be written."""
    if target.suffix not in KINDS:
        raise BSAError(f"{target}: unknown kind of export; use one of {', '.join(KINDS)}")
    if target.suffix in (".faiss", ".usearch") and codes.hidden_dim % 8:
        raise BSAError(f"{target}: faiss and usearch take whole bytes, not codes of {codes.hidden_dim} bits")
    with atomic_file(target) as file:
        if target.suffix == ".npz":
            sparse.save_npz(file, codes.to_scipy())
        elif target.suffix == ".npy":
            np.save(file, codes.to_packed())
        elif target.suffix == ".parquet":
            import pyarrow as pa
            from pyarrow import parquet

            packed = codes.to_packed()
            bits = pa.FixedSizeListArray.from_arrays(pa.array(packed.reshape(-1)), packed.shape[1])
            parquet.write_table(pa.table({"id": np.arange(len(codes)), "bits": bits}), file, use_dictionary=False)
        elif target.suffix == ".faiss":
            import faiss

            flat = faiss.IndexBinaryFlat(codes.hidden_dim)
            flat.add(codes.to_packed())
            file.write(bytes(faiss.serialize_index_binary(flat)))
        elif target.suffix == ".usearch":
            try:
                from usearch.index import Index
            except ImportError as error:
                raise BSAError("this export needs usearch: pip install bsa-st[usearch]") from error
            graph = Index(ndim=codes.hidden_dim, metric="hamming", dtype="b1")
            graph.add(np.arange(len(codes), dtype=np.uint64), codes.to_packed(), threads=1)
            file.write(bytes(graph.save() or b""))
        else:
            for start, stop in zip(codes.indptr[:-1], codes.indptr[1:], strict=True):
                file.write(json.dumps(codes.ids[start:stop].tolist()).encode() + b"\n")
