"""``manifest.json`` of a folder of shards: which files there are, their checksums, and what made them.

Fields: ``format``; ``model_sha256`` of the model's weights and settings; ``hidden_dim`` of the codes; ``settings`` that decide
the codes; ``texts``, their number once all are encoded (``complete``); ``shards``, one entry per finished file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bsa_st.atomic import atomic_file
from bsa_st.errors import BSAError

FILE = "manifest.json"
FORMAT = 2


class Shard(NamedTuple):
    """A finished file: its place among the shards, its name, texts, bytes, its SHA-256 and that of the texts in it."""

    number: int
    file: str
    texts: int
    bytes: int
    sha256: str
    texts_sha256: str


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
        entries = [self.shards[number]._asdict() for number in sorted(self.shards)]
        content = {"format": FORMAT, **asdict(self), "shards": entries}
        with atomic_file(folder / FILE) as file:
            file.write((json.dumps(content, indent=1) + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder.

    Raises:
        BSAError: If it is missing, damaged or of a newer version.
    """
    path = folder / FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise BSAError(f"{folder} holds no sharded codes: {FILE} is missing") from error
    except (OSError, ValueError) as error:
        raise BSAError(f"{path}: cannot be read: {error}") from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise BSAError(f"{path}: not a manifest of sharded codes")
    if content["format"] > FORMAT:
        raise BSAError(f"{path}: format {content['format']} is newer than this bsa_st reads ({FORMAT}); update bsa_st")
    if content["format"] < FORMAT:
        raise BSAError(f"{path}: format {content['format']} is of an earlier bsa_st; encode the texts again (bsa-st encode)")
    _check(path, content, Manifest.__annotations__)
    shards = {}
    for entry in content["shards"]:
        _check(path, entry, Shard.__annotations__)
        shard = Shard(**{name: entry[name] for name in Shard._fields})
        if shard.file != shard_name(shard.number) or shard.number in shards or shard.texts < 1:
            raise BSAError(f"{path}: the entry of shard {shard.number} is impossible")
        shards[shard.number] = shard
    return Manifest(**{name: content[name] for name in Manifest.__annotations__ if name != "shards"}, shards=shards)


KINDS = {"str": str, "int": int, "bool": bool, "dict[str, Any]": dict, "dict[int, Shard]": list}


def _check(path: Path, entry: Any, fields: Mapping[str, Any]) -> None:
    for name, kind in fields.items():
        if not isinstance(entry, dict) or type(entry.get(name)) is not KINDS[_name_of(kind)]:
            raise BSAError(f"{path}: {name} is missing or of the wrong kind")


def _name_of(kind: Any) -> str:
    return kind if isinstance(kind, str) else kind.__forward_arg__


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:06d}.codes"


def read_shard(folder: Path, shard: Shard) -> bytes:
    """The bytes of a shard's file.

    Raises:
        BSAError: If it is missing, cut short or has other bytes than when it was written.
    """
    path = folder / shard.file
    check_size(folder, shard)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BSAError(f"{path}: cannot be read: {error.strerror or error}") from error
    if hashlib.sha256(raw).hexdigest() != shard.sha256:
        raise BSAError(f"{path}: damaged: its bytes are not those that the manifest lists")
    return raw


def check_size(folder: Path, shard: Shard) -> None:
    """Raise a :class:`BSAError` if a shard's file is missing or has another size than the manifest says."""
    path = folder / shard.file
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise BSAError(f"{path}: this shard is missing") from error
    except OSError as error:
        raise BSAError(f"{path}: cannot be read: {error.strerror or error}") from error
    if size != shard.bytes:
        raise BSAError(f"{path}: {size} bytes, but the manifest lists {shard.bytes}: cut short or replaced")
