"""The code file: blocks of packed bits or of Rice-coded gaps, whichever is smaller, with checksums. Pure numpy; no torch.

Layout (little endian)::

    8 bytes  magic "BSACODES"
    4 bytes  format version
    4 bytes  length of the header
    header   JSON: hidden_dim, texts, blocks (one entry each: see below)
    4 bytes  CRC-32 of everything above
    blocks   back to back

A block holds up to 65,536 texts. Its header entry gives the number of texts, its bytes and their CRC-32. A packed block is the texts'
bits as ``encode(precision="ubinary")`` gives them, so that a reader can map them into memory. A block of gaps is
``counts | remainders | quotients``; its entry also gives the number of ids, the smallest count, the bits per count above it (0 where
every text has the same number), the Rice parameter and the bytes of the first two sections. A gap is ``id - previous id - 1`` within a text
(the first id counts from -1); its low ``rice`` bits go to the remainders as bit planes, the rest to the quotients in unary, so that
numpy encodes and decodes whole blocks at once.

Source: R. F. Rice, "Some practical universal noiseless coding techniques" (1979). For ids drawn at random the gaps are
geometric, for which a Rice code is within about 2 % of the entropy; where more than about 38 % of the features are active, it is longer than the bits.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bsa_st.atomic import atomic_file
from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from bsa_st.codes.binary_codes import BinaryCodes

MAGIC = b"BSACODES"
VERSION = 3
"""Versions 1 and 2 had a byte per text for the length of its reconstruction, and no packed blocks."""
BLOCK_TEXTS = 1 << 16
MAX_HIDDEN_DIM = 1 << 31
DENSE = 0.4
"""Share of active features from which a block is packed without trying gaps."""

PACKED_FIELDS = ("texts", "bytes", "crc32")
GAP_FIELDS = ("texts", "ids", "least", "count_bits", "rice", "counts_bytes", "remainder_bytes", "bytes", "crc32")


def write(path: Path, codes: BinaryCodes) -> None:
    """Write :func:`encode`'s bytes, atomically."""
    header, bodies = encode_parts(codes)
    with atomic_file(path) as file:
        file.write(header)
        for body in bodies:
            file.write(body)


def read(kind: type[BinaryCodes], path: Path, memory_map: bool = False) -> BinaryCodes:
    """Codes of a file.

    Args:
        kind: :class:`~bsa_st.codes.BinaryCodes`, which reads its files through this module and so hands itself over.
        path: The file.
        memory_map: Leave packed blocks in the file.

    Raises:
        BSAError: If the file is missing, is no code file, is of another version or is damaged (the block is named).
    """
    with _named(path):
        return decode(kind, np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray) if memory_map else path.read_bytes())


def stream(kind: type[BinaryCodes], path: Path) -> tuple[dict[str, Any], Iterator[BinaryCodes]]:
    """The header of a file and its codes block by block, each read when it is reached; arguments and errors as of :func:`read`."""
    with _named(path):
        data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        header, offset = read_header(data)

    def blocks() -> Iterator[BinaryCodes]:
        with _named(path):
            yield from decode_blocks(kind, header, data, offset)

    return header, blocks()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors that name the file."""
    try:
        yield
    except BSAError as error:
        raise BSAError(f"codes file {path}: {error}") from error
    except OSError as error:
        raise BSAError(f"cannot read codes file {path}: {error.strerror}") from error
    except ValueError as error:
        raise BSAError(f"codes file {path}: not a codes file ({error})") from error


def encode(codes: BinaryCodes) -> bytes:
    """The bytes of a code file, in memory."""
    header, bodies = encode_parts(codes)
    return b"".join([header, *bodies])


def encode_parts(codes: BinaryCodes) -> tuple[bytes, list[Any]]:
    """A code file's header and blocks: bytes, or views of packed codes."""
    blocks = [encode_block(codes[start : start + BLOCK_TEXTS]) for start in range(0, len(codes), BLOCK_TEXTS)]
    header = {"hidden_dim": codes.hidden_dim, "texts": len(codes), "blocks": [entry for entry, _ in blocks]}
    text = json.dumps(header, separators=(",", ":")).encode()
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    return head + struct.pack("<I", zlib.crc32(head)), [body for _, body in blocks]


def decode(kind: type[BinaryCodes], data: Any) -> BinaryCodes:
    """Inverse of :func:`encode`; raises :class:`BSAError` on anything that is not a whole, undamaged file.

    Packed codes stay where ``data`` is: they are not copied.
    """
    header, begin = read_header(data)
    parts = list(decode_blocks(kind, header, data, begin))
    if not parts:
        return kind(np.zeros(0, np.uint16), [0], header["hidden_dim"])
    if all(part.is_packed for part in parts):
        whole = np.frombuffer(data, np.uint8)[begin:].reshape(header["texts"], -1)
        return kind.from_packed(whole, header["hidden_dim"])
    return kind.concatenate(parts)


