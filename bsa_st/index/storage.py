"""The index file: compressed codes, ids, deletions and decoder, each part with a checksum; opened as a memory map.

Layout (little endian)::

    8 bytes   magic "BSAINDEX"
    4 bytes   format version
    4 bytes   length of the header
    header    JSON: hidden_dim, documents, first_id (null where ids are listed), input_dim (null without decoder),
              blocks (the rows of the table of :mod:`bsa_st.index.store`, without offset), crc32 (one number per part)
    4 bytes   CRC-32 of everything above
    parts     decoder, float32 (D + 1, d); one per block of codes; ids, int64 (n,); live, one bit each
    8 bytes   zeros

Parts that the header rules out are left out: ids that count up from ``first_id``, live bits where nothing is deleted. The inverted
index is not stored: it is made from the codes when it is first needed, in about a second per million documents.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bsa_st.atomic import atomic_file, remove_leftovers
from bsa_st.errors import BSAError
from bsa_st.index.counting import Decoder
from bsa_st.index.store import (
    BLOCK,
    BYTES,
    COUNT_BITS,
    COUNTS_BYTES,
    FIELDS,
    IDS,
    LEAST,
    OFFSET,
    PADDING,
    REMAINDER_BYTES,
    RICE,
    TEXTS,
    CodeStore,
)

MAGIC = b"BSAINDEX"
ALIGNMENT = 64
"""The first part starts at a multiple of this, so that a mapped decoder can be used where it is."""
VERSION = 3
"""As that of :mod:`bsa_st.codes.file`."""
KINDS: dict[str, tuple[type, ...]] = {
    "hidden_dim": (int,),
    "documents": (int,),
    "first_id": (int, type(None)),
    "has_deleted": (bool,),
    "input_dim": (int, type(None)),
    "blocks": (list,),
    "crc32": (list,),
}


class Content(NamedTuple):
    """What an index file holds: the codes, the documents' ids, which are live, and the decoder or None."""

    store: CodeStore
    ids: np.ndarray
    live: np.ndarray
    decoder: Decoder | None


def write(path: Path, content: Content) -> int:
    """Write an index file, atomically; returns its bytes."""
    store = content.store
    parts: list[np.ndarray] = []
    if content.decoder is not None:
        parts.append(np.concatenate([content.decoder.weight, content.decoder.offset[None]]).astype("<f4"))
    parts += [store.raw[row[OFFSET] : row[OFFSET] + row[BYTES]] for row in store.table]
    consecutive = bool(len(content.ids) == 0 or np.array_equal(content.ids, content.ids[0] + np.arange(len(content.ids))))
    if not consecutive:
        parts.append(content.ids.astype("<i8"))
    if not content.live.all():
        parts.append(np.packbits(content.live, bitorder="little"))
    header = {
        "hidden_dim": store.hidden_dim,
        "documents": len(store),
        "first_id": (int(content.ids[0]) if len(content.ids) else 0) if consecutive else None,
        "has_deleted": not bool(content.live.all()),
        "input_dim": None if content.decoder is None else content.decoder.weight.shape[1],
        "blocks": store.table[:, 1:].tolist(),
        "crc32": [zlib.crc32(np.ascontiguousarray(part).data) for part in parts],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 20) % ALIGNMENT)
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    remove_leftovers(path)
    with atomic_file(path) as file:
        file.write(head + struct.pack("<I", zlib.crc32(head)))
        for part in parts:
            file.write(np.ascontiguousarray(part).data)
        file.write(bytes(PADDING))
        return file.tell()


def read(path: Path) -> Content:
    """Open an index file as a memory map, every checksum verified.

    Raises:
        BSAError: If the file is missing, is no index, is of a newer version, or is damaged; a damaged block is named.
    """
    try:
        raw = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except FileNotFoundError as error:
        raise BSAError(f"index not found: {path}") from error
    except ValueError as error:
        raise BSAError(f"{path}: an empty file, no index") from error
    except OSError as error:
        raise BSAError(f"cannot read the index {path}: {error.strerror or error}") from error
    try:
        return _parse(raw)
    except BSAError as error:
        raise BSAError(f"index {path}: {error}") from error


