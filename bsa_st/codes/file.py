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

from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from bsa_st.codes.binary_codes import BinaryCodes

MAGIC = b"BSACODES"
VERSION = 3  # versions 1 and 2 had a byte per text for the length of its reconstruction, and no packed blocks
BLOCK_TEXTS = 1 << 16
MAX_HIDDEN_DIM = 1 << 31
DENSE = 0.4  # share of active features from which a block is packed without trying gaps
PACKED_FIELDS = {"texts", "bytes", "crc32"}
GAP_FIELDS = {*PACKED_FIELDS, "ids", "least", "count_bits", "rice", "counts_bytes", "remainder_bytes"}


def read(kind: type[BinaryCodes], path: Path) -> BinaryCodes:
    """Codes of a file; ``kind`` is ``BinaryCodes``, which builds on this module. Raises :class:`BSAError` if the file is missing, no code file, of another
    version or damaged (the block is named)."""
    with _named(path):
        return decode(kind, path.read_bytes())


def stream(kind: type[BinaryCodes], path: Path) -> tuple[int, int, Iterator[BinaryCodes]]:
    """Features and texts of a file, and its codes block by block, each read when it is reached; arguments and errors as of :func:`read`."""
    with _named(path):
        data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
        header, offset = _read_header(data)

    def blocks() -> Iterator[BinaryCodes]:
        with _named(path):
            yield from _decoded(kind, header, data, offset)

    return header["hidden_dim"], header["texts"], blocks()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors that name the file."""
    try:
        yield
    except BSAError as error:
        raise BSAError(f"codes file {path}: {error}") from error
    except OSError as error:
        raise BSAError(f"cannot read codes file {path}: {error.strerror}") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise BSAError(f"codes file {path}: not a codes file ({error})") from error


def encode(codes: BinaryCodes) -> bytes:
    """The bytes of a code file, in memory."""
    return b"".join(encoded(codes))


def decode(kind: type[BinaryCodes], data: bytes) -> BinaryCodes:
    """Inverse of :func:`encode`; raises :class:`BSAError` on anything that is not a whole, undamaged file. Packed codes are not copied."""
    header, begin = _read_header(data)
    parts = list(_decoded(kind, header, data, begin))
    if not parts:
        return kind(np.zeros(0, np.uint16), [0], header["hidden_dim"])
    if all(part.is_packed for part in parts):
        return kind.from_packed(np.frombuffer(data, np.uint8)[begin:].reshape(header["texts"], -1), header["hidden_dim"])
    return kind.concatenate(parts)


def encoded(codes: BinaryCodes) -> list[Any]:
    """The parts of a code file, back to back: bytes, or views of packed codes."""
    blocks = [_encode_block(codes[start : start + BLOCK_TEXTS]) for start in range(0, len(codes), BLOCK_TEXTS)]
    header = {"hidden_dim": codes.hidden_dim, "texts": len(codes), "blocks": [entry for entry, _ in blocks]}
    text = json.dumps(header, separators=(",", ":")).encode()
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    return [head, struct.pack("<I", zlib.crc32(head)), *(body for _, body in blocks)]


def _decoded(kind: type[BinaryCodes], header: dict[str, Any], data: Any, offset: int) -> Iterator[BinaryCodes]:
    """The codes of one block after the other."""
    hidden_dim, entries = header["hidden_dim"], header["blocks"]
    for number, entry in enumerate(entries):
        body = data[offset : offset + entry["bytes"]]
        if len(body) != entry["bytes"] or zlib.crc32(body) != entry["crc32"]:
            raise BSAError(f"block {number} of {len(entries)} is damaged or cut short")
        raw = np.frombuffer(body, dtype=np.uint8)
        if "rice" in entry:
            ids, counts = _decode_gaps(entry, raw)
            yield kind(ids, np.concatenate([[0], np.cumsum(counts)]), hidden_dim)
        else:
            yield kind.from_packed(raw.reshape(entry["texts"], -1), hidden_dim)
        offset += entry["bytes"]
    if offset != len(data):
        raise BSAError(f"{len(data) - offset} bytes too many at the end")


def _encode_block(codes: BinaryCodes) -> tuple[dict[str, int], Any]:
    """The header entry and the bytes of at most 65,536 texts, in the smaller form."""
    size = codes.nbytes_as("packed")
    if codes.counts.sum() < DENSE * len(codes) * codes.hidden_dim:
        entry, body = _encode_gaps(codes.ids, codes.counts)
        if len(body) < size:
            return {**entry, "bytes": len(body), "crc32": zlib.crc32(body)}, body
    packed = codes.to_packed().reshape(-1)
    return {"texts": len(codes), "bytes": size, "crc32": zlib.crc32(packed.data)}, packed.data


def _read_header(data: Any) -> tuple[dict[str, Any], int]:
    """The header of a code file's first bytes, checked before anything is allocated by it, and where its blocks start."""
    if bytes(data[:8]) != MAGIC:
        raise BSAError("not a codes file (it does not start with BSACODES)")
    if len(data) < 16:
        raise BSAError("cut short in the header")
    version, length = struct.unpack("<II", bytes(data[8:16]))
    if version != VERSION:
        newer = f"newer than this bsa_st reads ({VERSION}); update bsa_st"
        earlier = "of an earlier bsa_st; encode the texts again (bsa-st encode)"
        raise BSAError(f"format version {version} is {newer if version > VERSION else earlier}")
    end = 16 + length
    if len(data) < end + 4 or struct.unpack("<I", bytes(data[end : end + 4]))[0] != zlib.crc32(data[:end]):
        raise BSAError("the header is damaged or cut short")
    try:
        header = json.loads(bytes(data[16:end]))
    except ValueError as error:
        raise BSAError(f"the header is not JSON: {error}") from error
    kinds = {"hidden_dim": int, "texts": int, "blocks": list}
    if not isinstance(header, dict) or {name: type(value) for name, value in header.items()} != kinds:
        raise BSAError("the header lacks a field or has one of the wrong kind")
    hidden_dim, entries = header["hidden_dim"], header["blocks"]
    if not 1 <= hidden_dim <= MAX_HIDDEN_DIM:
        raise BSAError(f"hidden_dim must lie between 1 and {MAX_HIDDEN_DIM}, got {hidden_dim}")
    for number, entry in enumerate(entries):
        if not _is_possible(entry, -(-hidden_dim // 8)):
            raise BSAError(f"block {number} has a malformed header entry")
    if sum(entry["texts"] for entry in entries) != header["texts"]:
        raise BSAError(f"the header promises {header['texts']} texts, its blocks hold others")
    return header, end + 4


def _is_possible(entry: Any, width: int) -> bool:
    """Whether a block's own bytes can hold what its header entry says."""
    if not isinstance(entry, dict) or not all(type(value) is int and value >= 0 for value in entry.values()):
        return False
    if entry.keys() not in (PACKED_FIELDS, GAP_FIELDS) or not 1 <= entry["texts"] <= BLOCK_TEXTS:
        return False
    if entry.keys() == PACKED_FIELDS:
        return bool(entry["bytes"] == entry["texts"] * width)
    return entry["least"] <= entry["ids"] <= 8 * entry["bytes"] and max(entry["count_bits"], entry["rice"]) <= 31


def _encode_gaps(ids: np.ndarray, counts: np.ndarray) -> tuple[dict[str, int], bytes]:
    ids, starts = ids.astype(np.int32), _starts(counts)
    gaps = np.diff(ids, prepend=np.int32(-1)) - 1
    gaps[starts] = ids[starts]
    rice = _best_rice(gaps)
    least = int(counts.min())
    width = int(counts.max() - least).bit_length()
    quotients = gaps >> rice
    unary = np.zeros(len(quotients) + quotients.sum(), dtype=np.uint8)
    unary[np.cumsum(quotients + 1) - 1] = 1
    sections = [_pack_bits(counts - least, width), _pack_bits(gaps, rice), np.packbits(unary, bitorder="little").tobytes()]
    entry = {"texts": len(counts), "ids": len(ids), "least": least, "count_bits": width, "rice": rice}
    return {**entry, "counts_bytes": len(sections[0]), "remainder_bytes": len(sections[1])}, b"".join(sections)


def _decode_gaps(entry: dict[str, int], raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second = entry["counts_bytes"], entry["counts_bytes"] + entry["remainder_bytes"]
    counts = _unpack_bits(raw[:first], entry["count_bits"], entry["texts"]).astype(np.int64) + entry["least"]
    if counts.sum() != entry["ids"]:
        raise BSAError("a block's counts do not add up to its ids")
    remainders = _unpack_bits(raw[first:second], entry["rice"], entry["ids"])
    ends = np.flatnonzero(np.unpackbits(raw[second:], bitorder="little").view(bool))[: entry["ids"]]
    if len(ends) != entry["ids"]:
        raise BSAError("a block holds fewer ids than its header entry says")
    quotients = np.diff(ends, prepend=-1) - 1
    ids, starts = np.cumsum((quotients << entry["rice"]) + remainders + 1), _starts(counts)
    before = np.where(starts > 0, ids[starts - 1], 0) if len(starts) else starts
    return ids - np.repeat(before, counts[counts > 0]) - 1, counts


def _starts(counts: np.ndarray) -> np.ndarray:
    """Position of the first id of every text that has one."""
    return (np.cumsum(counts) - counts)[counts > 0]


def _best_rice(gaps: np.ndarray) -> int:
    if len(gaps) == 0:
        return 0
    guess = max(0, int(np.log2(gaps.mean() + 1)))
    candidates = range(max(0, guess - 2), guess + 2)
    return min(candidates, key=lambda rice: rice * len(gaps) + int((gaps >> rice).sum()))


def _pack_bits(values: np.ndarray, width: int) -> bytes:
    """The low ``width`` bits (0 to 32) of each value as bit planes: bit 0 of all values, then bit 1, and so on."""
    planes = (np.packbits(((values >> bit) & 1).astype(np.uint8), bitorder="little") for bit in range(width))
    return b"".join(plane.tobytes() for plane in planes)


def _unpack_bits(packed: np.ndarray, width: int, count: int) -> np.ndarray:
    """Inverse of :func:`_pack_bits`: int32 (count,)."""
    values = np.zeros(count, dtype=np.int32)
    size = -(-count // 8)
    if len(packed) != width * size:
        raise BSAError("a block's sections do not have the sizes that its header entry says")
    for bit in range(width):
        plane = np.unpackbits(packed[bit * size : (bit + 1) * size], count=count, bitorder="little")
        values |= plane.astype(np.int32) << bit
    return values
