"""Encoding into a folder of shards, continued where an earlier run stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from bsa_st.atomic import atomic_file, remove_leftovers
from bsa_st.codes import file as codefile
from bsa_st.codes.shards import FILE, Manifest, Shard, ShardedCodes, read_shard
from bsa_st.encoding.encode import CHUNK_TEXTS, Recipe
from bsa_st.encoding.pool import Job, choose_devices, encode_locally
from bsa_st.encoding.ray_engine import encode_on_ray
from bsa_st.errors import BSAError
from bsa_st.inputs.embeddings import encoder_fingerprint, texts_fingerprint
from bsa_st.inputs.texts import Texts, stream_texts

SHARD_TEXTS = 1 << 16


def encode_to_shards(
    model: SentenceTransformer,
    texts: Texts,
    folder: str | Path,
    *,
    text_column: str = "text",
    shard_texts: int = SHARD_TEXTS,
    engine: Literal["local", "ray"] = "local",
    processes: int | None = None,
    device: str | None = None,
    show_progress_bar: bool = False,
    **settings: Any,
) -> ShardedCodes:
    """Encode texts of any number into a folder of code files with a manifest, and open it; texts are read as a stream.

    Run again with the same arguments it continues: finished shards are verified and kept, damaged ones are made again. The bytes do not depend on
    engine or processes, as far as the hardware gives the same embeddings.

    Args:
        model: A BSA model; a pool of processes moves it to the CPU.
        texts, text_column: As in :func:`bsa_st.inputs.texts.stream_texts`.
        folder: Where to write; made if it is not there.
        shard_texts: Texts per file, a multiple of 4,096.
        engine: ``"local"`` this machine, ``"ray"`` a Ray cluster (or a Ray on this machine, where ``RAY_ADDRESS`` names none).
        processes: Processes, or Ray actors.
        device: Torch devices, comma-separated, e.g. ``"cuda:0,cuda:1"``; for ``"ray"`` ``"cpu"`` or ``"cuda"``, one GPU per actor.
        **settings: Further arguments of :func:`bsa_st.encode`.

    Raises:
        BSAError: If the folder holds something else or codes of another model, other settings or other texts; if a text cannot be used, a
            process died or the disk fails. Finished shards are kept.

    Example: ``shards = bsa_st.encode_to_shards(model, texts, "corpus-codes")``
    """
    if engine not in ("local", "ray"):
        raise BSAError(f"engine must be one of local, ray, got {engine!r}")
    if processes is not None and processes < 1:
        raise BSAError(f"processes must be at least 1, got {processes}")
    if shard_texts < 1 or shard_texts % CHUNK_TEXTS:
        raise BSAError(f"shard_texts must be a multiple of {CHUNK_TEXTS}, got {shard_texts}")
    recipe, folder = Recipe(model, **settings), Path(folder)
    devices = choose_devices(device, processes) if engine == "local" else []
    decided = {**recipe.settings, "shard_texts": shard_texts, "chunk_texts": CHUNK_TEXTS}
    manifest = _begin(folder, Manifest(encoder_fingerprint(model), recipe.head.hidden_dim, decided))
    total, known_total = 0, len(texts) if isinstance(texts, list) else None
    with tqdm(total=known_total, desc="Encoding", unit="text", disable=not show_progress_bar) as bar:

        def jobs() -> Iterator[Job]:
            """Shards that are not finished, in order; a finished one must be of the same texts."""
            nonlocal total
            stream = stream_texts(texts, text_column)
            for number, part in enumerate(iter(lambda: list(islice(stream, shard_texts)), [])):
                total += len(part)
                job, known = Job(number, part, texts_fingerprint(part)), manifest.shards.get(number)
                if known is not None:
                    if known.texts_sha256 != job.sha256:
                        raise BSAError(f"{folder} was begun with other texts: shard {number} differs; choose another folder")
                    with suppress(BSAError):  # one that is damaged is made again
                        read_shard(folder, known)
                        bar.update(len(part))
                        continue
                yield job

        if engine == "ray":
            encoded = encode_on_ray(model, recipe.settings, jobs(), 1 if processes is None else processes, device)
        else:
            encoded = encode_locally(recipe, jobs(), devices, bar.update)
        for job, codes in encoded:
            raw = codefile.encode(codes)
            shard = Shard(job.number, len(codes), len(raw), hashlib.sha256(raw).hexdigest(), job.sha256)
            with atomic_file(folder / shard.file) as file:
                file.write(raw)
            manifest.shards[job.number] = shard
            manifest.write(folder)
            if engine == "ray":
                bar.update(len(codes))
    if total != sum(shard.texts for shard in manifest.shards.values()):
        raise BSAError(f"{folder} was begun with more texts than the {total} given now; choose another folder")
    replace(manifest, texts=total, complete=True).write(folder)
    return ShardedCodes(folder)


def _begin(folder: Path, fresh: Manifest) -> Manifest:
    """The manifest that a run continues, or a new one, written before anything else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise BSAError(f"cannot write to the folder {folder}: {error.strerror or error}") from error
    if FILE not in names:
        if any(not name.startswith(".") for name in names):
            raise BSAError(f"{folder} holds something else than sharded codes; choose another folder")
        fresh.write(folder)
        return fresh
    manifest = Manifest.read(folder)
    for name in {**manifest.settings, **fresh.settings}:
        old, new = manifest.settings.get(name), fresh.settings.get(name)
        if old != new:
            begun = f"{folder} was begun with {name} = {old}, not {new}"
            raise BSAError(f"{begun}; give the same settings or choose another folder")
    if (manifest.model_sha256, manifest.hidden_dim) != (fresh.model_sha256, fresh.hidden_dim):
        raise BSAError(f"{folder} holds codes of another model; choose another folder")
    for name in names:
        if name.startswith(".") and name.count(".") > 3:
            remove_leftovers(folder / name[1:].rsplit(".", 2)[0])
    return replace(manifest, complete=False, texts=0)
