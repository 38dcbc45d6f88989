"""The index file: arrays and blocks of codes with checksums, opened as a memory map.

Layout (little endian)::

    8 bytes   magic "BSAINDEX"
    4 bytes   format version
    4 bytes   length of the header
    header    JSON: hidden_dim, texts, blocks (as in :mod:`bsa_st.codes.file`), arrays (name, dtype, shape and CRC-32 of each)
    4 bytes   CRC-32 of everything above
    arrays    one after the other, each at a multiple of 64 bytes
    blocks    of the codes, back to back, at a multiple of 64 bytes

Nothing of faiss is stored: its structures are views of these arrays. Checksums are verified by reading, not through the map, so that opening
a file leaves nothing of it resident.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from bsa_st.atomic import atomic_file, remove_leftovers
from bsa_st.codes import BinaryCodes
from bsa_st.codes.file import check_blocks, decode_block, encode_block_parts, read_json_header
from bsa_st.errors import BSAError

MAGIC = b"BSAINDEX"
VERSION = 4
"""Versions 1 to 3 held compressed codes and no lists."""
ALIGNMENT = 64
DTYPES = ("<f4", "<i8", "<u4", "|u1")
CHUNK = 1 << 22
LOCK_SECONDS = 60.0


class Stored(NamedTuple):
    """What a file holds: codes, arrays by name, and the checksum of the header, which names the content."""

    codes: BinaryCodes
    arrays: dict[str, np.ndarray]
    checksum: int


def write(path: Path, codes: BinaryCodes, arrays: dict[str, np.ndarray]) -> tuple[int, int]:
    """Write a file, atomically; returns its bytes and the checksum of its header."""
    entries, bodies = encode_block_parts(codes, mappable=True)
    listed = [
        {"name": name, "dtype": values.dtype.str, "shape": list(values.shape), "crc32": zlib.crc32(_bytes_of(values))}
        for name, values in arrays.items()
    ]
    header = {"hidden_dim": codes.hidden_dim, "texts": len(codes), "blocks": entries, "arrays": listed}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 20) % ALIGNMENT)
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    checksum = zlib.crc32(head)
    remove_leftovers(path)
    with atomic_file(path) as file:
        file.write(head + struct.pack("<I", checksum))
        for values in arrays.values():
            file.write(_bytes_of(values))
            file.write(bytes(-values.nbytes % ALIGNMENT))
        for body in bodies:
            file.write(body)
        return file.tell(), checksum


def read(path: Path) -> Stored:
    """Open a file as a memory map, every checksum verified.

    Raises:
        BSAError: If the file is missing, is no index, is of another version, or is damaged; the damaged part is named.
    """
    try:
        with path.open("rb") as file:
            return _parse(file, path)
    except FileNotFoundError as error:
        raise BSAError(f"index not found: {path}") from error
    except OSError as error:
        raise BSAError(f"cannot read the index {path}: {error.strerror or error}") from error
    except BSAError as error:
        raise BSAError(f"index {path}: {error}") from error


def checksum_of(path: Path) -> int | None:
    """The checksum of a file's header; None where there is no index."""
    try:
        with path.open("rb") as file:
            return zlib.crc32(_head(file)[:-4])
    except (OSError, BSAError):
        return None


@contextmanager
def writing(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of whoever changes an index: a file beside it, freed by the system when its holder dies. A holder may take it again.

    Raises:
        BSAError: If another process holds it for longer, or there is no folder.
    """
    path = path.resolve()
    lock = FileLock(path.with_name(path.name + ".lock"), is_singleton=True)
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise BSAError(f"another process has been changing the index {path} for {seconds:.0f} s") from error
    except OSError as error:
        raise BSAError(f"cannot write {path}: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()


def _head(file: IO[bytes]) -> bytes:
    start = file.read(16)
    if start[:8] != MAGIC:
        raise BSAError("not an index file (it does not start with BSAINDEX)")
    length = struct.unpack("<I", start[12:])[0] if len(start) == 16 else 0
    return start + file.read(min(length + 4, CHUNK * 64))


def _parse(file: IO[bytes], path: Path) -> Stored:
    data = _head(file)
    header, at = read_json_header(data, VERSION)
    kinds = {"hidden_dim": int, "texts": int, "blocks": list, "arrays": list}
    if header.keys() != kinds.keys() or any(type(header[name]) is not kind for name, kind in kinds.items()):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    check_blocks(header["blocks"], header["hidden_dim"])
    size = path.stat().st_size
    places = _places(header["arrays"], at)
    begin = max([at, *(-(-(offset + count) // ALIGNMENT) * ALIGNMENT for offset, count in places)])
    if size != begin + sum(entry["bytes"] for entry in header["blocks"]):
        raise BSAError("the file is cut short or has bytes after its end")
    for entry, (offset, count) in zip(header["arrays"], places, strict=True):
        _verify(file, offset, count, entry["crc32"], f"its part {entry['name']!r}")
    raw = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    if len(raw) != size:
        raise BSAError("the file has changed while it was opened")
    arrays = {
        entry["name"]: raw[offset : offset + count].view(entry["dtype"]).reshape(entry["shape"])
        for entry, (offset, count) in zip(header["arrays"], places, strict=True)
    }
    codes = _codes(file, header, raw, begin)
    if len(codes) != header["texts"]:
        raise BSAError(f"header promises {header['texts']} texts, blocks hold {len(codes)}")
    return Stored(codes, arrays, zlib.crc32(data[: at - 4]))


def _codes(file: IO[bytes], header: dict[str, Any], raw: np.ndarray, begin: int) -> BinaryCodes:
    """Packed codes as they lie in the file, others decoded."""
    offset, blocks = begin, header["blocks"]
    if blocks and all("rice" not in entry for entry in blocks):
        width = -(-header["hidden_dim"] // 8)
        for number, entry in enumerate(blocks):
            if entry["bytes"] != entry["texts"] * width:
                raise BSAError(f"block {number} has a header entry with impossible sizes")
            _verify(file, offset, entry["bytes"], entry["crc32"], f"block {number} of {len(blocks)}")
            offset += entry["bytes"]
        return BinaryCodes.from_packed(raw[begin:].reshape(-1, width), header["hidden_dim"])
    parts = []
    for number, entry in enumerate(blocks):
        parts.append(decode_block(BinaryCodes, header, number, raw[offset : offset + entry["bytes"]]))
        offset += entry["bytes"]
    return BinaryCodes.concatenate(parts) if parts else BinaryCodes([], [0], header["hidden_dim"])


def _places(entries: list[Any], at: int) -> list[tuple[int, int]]:
    """Offset and bytes of each array; raises where an entry is malformed."""
    places = []
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"name", "dtype", "shape", "crc32"} or entry["dtype"] not in DTYPES:
            raise BSAError("the header has a malformed entry of an array")
        shape = entry["shape"]
        if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise BSAError("the header has an array of an impossible shape")
        count = int(np.prod(shape, dtype=object)) * np.dtype(entry["dtype"]).itemsize
        at = -(-at // ALIGNMENT) * ALIGNMENT
        places.append((at, count))
        at += count
    return places


def _verify(file: IO[bytes], offset: int, count: int, expected: int, name: str) -> None:
    file.seek(offset)
    checksum = 0
    while count > 0:
        piece = file.read(min(CHUNK, count))
        if not piece:
            break
        checksum = zlib.crc32(piece, checksum)
        count -= len(piece)
    if count or checksum != expected:
        raise BSAError(f"{name} is damaged or cut short")


def _bytes_of(values: np.ndarray) -> Any:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
