"""Encoding into a folder of shards, continued where an earlier run stopped."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from bsa_st.atomic import atomic_file, remove_leftovers
from bsa_st.codes import BinaryCodes
from bsa_st.codes import file as codefile
from bsa_st.codes.manifest import FILE, Manifest, Shard, read_manifest, read_shard, shard_name
from bsa_st.codes.shards import ShardedCodes
from bsa_st.encoding.jobs import SHARD_TEXTS, Encoded, Recipe, Source
from bsa_st.encoding.pool import choose_devices, encode_locally
from bsa_st.errors import BSAError
from bsa_st.inputs.embeddings import encoder_fingerprint
from bsa_st.inputs.texts import Texts

Engine = Literal["local", "ray"]


def encode_to_shards(
    model: SentenceTransformer,
    texts: Texts,
    folder: str | Path,
    *,
    text_column: str = "text",
    shard_texts: int = SHARD_TEXTS,
    engine: Engine = "local",
    processes: int | None = None,
    device: str | None = None,
    show_progress_bar: bool = False,
    **settings: Any,
) -> ShardedCodes:
    """Encode texts of any number into a folder of code files with a manifest; texts are read as a stream.

    Run again with the same arguments it continues: finished shards are verified and kept, damaged ones are made again. The bytes do not depend on
    engine or processes, as far as the hardware gives the same embeddings.

    Args:
        model: A BSA model; a pool of processes moves it to the CPU.
        texts: As in :func:`bsa_st.inputs.texts.stream_texts`.
        folder: Where to write; made if it is not there.
        text_column: Field that holds the text in .jsonl, .parquet and datasets.
        shard_texts: Texts per file, a multiple of 4,096.
        engine: ``"local"`` this machine, ``"ray"`` a Ray cluster (or a Ray on this machine, where ``RAY_ADDRESS`` names none).
        processes: Processes, or Ray actors.
        device: Torch devices, comma-separated, e.g. ``"cuda:0,cuda:1"``; for ``"ray"`` ``"cpu"`` or ``"cuda"``, one GPU per actor.
        show_progress_bar: Show a bar over the texts.
        **settings: ``batch_size``, ``prompt_name`` (by default the prompt for documents), ``refine`` (here true by default),
            ``hidden_dim`` and ``max_active_dims`` of :func:`bsa_st.encode`.

    Returns:
        The codes, opened.

    Raises:
        BSAError: If the folder holds something else or codes of another model, other settings or other texts; if a text cannot be used, a
            process died or the disk fails. Finished shards are kept.
    """
    if engine not in get_args(Engine):
        raise BSAError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")
    recipe, source, folder = Recipe(**settings).for_model(model), Source(texts, text_column, shard_texts), Path(folder)
    head = recipe.split(model)[1]
    manifest = _begin(folder, Manifest(encoder_fingerprint(model), head.hidden_dim, recipe.settings(source)))
    finished = {number for number, shard in manifest.shards.items() if _is_whole(folder, shard)}
    known_total = len(texts) if isinstance(texts, list) else None
    with tqdm(total=known_total, desc="Encoding", unit="text", disable=not show_progress_bar) as bar:
        if engine == "ray":
            from bsa_st.encoding.ray_engine import encode_on_ray

            actors = 1 if processes is None else processes
            encoded = encode_on_ray(model, recipe, source, finished, actors, device, bar.update)
        else:
            encoded = encode_locally(model, recipe, source, finished, choose_devices(device, processes), bar.update)
        total = sum(_keep(folder, manifest, done) for done in encoded)
    if total != sum(shard.texts for shard in manifest.shards.values()):
        raise BSAError(f"{folder} was begun with more texts than the {total} given now; choose another folder")
    replace(manifest, texts=total, complete=True).write(folder)
    return ShardedCodes.open(folder)


def _keep(folder: Path, manifest: Manifest, done: Encoded) -> int:
    """Write a shard's codes, if it has new ones, and enter it in the manifest; its number of texts."""
    known = manifest.shards.get(done.number)
    if known is not None and (known.texts, known.texts_sha256) != (done.size, done.sha256):
        raise BSAError(f"{folder} was begun with other texts: shard {done.number} differs; choose another folder")
    if done.codes is not None:
        manifest.shards[done.number] = _write_shard(folder, done, done.codes)
        manifest.write(folder)
    return done.size


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
    manifest = read_manifest(folder)
    _check_same(folder, manifest, fresh)
    for name in names:
        if name.startswith(".") and name.count(".") > 3:
            remove_leftovers(folder / name[1:].rsplit(".", 2)[0])
    return replace(manifest, complete=False, texts=0)


def _check_same(folder: Path, old: Manifest, new: Manifest) -> None:
    for name, value in new.settings.items():
        if old.settings.get(name) != value:
            raise BSAError(
                f"{folder} was begun with {name} = {old.settings.get(name)}, not {value}; give the same settings or choose another folder"
            )
    if old.model_sha256 != new.model_sha256:
        raise BSAError(f"{folder} holds codes of another model; choose another folder")
    if old.hidden_dim != new.hidden_dim:
        raise BSAError(f"{folder / FILE}: hidden_dim is not that of the model; choose another folder")


def _is_whole(folder: Path, shard: Shard) -> bool:
    try:
        read_shard(folder, shard)
    except BSAError:
        return False
    return True


def _write_shard(folder: Path, done: Encoded, codes: BinaryCodes) -> Shard:
    raw = codefile.encode(codes)
    name = shard_name(done.number)
    with atomic_file(folder / name) as file:
        file.write(raw)
    return Shard(done.number, name, done.size, len(raw), hashlib.sha256(raw).hexdigest(), done.sha256)
