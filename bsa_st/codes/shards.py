"""Reading a folder of shards as one sequence of codes, and files and folders in batches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes import file as codefile
from bsa_st.codes.manifest import FILE, Manifest, check_size, read_manifest, read_shard
from bsa_st.errors import BSAError


class ShardedCodes:
    """The codes in a folder of shards, in the order of the texts. A shard is read, and its checksum verified, when it is needed.

    Args:
        folder: Where the files are.
        manifest: What is in it.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self._shards = [manifest.shards[number] for number in sorted(manifest.shards)]
        self._starts = np.cumsum([0, *(shard.texts for shard in self._shards)])
        self._latest: tuple[int, BinaryCodes] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> ShardedCodes:
        """Open a folder that :func:`bsa_st.encode_to_shards` or ``bsa-st encode --shards`` wrote (or its ``manifest.json``).

        Raises:
            BSAError: If the manifest is missing, damaged or of a run that has not finished, or a shard is missing or cut short.
        """
        folder = Path(folder)
        folder = folder.parent if folder.name == FILE else folder
        manifest = read_manifest(folder)
        if not manifest.complete:
            raise BSAError(
                f"{folder}: encoding has not finished ({len(manifest.shards)} shards so far); run it again to continue"
            )
        if sorted(manifest.shards) != list(range(len(manifest.shards))):
            raise BSAError(f"{folder / FILE}: the numbers of the shards do not count up from 0")
        if sum(shard.texts for shard in manifest.shards.values()) != manifest.texts:
            raise BSAError(f"{folder / FILE}: the shards do not add up to {manifest.texts} texts")
        for shard in manifest.shards.values():
            check_size(folder, shard)
        return cls(folder, manifest)

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
        """The codes of one shard after the other; raises what :meth:`shard` raises."""
        return (self.shard(number) for number in range(len(self._shards)))

    def shard(self, number: int) -> BinaryCodes:
        """The codes of a shard.

        Raises:
            BSAError: If its file is missing, damaged, or does not hold what the manifest says.
        """
        if self._latest is None or self._latest[0] != number:
            shard = self._shards[number]
            try:
                codes = codefile.decode(BinaryCodes, read_shard(self.folder, shard))
            except BSAError as error:
                prefix = "" if str(self.folder) in str(error) else f"{self.folder / shard.file}: "
                raise BSAError(f"{prefix}{error}") from error
            found = (len(codes), codes.hidden_dim)
            if found != (shard.texts, self.hidden_dim):
                raise BSAError(f"{self.folder / shard.file}: not the codes that the manifest describes")
            self._latest = number, codes
        return self._latest[1]

    def __getitem__(self, key: int | slice | list[int] | np.ndarray) -> BinaryCodes:
        """Some of the texts, as codes: an int, a slice, or positions in any order; reads only the shards they are in."""
        rows = self._rows(key)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        if len(rows) == 0:
            return self.shard(0)[:0]
        parts = [self.shard(int(number))[rows[owners == number] - self._starts[number]] for number in np.unique(owners)]
        order = np.argsort(owners, kind="stable")
        return BinaryCodes.concatenate(parts)[np.argsort(order, kind="stable")]

    def _rows(self, key: int | slice | list[int] | np.ndarray) -> np.ndarray:
        if isinstance(key, slice):
            return np.arange(*key.indices(len(self)))
        rows = np.atleast_1d(np.asarray(key))
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"a mask must have one entry for each of {len(self)} texts, got shape {rows.shape}")
            return np.flatnonzero(rows)
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"there are {len(self)} texts, got positions from {rows.min()} to {rows.max()}")
        return np.where(rows < 0, rows + len(self), rows).astype(np.int64)

    def load(self) -> BinaryCodes:
        """All codes in memory; raises what :meth:`shard` raises."""
        return BinaryCodes.concatenate(self)

    def __repr__(self) -> str:
        return f"ShardedCodes({len(self)} texts in {len(self._shards)} shards, hidden_dim={self.hidden_dim})"


def load_codes(path: str | Path) -> BinaryCodes:
    """Codes of a file or of a folder of shards, in memory."""
    path = Path(path)
    return ShardedCodes.open(path).load() if path.is_dir() or path.name == FILE else BinaryCodes.load(path)


class CodeStream(NamedTuple):
    """Codes that are read batch by batch: their number D of features, the number of texts, and the codes in order."""

    hidden_dim: int
    texts: int
    batches: Iterator[BinaryCodes]


def stream_codes(path: str | Path, batch_size: int = 1000) -> CodeStream:
    """Open a code file or a folder of shards; a block of at most 65,536 texts, or a shard, is in memory at a time.

    Args:
        path: A file written by :meth:`bsa_st.BinaryCodes.save`, or a folder written by :func:`bsa_st.encode_to_shards`.
        batch_size: Texts per batch; only the last batch has fewer.

    Raises:
        BSAError: If the file is missing, foreign, of a newer version or damaged; for a block when it is reached.
    """
    path = Path(path)
    if path.is_dir():
        codes = ShardedCodes.open(path)
        return CodeStream(codes.hidden_dim, len(codes), _batches(iter(codes), batch_size))
    header, blocks = codefile.stream(BinaryCodes, path)
    return CodeStream(header["hidden_dim"], header["texts"], _batches(blocks, batch_size))


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
