"""The index file: a zip of .npy arrays, as ``numpy.load`` reads it, opened as a memory map.

An empty entry named after the format comes first; the data of each array, stored as they are, begin at a multiple of 64 bytes. zip's CRC-32 are verified by reading, not
through the map, so that opening a file leaves nothing of it resident. Nothing of faiss is stored: its structures are views of these arrays.
"""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from bsa_st.atomic import atomic_file, remove_leftovers
from bsa_st.errors import BSAError

FORMAT = "bsa_st.index.6"
MAGIC = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, len(FORMAT), 0) + FORMAT.encode()
"""How a file begins: with that entry, of 1980."""
ALIGNMENT = 64
LOCK_SECONDS = 60.0


def write(path: Path, arrays: dict[str, np.ndarray]) -> int:
    """Write a file, atomically; returns its bytes."""
    remove_leftovers(path)
    with atomic_file(path) as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(FORMAT), b"")
            for name, values in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                    text = repr(np.lib.format.header_data_from_array_1_0(values)).encode()
                    text += b" " * (-(file.tell() + 11 + len(text)) % ALIGNMENT) + b"\n"
                    entry.write(np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text)
                    entry.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
        return file.seek(0, os.SEEK_END)


def read(path: Path) -> tuple[dict[str, np.ndarray], tuple[int, ...]]:
    """The arrays of a file, in the file, every checksum verified; and the file's :func:`identity`.

    Raises:
        BSAError: If the file is missing, is no index, or is damaged; the damaged part is named.
    """
    arrays = {}
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BSAError(f"index {path}: not an index file of this bsa_st; build it again (bsa-st index build)")
            raw = np.memmap(file, np.uint8, "r").view(np.ndarray)
            with zipfile.ZipFile(file) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise zipfile.BadZipFile("a part is compressed")
                if damaged := archive.testzip():
                    raise BSAError(f"index {path}: its part {damaged.removesuffix('.npy')!r} is damaged")
                for entry in archive.infolist()[1:]:
                    with archive.open(entry) as part:
                        np.lib.format.read_magic(part)
                        shape, _, dtype = np.lib.format.read_array_header_1_0(part)
                        if dtype.kind not in "fiu":
                            raise ValueError(f"{entry.filename} is no plain array")
                        lengths = struct.unpack_from("<HH", raw.data, entry.header_offset + 26)  # of its name and extra field
                        start = entry.header_offset + 30 + sum(lengths) + part.tell()
                        arrays[entry.filename.removesuffix(".npy")] = np.ndarray(shape, dtype, raw, start)
            return arrays, identity(file.fileno())
    except FileNotFoundError as error:
        raise BSAError(f"index not found: {path}") from error
    except OSError as error:
        raise BSAError(f"cannot read the index {path}: {error.strerror or error}") from error
    except BSAError:
        raise
    except (zipfile.BadZipFile, RuntimeError, ValueError, TypeError, EOFError, struct.error) as error:
        raise BSAError(f"index {path}: it is damaged or cut short ({error})") from error


def identity(file: Path | int) -> tuple[int, ...]:
    """What tells a file from the one that replaces it."""
    found = os.stat(file)
    return found.st_ino, found.st_mtime_ns, found.st_size


@contextmanager
def writing(path: Path, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the lock of whoever changes an index: a file beside it, freed by the system when its holder dies. A holder may take it again.

    Raises:
        BSAError: If another process holds it for longer, or there is no folder.
    """
    path = path.resolve()
    lock = FileLock(path.with_name(path.name + ".lock"), is_singleton=True)
    try:
        held = lock.acquire(timeout=seconds)
    except Timeout as error:
        raise BSAError(f"another process has been changing the index {path} for {seconds:.0f} s") from error
    except OSError as error:
        raise BSAError(f"cannot write {path}: {error.strerror or error}") from error
    with held:
        yield
