"""The code file: active feature ids as Rice-coded gaps, in checksummed blocks. Pure functions on arrays; no torch.

Layout (little endian)::

    8 bytes  magic "BSACODES"
    4 bytes  format version
    4 bytes  length of the header
    header   JSON: hidden_dim, texts, has_scale, blocks (one entry each: see below)
    4 bytes  CRC-32 of everything above
    blocks   back to back, each: counts | remainders | quotients | scale

A block holds up to 65,536 texts. Its header entry gives the number of texts and ids, the smallest count, the
bits per count above it (0 where every text has the same number), the Rice parameter, the bytes of each section and the
CRC-32. A gap is ``id - previous id - 1`` within a text (the first id counts from -1); its low ``rice`` bits go to
the remainders as bit planes, the rest to the quotients in unary, so that numpy encodes and decodes whole blocks at once.

Source: R. F. Rice, "Some practical universal noiseless coding techniques" (1979). For ids drawn at random the gaps are
geometric, for which a Rice code is within about 2 % of the entropy.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bsa_st.atomic import atomic_file
from bsa_st.errors import BSAError

MAGIC = b"BSACODES"
VERSION = 2
"""Version 1 differs in what a scale byte stands for."""
BLOCK_TEXTS = 1 << 16
MAX_HIDDEN_DIM = 1 << 31

Arrays = tuple[np.ndarray, np.ndarray, int, "np.ndarray | None"]


def write(path: Path, ids: np.ndarray, indptr: np.ndarray, hidden_dim: int, scale: np.ndarray | None) -> None:
    """Write :func:`encode`'s bytes, atomically."""
    with atomic_file(path) as file:
        file.write(encode(ids, indptr, hidden_dim, scale))


def read(path: Path) -> Arrays:
    """Arrays of a code file.

    Returns:
        ids (nnz,), indptr int64 (n + 1,), hidden_dim, scale uint8 (n,) or None.

    Raises:
        BSAError: If the file is missing, is no code file, is of a newer version or is damaged (the block is named).
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BSAError(f"cannot read codes file {path}: {error.strerror}") from error
    try:
        return decode(data)
    except BSAError as error:
        raise BSAError(f"codes file {path}: {error}") from error


def encode(ids: np.ndarray, indptr: np.ndarray, hidden_dim: int, scale: np.ndarray | None) -> bytes:
    """The bytes of a code file, in memory. Arguments as in :class:`bsa_st.codes.BinaryCodes`."""
    texts = len(indptr) - 1
    entries, bodies = [], []
    for start in range(0, texts, BLOCK_TEXTS):
        stop = min(texts, start + BLOCK_TEXTS)
        part = ids[indptr[start] : indptr[stop]]
        entry, body = encode_block(part, np.diff(indptr[start : stop + 1]))
        if scale is not None:
            body += scale[start:stop].tobytes()
        entries.append({**entry, "bytes": len(body), "crc32": zlib.crc32(body)})
        bodies.append(body)
    header = {"hidden_dim": int(hidden_dim), "texts": texts, "has_scale": scale is not None, "blocks": entries}
    text = json.dumps(header, separators=(",", ":")).encode()
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    return b"".join([head, struct.pack("<I", zlib.crc32(head)), *bodies])


def decode(data: bytes) -> Arrays:
    """Inverse of :func:`encode`; raises :class:`BSAError` on anything that is not a whole, undamaged file."""
    header, offset = read_header(data)
    ids: list[np.ndarray] = []
    counts: list[np.ndarray] = []
    scales: list[np.ndarray] = []
    for number, entry in enumerate(header["blocks"]):
        part, lengths, scale_bytes = decode_entry(header, number, data[offset : offset + entry["bytes"]])
        offset += entry["bytes"]
        ids.append(part)
        counts.append(lengths)
        scales.append(scale_bytes)
    if offset != len(data):
        raise BSAError(f"{len(data) - offset} bytes too many at the end")
    all_counts = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
    if len(all_counts) != header["texts"]:
        raise BSAError(f"header promises {header['texts']} texts, blocks hold {len(all_counts)}")
    indptr = np.concatenate([[0], np.cumsum(all_counts)]).astype(np.int64)
    merged = np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)
    scale = (np.concatenate(scales) if scales else np.zeros(0, np.uint8)) if header["has_scale"] else None
    return merged, indptr, header["hidden_dim"], scale


def decode_entry(header: dict[str, Any], number: int, body: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, counts and scale (empty if the file has none) of a block's bytes."""
    entry = header["blocks"][number]
    if len(body) != entry["bytes"] or zlib.crc32(body) != entry["crc32"]:
        raise BSAError(f"block {number} of {len(header['blocks'])} is damaged or cut short")
    tail = entry["texts"] if header["has_scale"] else 0
    ids, counts = decode_block(entry, body[: len(body) - tail])
    return ids, counts, np.frombuffer(body[len(body) - tail :], dtype=np.uint8)


