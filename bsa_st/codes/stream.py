"""A code file read block by block, in bounded memory."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from bsa_st.codes import BinaryCodes
from bsa_st.codes.file import decode_block, read_header
from bsa_st.codes.shards import ShardedCodes
from bsa_st.errors import BSAError


class CodeStream(NamedTuple):
    """A code file that is open for streaming.

    Attributes:
        hidden_dim: Number D of features.
        texts: Number of texts.
        checksum: CRC-32 of the header, which holds those of all blocks, or of the shards' checksums: the same for the same content.
        batches: The codes, in order.
    """

    hidden_dim: int
    texts: int
    checksum: int
    batches: Iterator[BinaryCodes]


def stream_codes(path: str | Path, batch_size: int = 1000) -> CodeStream:
    """Open a code file, or a folder of shards; a block of at most 65,536 texts, or a shard, is in memory at a time.

    Args:
        path: A file written by :meth:`bsa_st.BinaryCodes.save`, or a folder written by :func:`bsa_st.encode_to_shards`.
        batch_size: Texts per batch; only the last batch has fewer.

    Raises:
        BSAError: If the file is missing, foreign, of a newer version or damaged; for a block when it is reached.
    """
    path = Path(path)
    if path.is_dir():
        codes = ShardedCodes.open(path)
        sums = "".join(codes.manifest.shards[number].sha256 for number in sorted(codes.manifest.shards))
        checksum = zlib.crc32(sums.encode())
        return CodeStream(codes.hidden_dim, len(codes), checksum, _batches(iter(codes), batch_size))
    try:
        with path.open("rb") as file:
            start = file.read(16)
            length = struct.unpack("<I", start[12:])[0] if len(start) == 16 else 0
            data = start + file.read(min(length + 4, path.stat().st_size))
        header, offset = read_header(data)
    except OSError as error:
        raise BSAError(f"cannot read codes file {path}: {error.strerror}") from error
    except BSAError as error:
        raise BSAError(f"codes file {path}: {error}") from error
    checksum = struct.unpack("<I", data[-4:])[0]
    blocks = _blocks(path, header, offset)
    return CodeStream(header["hidden_dim"], header["texts"], checksum, _batches(blocks, batch_size))


def _blocks(path: Path, header: dict[str, Any], offset: int) -> Iterator[BinaryCodes]:
    texts = 0
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            file.seek(offset)
            for number, entry in enumerate(header["blocks"]):
                codes = decode_block(BinaryCodes, header, number, file.read(min(entry["bytes"], size)))
                texts += len(codes)
                yield codes
        if texts != header["texts"]:
            raise BSAError(f"header promises {header['texts']} texts, blocks hold {texts}")
    except OSError as error:
        raise BSAError(f"cannot read codes file {path}: {error.strerror}") from error
    except BSAError as error:
        raise BSAError(f"codes file {path}: {error}") from error


def _batches(blocks: Iterator[BinaryCodes], size: int) -> Iterator[BinaryCodes]:
    rest: BinaryCodes | None = None
    for block in blocks:
        codes = block if rest is None else BinaryCodes.concatenate([rest, block])
        whole = len(codes) - len(codes) % size
        for start in range(0, whole, size):
            yield codes[start : start + size]
        rest = codes[whole:] if whole < len(codes) else None
    if rest is not None:
        yield rest