def _parse(raw: np.ndarray) -> Content:
    header, at = _read_header(raw)
    documents, dimensions, width = header["documents"], header["hidden_dim"], header["input_dim"]
    table = np.zeros((len(header["blocks"]), len(FIELDS)), np.int64)
    for number, row in enumerate(header["blocks"]):
        _check_row(row, number, last=number == len(table) - 1)
        table[number, 1:] = row
    decoder_bytes = 0 if width is None else 4 * (dimensions + 1) * width
    table[:, OFFSET] = at + decoder_bytes + np.cumsum(table[:, BYTES]) - table[:, BYTES]
    if table[:, TEXTS].sum() != documents:
        raise BSAError(f"header promises {documents} documents, blocks hold {table[:, TEXTS].sum()}")
    sizes = [("the decoder", decoder_bytes)] if width is not None else []
    sizes += [(f"block {number} of {len(table)}", int(size)) for number, size in enumerate(table[:, BYTES])]
    sizes += [("the list of ids", 8 * documents)] if header["first_id"] is None else []
    sizes += [("the list of deletions", -(-documents // 8))] if header["has_deleted"] else []
    if len(header["crc32"]) != len(sizes):
        raise BSAError("the header has another number of checksums than parts")
    parts = {}
    for (name, size), checksum in zip(sizes, header["crc32"], strict=True):
        parts[name] = raw[at : at + size]
        at += size
        if len(parts[name]) != size or zlib.crc32(parts[name].data) != checksum:
            raise BSAError(f"{name} is damaged or cut short")
    if len(raw) != at + PADDING:
        raise BSAError("the file is cut short or has bytes after its end")
    store = CodeStore(dimensions, raw, table)
    if header["first_id"] is None:
        ids = parts["the list of ids"].view("<i8") if documents else np.zeros(0, np.int64)
        ids = ids.astype(np.int64)
    else:
        ids = np.arange(header["first_id"], header["first_id"] + documents, dtype=np.int64)
    live = np.ones(documents, dtype=bool)
    if header["has_deleted"]:
        live = np.unpackbits(parts["the list of deletions"], count=documents, bitorder="little").astype(bool)
    decoder = None
    if width is not None:
        values = np.frombuffer(parts["the decoder"], dtype="<f4").reshape(dimensions + 1, width)
        decoder = Decoder(values[:-1], values[-1])
    return Content(store, ids, live, decoder)


def _read_header(raw: np.ndarray) -> tuple[dict[str, Any], int]:
    if raw[:8].tobytes() != MAGIC:
        raise BSAError("not an index file (it does not start with BSAINDEX)")
    if len(raw) < 16:
        raise BSAError("cut short in the header")
    version, length = struct.unpack("<II", raw[8:16].tobytes())
    if version > VERSION:
        raise BSAError(f"format version {version} is newer than this bsa_st reads ({VERSION}); update bsa_st")
    if version < VERSION:
        raise BSAError(f"format version {version} is of an earlier bsa_st; encode the texts again and build a new index")
    end = 16 + length
    if len(raw) < end + 4 or struct.unpack("<I", raw[end : end + 4].tobytes())[0] != zlib.crc32(raw[:end].data):
        raise BSAError("the header is damaged or cut short")
    try:
        header = json.loads(raw[16:end].tobytes())
    except ValueError as error:
        raise BSAError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict) or any(type(header.get(name)) not in kinds for name, kinds in KINDS.items()):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    return header, end + 4


def _check_row(row: Any, number: int, last: bool) -> None:
    if not isinstance(row, list) or len(row) != len(FIELDS) - 1 or not all(type(value) is int for value in row):
        raise BSAError(f"block {number} has a malformed entry in the header")
    row = [0, *row]
    ids_bytes, texts_bytes = -(-row[IDS] // 8), -(-row[TEXTS] // 8)
    sane = (
        (0 < row[TEXTS] <= BLOCK if last else row[TEXTS] == BLOCK)
        and min(row) >= 0
        and row[COUNT_BITS] <= 31
        and row[RICE] <= 31
        and row[LEAST] <= row[IDS] <= 8 * row[BYTES]
        and row[COUNTS_BYTES] == row[COUNT_BITS] * texts_bytes
        and row[REMAINDER_BYTES] == row[RICE] * ids_bytes
        and row[COUNTS_BYTES] + row[REMAINDER_BYTES] + ids_bytes <= row[BYTES]
    )
    if not sane:
        raise BSAError(f"block {number} has an entry in the header with impossible sizes")