def read_header(data: bytes) -> tuple[dict[str, Any], int]:
    """The checked header of a code file's first bytes, and where its blocks start."""
    if data[:8] != MAGIC:
        raise BSAError("not a codes file (it does not start with BSACODES)")
    if len(data) < 16:
        raise BSAError("cut short in the header")
    version, length = struct.unpack("<II", data[8:16])
    if version > VERSION:
        raise BSAError(f"format version {version} is newer than this bsa_st reads ({VERSION}); update bsa_st")
    end = 16 + length
    if len(data) < end + 4 or struct.unpack("<I", data[end : end + 4])[0] != zlib.crc32(data[:end]):
        raise BSAError("the header is damaged or cut short")
    try:
        header = json.loads(data[16:end])
    except ValueError as error:
        raise BSAError(f"the header is not JSON: {error}") from error
    kinds = {"hidden_dim": int, "texts": int, "has_scale": bool, "blocks": list}
    if not isinstance(header, dict) or any(type(header.get(name)) is not kind for name, kind in kinds.items()):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    check_scale(version, header["has_scale"])
    if not 1 <= header["hidden_dim"] <= MAX_HIDDEN_DIM:
        raise BSAError(f"hidden_dim must lie between 1 and {MAX_HIDDEN_DIM}, got {header['hidden_dim']}")
    for number, entry in enumerate(header["blocks"]):
        _check_entry(entry, number)
    return header, end + 4


def check_scale(version: int, has_scale: bool) -> None:
    """Refuse scale bytes of version 1 of a format, which stand for other factors; without them nothing has changed."""
    if version < 2 and has_scale:
        raise BSAError("its scale bytes are those of an earlier bsa_st and would give wrong scores; encode the texts again")


def _check_entry(entry: Any, number: int) -> None:
    """Refuse sizes that the block's own bytes cannot hold, before anything is allocated for them."""
    fields = {"texts", "ids", "least", "count_bits", "rice", "counts_bytes", "remainder_bytes", "bytes", "crc32"}
    if not isinstance(entry, dict) or fields != entry.keys() or not all(type(entry[name]) is int for name in fields):
        raise BSAError(f"block {number} has a malformed header entry")
    sane = (
        0 <= entry["texts"] <= BLOCK_TEXTS
        and 0 <= entry["ids"] <= 8 * entry["bytes"]
        and 0 <= entry["count_bits"] <= 31
        and 0 <= entry["rice"] <= 31
        and 0 <= entry["least"] <= entry["ids"]
        and 0 <= entry["counts_bytes"] <= entry["bytes"]
        and 0 <= entry["remainder_bytes"] <= entry["bytes"]
    )
    if not sane:
        raise BSAError(f"block {number} has a header entry with impossible sizes")


