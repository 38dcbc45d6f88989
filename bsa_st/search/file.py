"""The index file: arrays with checksums, opened as a memory map.

Layout (little endian)::

    8 bytes   magic "BSAINDEX"
    4 bytes   format version
    4 bytes   length of the header
    header    JSON: hidden_dim, and arrays (name, dtype, shape and CRC-32 of each)
    4 bytes   CRC-32 of everything above
    arrays    one after the other, each at a multiple of 64 bytes

Packed codes are the blocks of :mod:`bsa_st.codes.file`, back to back. Nothing of faiss is stored: its structures are views of these arrays. Checksums
are verified by reading, not through the map, so that opening a file leaves nothing of it resident.
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
from bsa_st.codes.file import read_json_header
from bsa_st.errors import BSAError

MAGIC = b"BSAINDEX"
VERSION = 5
"""Versions 1 to 3 held compressed codes and no lists, 4 compressed codes or packed ones."""
ALIGNMENT = 64
DTYPES = ("<f4", "<f8", "<i8", "<u2", "<u4", "|u1")
CHUNK = 1 << 22
LOCK_SECONDS = 60.0


class Stored(NamedTuple):
    """What a file holds: arrays by name, the number of features, and the checksum of the header, which names the content."""

    arrays: dict[str, np.ndarray]
    hidden_dim: int
    checksum: int


def write(path: Path, hidden_dim: int, arrays: dict[str, np.ndarray]) -> tuple[int, int]:
    """Write a file, atomically; returns its bytes and the checksum of its header."""
    listed = [
        {"name": name, "dtype": values.dtype.str, "shape": list(values.shape), "crc32": zlib.crc32(_bytes_of(values))}
        for name, values in arrays.items()
    ]
    text = json.dumps({"hidden_dim": hidden_dim, "arrays": listed}, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 20) % ALIGNMENT)
    head = MAGIC + struct.pack("<II", VERSION, len(text)) + text
    checksum = zlib.crc32(head)
    remove_leftovers(path)
    with atomic_file(path) as file:
        file.write(head + struct.pack("<I", checksum))
        for values in arrays.values():
            file.write(_bytes_of(values))
            file.write(bytes(-values.nbytes % ALIGNMENT))
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
    return start + file.read(min(length + 4, CHUNK))


def _parse(file: IO[bytes], path: Path) -> Stored:
    data = _head(file)
    header, at = read_json_header(data, VERSION, "build the index again (bsa-st index build)")
    checksum = zlib.crc32(data[: at - 4])
    hidden_dim, entries = header.get("hidden_dim"), header.get("arrays")
    if type(hidden_dim) is not int or hidden_dim < 1 or not isinstance(entries, list):
        raise BSAError("the header lacks a field or has one of the wrong kind")
    raw = np.memmap(file, dtype=np.uint8, mode="r").view(np.ndarray)
    arrays = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != {"name", "dtype", "shape", "crc32"} or entry["dtype"] not in DTYPES:
            raise BSAError("the header has a malformed entry of an array")
        name, shape, dtype = entry["name"], entry["shape"], np.dtype(entry["dtype"])
        if not isinstance(shape, list) or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
            raise BSAError("the header has an array of an impossible shape")
        end = at + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if end > len(raw) or _checksum(file, at, end) != entry["crc32"]:
            raise BSAError(f"its part {name!r} is damaged or cut short")
        arrays[name] = raw[at:end].view(dtype).reshape(shape)
        at = end + -end % ALIGNMENT
    if len(raw) != at:
        raise BSAError("the file is cut short or has bytes after its end")
    return Stored(arrays, hidden_dim, checksum)


def _checksum(file: IO[bytes], start: int, end: int) -> int:
    file.seek(start)
    checksum = 0
    while start < end and (piece := file.read(min(CHUNK, end - start))):
        checksum = zlib.crc32(piece, checksum)
        start += len(piece)
    return checksum


def _bytes_of(values: np.ndarray) -> Any:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