def decode_blocks(kind: type[BinaryCodes], header: dict[str, Any], data: Any, offset: int) -> Iterator[BinaryCodes]:
    """The codes of one block after the other; errors as of :func:`decode`."""
    texts = 0
    for number, entry in enumerate(header["blocks"]):
        yield decode_block(kind, header, number, data[offset : offset + entry["bytes"]])
        offset += entry["bytes"]
        texts += entry["texts"]
    if offset != len(data):
        raise BSAError(f"{len(data) - offset} bytes too many at the end")
    if texts != header["texts"]:
        raise BSAError(f"header promises {header['texts']} texts, blocks hold {texts}")


def encode_block(codes: BinaryCodes) -> tuple[dict[str, int], Any]:
    """The header entry and the bytes of at most 65,536 texts, in the smaller form."""
    size = codes.nbytes_as("packed")
    if codes.counts.sum() < DENSE * len(codes) * codes.hidden_dim:
        entry, body = encode_gaps(codes.ids, codes.counts)
        if len(body) < size:
            return {**entry, "bytes": len(body), "crc32": zlib.crc32(body)}, body
    packed = codes.to_packed().reshape(-1)
    return {"texts": len(codes), "bytes": size, "crc32": zlib.crc32(packed.data)}, packed.data


def decode_block(kind: type[BinaryCodes], header: dict[str, Any], number: int, body: Any) -> BinaryCodes:
    """The codes of a block's bytes; ``number`` says which entry of the header is theirs."""
    entry, dimensions = header["blocks"][number], header["hidden_dim"]
    if len(body) != entry["bytes"] or zlib.crc32(body) != entry["crc32"]:
        raise BSAError(f"block {number} of {len(header['blocks'])} is damaged or cut short")
    raw = np.frombuffer(body, dtype=np.uint8)
    if "rice" not in entry:
        if entry["bytes"] != entry["texts"] * -(-dimensions // 8):
            raise BSAError(f"block {number} has a header entry with impossible sizes")
        return kind.from_packed(raw.reshape(entry["texts"], -1), dimensions)
    ids, counts = decode_gaps(entry, raw)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    if len(ids) and (ids.min() < 0 or ids.max() >= dimensions):
        raise BSAError(f"block {number} holds features beyond hidden_dim = {dimensions}")
    return kind(ids, indptr, dimensions)


def read_header(data: Any) -> tuple[dict[str, Any], int]:
    """The checked header of a code file's first bytes, and where its blocks start."""
    if bytes(data[:8]) != MAGIC:
        raise BSAError("not a codes file (it does not start with BSACODES)")
    header, end = read_json_header(data, VERSION)
    kinds = {"hidden_dim": int, "texts": int, "blocks": list}
    if header.keys() != kinds.keys() or any(type(header[name]) is not kind for name, kind in kinds.items()):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    check_blocks(header["blocks"], header["hidden_dim"])
    return header, end


def read_json_header(
    data: Any, version: int, again: str = "encode the texts again (bsa-st encode)"
) -> tuple[dict[str, Any], int]:
    """The JSON behind a magic of 8 bytes, its version and its length, with its checksum verified; and where it ends. ``again`` says what to do
    about an earlier version."""
    if len(data) < 16:
        raise BSAError("cut short in the header")
    found, length = struct.unpack("<II", bytes(data[8:16]))
    if found > version:
        raise BSAError(f"format version {found} is newer than this bsa_st reads ({version}); update bsa_st")
    if found < version:
        raise BSAError(f"format version {found} is of an earlier bsa_st; {again}")
    end = 16 + length
    if len(data) < end + 4 or struct.unpack("<I", bytes(data[end : end + 4]))[0] != zlib.crc32(data[:end]):
        raise BSAError("the header is damaged or cut short")
    try:
        header = json.loads(bytes(data[16:end]))
    except ValueError as error:
        raise BSAError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    return header, end + 4


def check_blocks(entries: list[Any], hidden_dim: int) -> None:
    """Refuse sizes that a block's own bytes cannot hold, before anything is allocated for them."""
    if not 1 <= hidden_dim <= MAX_HIDDEN_DIM:
        raise BSAError(f"hidden_dim must lie between 1 and {MAX_HIDDEN_DIM}, got {hidden_dim}")
    for number, entry in enumerate(entries):
        known = isinstance(entry, dict) and entry.keys() in ({*PACKED_FIELDS}, {*GAP_FIELDS})
        if not known or not all(type(value) is int and value >= 0 for value in entry.values()):
            raise BSAError(f"block {number} has a malformed header entry")
        sane = 1 <= entry["texts"] <= BLOCK_TEXTS
        if "rice" in entry:
            sane = (
                sane
                and entry["ids"] <= 8 * entry["bytes"]
                and entry["count_bits"] <= 31
                and entry["rice"] <= 31
                and entry["least"] <= entry["ids"]
                and entry["counts_bytes"] <= entry["bytes"]
                and entry["remainder_bytes"] <= entry["bytes"]
            )
        if not sane:
            raise BSAError(f"block {number} has a header entry with impossible sizes")


def encode_gaps(ids: np.ndarray, counts: np.ndarray) -> tuple[dict[str, int], bytes]:
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


def decode_gaps(entry: dict[str, int], raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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
