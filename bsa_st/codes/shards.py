"""A folder of code files with a manifest, read as one sequence of codes; and files and folders in batches.

``manifest.json`` holds ``format``; ``model_sha256`` of the model's weights and settings; ``hidden_dim`` of the codes; ``settings`` that decide
the codes; ``texts``, their number once all are encoded (``complete``); ``shards``, one entry per finished file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bsa_st.atomic import write_json
from bsa_st.codes import BinaryCodes
from bsa_st.codes import file as codefile
from bsa_st.errors import BSAError

FILE = "manifest.json"
FORMAT = 2


class Shard(NamedTuple):
    """A finished file: its place among the shards, its texts, bytes, SHA-256, and the SHA-256 of the texts in it."""

    number: int
    texts: int
    bytes: int
    sha256: str
    texts_sha256: str

    @property
    def file(self) -> str:
        return f"shard-{self.number:06d}.codes"


def read_shard(folder: Path, shard: Shard) -> bytes:
    """The file's bytes; raises :class:`BSAError` if it is missing or has other bytes than when it was written."""
    path = folder / shard.file
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BSAError(f"{path}: cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(raw).hexdigest() != shard.sha256:
        raise BSAError(f"{path}: damaged: its bytes are not those that the manifest lists")
    return raw


@dataclass
class Manifest:
    """What the file says; ``shards`` by number."""

    model_sha256: str
    hidden_dim: int
    settings: dict[str, Any]
    texts: int = 0
    complete: bool = False
    shards: dict[int, Shard] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the file, atomically."""
        shards = [self.shards[number]._asdict() for number in sorted(self.shards)]
        write_json(folder / FILE, {"format": FORMAT, **vars(self), "shards": shards})

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a folder; raises :class:`BSAError` if it is missing, damaged or of another version."""
        path = folder / FILE
        try:
            content = json.loads(path.read_bytes())
            if content["format"] == FORMAT:
                shards = {}
                for entry in content["shards"]:
                    number, texts, size = (int(entry[name]) for name in ("number", "texts", "bytes"))
                    shards[number] = Shard(number, texts, size, entry["sha256"], entry["texts_sha256"])
                decided = int(content["hidden_dim"]), dict(content["settings"]), int(content["texts"])
                return cls(content["model_sha256"], *decided, bool(content["complete"]), shards)
            newer = content["format"] > FORMAT
        except FileNotFoundError as error:
            raise BSAError(f"{folder} holds no sharded codes: {FILE} is missing") from error
        except OSError as error:
            raise BSAError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise BSAError(f"{path}: not a manifest of sharded codes, or damaged ({error})") from error
        todo = "newer than this bsa_st reads; update bsa_st" if newer else "of an earlier bsa_st; encode the texts again"
        raise BSAError(f"{path}: format {content['format']} is {todo}")


class ShardedCodes:
    """The codes in a folder of shards, in the order of the texts; ``for codes in sharded`` gives those of one shard after the other. A shard is read, and
    its checksum verified, when it is needed.

    Args:
        folder: A folder that :func:`bsa_st.encode_to_shards` or ``bsa-st encode --shards`` wrote (or its ``manifest.json``).

    Raises:
        BSAError: If the manifest is missing, damaged or of a run that has not finished, or a shard is missing or cut short.

    Example: ``codes = bsa_st.ShardedCodes("corpus-codes").load()``
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.folder = folder.parent if folder.name == FILE else folder
        self.manifest = Manifest.read(self.folder)
        shards = self.manifest.shards
        if not self.manifest.complete:
            raise BSAError(f"{self.folder}: encoding has not finished ({len(shards)} shards so far); run it again to continue")
        self._shards = [shards[number] for number in sorted(shards)]
        if sorted(shards) != list(range(len(shards))) or sum(shard.texts for shard in self._shards) != len(self):
            raise BSAError(f"{self.folder / FILE}: the shards do not count up from 0 to {len(self)} texts")
        for shard in self._shards:
            path = self.folder / shard.file
            size = path.stat().st_size if path.is_file() else 0
            if size != shard.bytes:
                raise BSAError(f"{path}: missing, cut short or replaced: {size} bytes, the manifest lists {shard.bytes}")

    @property
    def hidden_dim(self) -> int:
        """Number D of features."""
        return self.manifest.hidden_dim

    @property
    def nbytes(self) -> int:
        """Bytes of all shard files."""
        return sum(shard.bytes for shard in self._shards)

    def __len__(self) -> int:
        return self.manifest.texts

    def __iter__(self) -> Iterator[BinaryCodes]:
        """The codes of one shard after the other; raises :class:`BSAError` if its file is missing, damaged, or not what the manifest says."""
        for shard in self._shards:
            codes = codefile.decode(BinaryCodes, read_shard(self.folder, shard))
            if (len(codes), codes.hidden_dim) != (shard.texts, self.hidden_dim):
                raise BSAError(f"{self.folder / shard.file}: not the codes that the manifest describes")
            yield codes

    def load(self) -> BinaryCodes:
        """All codes in memory; raises what iterating raises."""
        return BinaryCodes.concatenate(self)


def load_codes(path: str | Path) -> BinaryCodes:
    """Codes of a file or of a folder of shards, in memory."""
    path = Path(path)
    return ShardedCodes(path).load() if path.is_dir() or path.name == FILE else BinaryCodes.load(path)


def stream_codes(path: str | Path, batch_size: int = 1000) -> tuple[int, int, Iterator[BinaryCodes]]:
    """Features and texts of a code file or a folder of shards, and its codes in batches, of which only the last has fewer than ``batch_size`` texts; a
    block of at most 65,536 texts, or a shard, is in memory at a time. Raises :class:`BSAError` if the file is missing, foreign, of a newer version or
    damaged; for a block when it is reached."""
    path = Path(path)
    if path.is_dir():
        codes = ShardedCodes(path)
        return codes.hidden_dim, len(codes), _batches(codes, batch_size)
    hidden_dim, texts, blocks = codefile.stream(BinaryCodes, path)
    return hidden_dim, texts, _batches(blocks, batch_size)


def _batches(blocks: Iterable[BinaryCodes], size: int) -> Iterator[BinaryCodes]:
    rest: list[BinaryCodes] = []
    for block in blocks:
        codes = BinaryCodes.concatenate([*rest, block])
        whole = len(codes) - len(codes) % size
        for start in range(0, whole, size):
            yield codes[start : start + size]
        rest = [codes[whole:]] if whole < len(codes) else []
    yield from rest
