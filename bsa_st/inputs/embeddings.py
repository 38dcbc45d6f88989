"""Dense embeddings of a text collection, computed once and kept on disk.

A cache entry is a folder named by the fingerprints of the encoder and of the texts. It holds ``embeddings.bin``, the rows back
to back, and ``manifest.json``, which lists the CRC-32 of every finished chunk. Chunks are appended and then entered in the
manifest, so an interrupted run continues where it stopped, and a damaged chunk is found and computed again with all after it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Module
from tqdm.auto import tqdm

from bsa_st.atomic import write_json
from bsa_st.errors import BSAError
from bsa_st.inputs.embed import embed, encoder_for_caching

CHUNK_ROWS = 8192
FORMAT = 1


@dataclass
class Manifest:
    """What ``manifest.json`` says; ``checksums`` has one CRC-32 for each finished chunk."""

    format: int
    rows: int
    width: int
    dtype: str
    encoder_dtype: str
    checksums: list[int] = field(default_factory=list)
    chunk_rows: int = CHUNK_ROWS

    @property
    def done(self) -> int:
        """Rows of finished chunks, the last one taken as full."""
        return len(self.checksums) * self.chunk_rows

    @property
    def chunk_bytes(self) -> int:
        return self.chunk_rows * self.width * np.dtype(self.dtype).itemsize


def default_cache_dir() -> Path:
    """``$BSA_ST_CACHE`` or ``~/.cache/bsa_st``."""
    return Path(os.environ.get("BSA_ST_CACHE") or Path.home() / ".cache" / "bsa_st")


def cached_embeddings(
    encoder: SentenceTransformer,
    texts: list[str],
    *,
    cache_dir: str | Path | None = None,
    precision: str = "auto",
    show_progress_bar: bool = True,
    chunk_rows: int = CHUNK_ROWS,
) -> np.ndarray:
    """Dense embeddings of texts, from the cache where they are there, else computed (:mod:`bsa_st.inputs.embed`) and cached.

    Args:
        encoder: The frozen dense model.
        texts: n texts.
        cache_dir: Folder for cache entries; default :func:`default_cache_dir`.
        precision: ``"float32"``, ``"bfloat16"`` or ``"auto"``; see :func:`bsa_st.inputs.embed.encoder_for_caching`.
        show_progress_bar: Show a bar over the texts still to encode.
        chunk_rows: Texts that an interruption can lose; an entry that has been begun keeps its own.

    Returns:
        Read-only memory map (n, d), float16, or float32 where the encoder's values do not fit float16.

    Raises:
        BSAError: If the disk is full or the encoder gives NaN or infinite values; finished chunks are kept.
    """
    folder = _entry(encoder, texts, cache_dir, precision)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _manifest(folder, len(texts), precision, chunk_rows)
        if manifest.done < len(texts):
            with FileLock(folder / "lock"):  # another process may be at it
                manifest = _manifest(folder, len(texts), precision, chunk_rows)
                _encode_rest(encoder, texts, folder, manifest, show_progress_bar)
    except OSError as error:
        raise BSAError(f"cannot write the embedding cache in {folder}: {error.strerror}") from error
    return np.memmap(folder / "embeddings.bin", dtype=manifest.dtype, mode="r", shape=(len(texts), manifest.width))


def are_cached(encoder: SentenceTransformer, texts: list[str], cache_dir: str | Path | None = None) -> bool:
    """Whether :func:`cached_embeddings` has nothing to compute for these texts."""
    known = _manifest(_entry(encoder, texts, cache_dir, "auto"), len(texts), "auto")
    return known.done >= len(texts)


def _entry(encoder: SentenceTransformer, texts: list[str], cache_dir: str | Path | None, precision: str) -> Path:
    root = Path(cache_dir) if cache_dir is not None else default_cache_dir()
    return root / f"{encoder_fingerprint(encoder)[:16]}-{texts_fingerprint(texts)[:16]}-{precision}"


def _encode_rest(encoder: SentenceTransformer, texts: list[str], folder: Path, manifest: Manifest, show_bar: bool) -> None:
    fast, manifest.encoder_dtype = encoder_for_caching(encoder, texts, manifest.encoder_dtype)
    start, size = manifest.done, manifest.chunk_rows
    with (
        (folder / "embeddings.bin").open("ab") as file,
        tqdm(total=len(texts), initial=start, desc="Encoding", unit="text", disable=not show_bar) as progress,
    ):
        file.truncate(len(manifest.checksums) * manifest.chunk_bytes)
        for first in range(start, len(texts), size):
            chunk = texts[first : first + size]
            rows = embed(fast, chunk, done=progress.update)
            if not manifest.checksums:
                manifest.width, manifest.dtype = rows.shape[1], "float16" if np.abs(rows).max() < 1e4 else "float32"
            rows = rows.astype(manifest.dtype, copy=False)
            if not np.isfinite(rows).all():
                raise BSAError(f"the encoder gave NaN or infinite values within texts {first + 1} to {first + len(chunk)}")
            file.write(rows.tobytes())
            file.flush()
            os.fsync(file.fileno())
            manifest.checksums.append(zlib.crc32(rows.tobytes()))
            write_json(folder / "manifest.json", asdict(manifest))


def _manifest(folder: Path, rows: int, precision: str, chunk_rows: int = CHUNK_ROWS) -> Manifest:
    """The manifest with only the leading chunks that are whole on disk, or an empty one if there is nothing to build on."""
    empty = Manifest(FORMAT, rows, 0, "float32", precision, chunk_rows=chunk_rows)
    try:
        manifest = Manifest(**json.loads((folder / "manifest.json").read_text()))
        if manifest.format != FORMAT or manifest.rows != rows or manifest.dtype not in ("float16", "float32"):
            return empty
        with (folder / "embeddings.bin").open("rb") as file:
            whole = takewhile(lambda known: zlib.crc32(file.read(manifest.chunk_bytes)) == known, manifest.checksums)
            manifest.checksums = list(whole)
    except (OSError, ValueError, TypeError):
        return empty
    return manifest if manifest.checksums else empty


def encoder_fingerprint(encoder: SentenceTransformer) -> str:
    """SHA-256 over the encoder's weights, module settings, maximum length and prompts, as hex digits."""
    digest = hashlib.sha256()
    for module in encoder:
        settings = module.get_config_dict() if isinstance(module, Module) else {}
        digest.update(f"{type(module).__name__}{sorted(settings.items(), key=str)}".encode())
    digest.update(f"{encoder.max_seq_length}{encoder.prompts}{encoder.default_prompt_name}".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def texts_fingerprint(texts: Iterable[str]) -> str:
    """SHA-256 over all texts and their order, as hex digits."""
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()