def encode_block(ids: np.ndarray, counts: np.ndarray) -> tuple[dict[str, int], bytes]:
    gaps = _to_gaps(ids.astype(np.int32), counts)
    rice = _best_rice(gaps)
    least = int(counts.min()) if len(counts) else 0
    width = int(counts.max() - least).bit_length() if len(counts) else 0
    sections = [pack_bits(counts - least, width), pack_bits(gaps, rice), _pack_unary(gaps >> rice)]
    entry = {
        "texts": len(counts),
        "ids": len(ids),
        "least": least,
        "count_bits": width,
        "rice": rice,
        "counts_bytes": len(sections[0]),
        "remainder_bytes": len(sections[1]),
    }
    return entry, b"".join(sections)


def decode_block(entry: dict[str, int], body: bytes) -> tuple[np.ndarray, np.ndarray]:
    raw = np.frombuffer(body, dtype=np.uint8)
    first, second = entry["counts_bytes"], entry["counts_bytes"] + entry["remainder_bytes"]
    counts = unpack_bits(raw[:first], entry["count_bits"], entry["texts"]).astype(np.int64) + entry["least"]
    if counts.sum() != entry["ids"]:
        raise BSAError("a block's counts do not add up to its ids")
    remainders = unpack_bits(raw[first:second], entry["rice"], entry["ids"])
    quotients = _unpack_unary(raw[second:], entry["ids"])
    return _from_gaps((quotients << entry["rice"]) + remainders, counts), counts


def _to_gaps(ids: np.ndarray, counts: np.ndarray) -> np.ndarray:
    gaps = np.empty(len(ids), dtype=np.int32)
    gaps[1:] = ids[1:] - ids[:-1] - 1
    starts = _starts(counts)
    gaps[starts] = ids[starts]
    return gaps


def _from_gaps(gaps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    ids = np.cumsum(gaps + 1)
    starts = _starts(counts)
    before = np.where(starts > 0, ids[starts - 1], 0) if len(starts) else starts
    return ids - np.repeat(before, counts[counts > 0]) - 1


def _starts(counts: np.ndarray) -> np.ndarray:
    """Position of the first id of every text that has one."""
    return (np.cumsum(counts) - counts)[counts > 0]


def _best_rice(gaps: np.ndarray) -> int:
    if len(gaps) == 0:
        return 0
    guess = max(0, int(np.log2(gaps.mean() + 1)))
    candidates = range(max(0, guess - 2), guess + 2)
    return min(candidates, key=lambda rice: rice * len(gaps) + int((gaps >> rice).sum()))


def pack_bits(values: np.ndarray, width: int) -> bytes:
    """The low ``width`` bits (0 to 32) of each value as bit planes: bit 0 of all values, then bit 1, and so on."""
    planes = [np.packbits(((values >> bit) & 1).astype(np.uint8), bitorder="little") for bit in range(width)]
    return b"".join(plane.tobytes() for plane in planes)


def unpack_bits(packed: np.ndarray, width: int, count: int) -> np.ndarray:
    """Inverse of :func:`pack_bits`: int32 (count,)."""
    values = np.zeros(count, dtype=np.int32)
    size = -(-count // 8)
    if len(packed) != width * size:
        raise BSAError("a block's sections do not have the sizes that its header entry says")
    for bit in range(width):
        plane = np.unpackbits(packed[bit * size : (bit + 1) * size], count=count, bitorder="little")
        values |= plane.astype(np.int32) << bit
    return values


def _pack_unary(quotients: np.ndarray) -> bytes:
    if len(quotients) == 0:
        return b""
    ends = np.cumsum(quotients + 1) - 1
    bits = np.zeros(ends[-1] + 1, dtype=np.uint8)
    bits[ends] = 1
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack_unary(packed: np.ndarray, count: int) -> np.ndarray:
    ends = np.flatnonzero(np.unpackbits(packed, bitorder="little").view(bool))[:count]
    if len(ends) != count:
        raise BSAError("a block holds fewer ids than its header entry says")
    return np.diff(ends, prepend=-1) - 1
