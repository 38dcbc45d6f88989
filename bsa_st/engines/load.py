"""A codes file streamed into an engine: in bounded memory, resumable, idempotent."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from tqdm import tqdm

from bsa_st.codes.decoder import as_decoder
from bsa_st.codes.scoring import inverse_norms
from bsa_st.codes.stream import stream_codes
from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Layout, Unavailable
from bsa_st.engines.retry import FIRST_WAIT, with_retries
from bsa_st.errors import BSAError


class Loaded(NamedTuple):
    """What a load did: documents of the file, those that were sent, and those that were there already."""

    documents: int
    sent: int
    found: int


def load_codes(
    engine: Engine,
    path: str | Path,
    *,
    payloads: str | Path | None = None,
    first_id: int = 0,
    batch_size: int = 1000,
    asymmetric: bool | None = None,
    decoder: Any = None,
    form: str = "sparsevec",
    replace: bool = False,
    attempts: int = 5,
    wait: float = FIRST_WAIT,
    show_progress_bar: bool = False,
) -> Loaded:
    """Load a codes file or a folder of shards; afterwards every document of it is in the collection, once.

    Documents carry a name of the file's content, its *source*: batches that are there from the same source are passed over, so that a load
    that was interrupted, by whatever, goes on where it stopped when it is called again.

    Args:
        engine: The collection, created if there is none.
        path: Codes file or folder of shards; a block of 65,536 texts, or a shard, is in memory at a time.
        payloads: ``.jsonl`` or ``.jsonl.gz`` file with one object per text.
        first_id: Id of the first document; the others count up from it.
        batch_size: Documents per request.
        asymmetric: Keep factors, for float queries. Default: if there is a decoder.
        decoder: The model (or its head, or V and c) that made the codes: gives the factors.
        form: Column type in PostgreSQL.
        replace: Replace documents of other sources that have the same ids.
        attempts: Calls at most while the server does not answer.
        wait: Seconds before the second call, doubled for each further one.
        show_progress_bar: Show a bar.

    Raises:
        BSAError: If a file or a setting cannot be used, an id is taken, or the server refuses or stays away; what was sent until then is
            in the collection, and the same call goes on from there.
    """
    if batch_size < 1 or first_id < 0:
        raise BSAError(f"batch_size must be at least 1 and first_id not negative, got {batch_size} and {first_id}")
    stream = stream_codes(path, batch_size)
    known = as_decoder(decoder, stream.hidden_dim)
    if asymmetric is None:
        asymmetric = known is not None
    if asymmetric and known is None:
        raise BSAError("asymmetric queries need the model that made the codes")
    marks = [stream.checksum, first_id, 0 if payloads is None else check_payloads(Path(payloads), stream.texts)]
    if asymmetric and known is not None:
        marks.append(zlib.crc32(known.weight.tobytes()))
    source = f"{zlib.crc32(repr(marks).encode()):08x}"
    records = None if payloads is None else read_payloads(Path(payloads))
    done = sent = 0
    try:
        with_retries(lambda: engine.create(Layout(stream.hidden_dim, asymmetric, form)), attempts, wait)
        empty = with_retries(engine.count, attempts, wait) == 0
        with tqdm(total=stream.texts, unit=" documents", disable=not show_progress_bar) as bar:
            for codes in stream.batches:
                ids = list(range(first_id + done, first_id + done + len(codes)))
                own = None if records is None else list(islice(records, len(codes)))
                if empty or not _is_there(engine, ids, source, replace, attempts, wait):
                    factors = inverse_norms(codes, *known) if asymmetric and known is not None else None
                    with_retries(_upserting(engine, ids, codes, own, factors, source), attempts, wait)
                    sent += len(codes)
                done += len(codes)
                bar.update(len(codes))
        with_retries(engine.finish, attempts, wait)
    except Unavailable as error:
        raise BSAError(
            f"{error}; the first {done} of {stream.texts} documents are loaded, the same command goes on from there"
        ) from error
    return Loaded(done, sent, done - sent)


def _upserting(engine: Engine, ids: list[int], codes: Any, own: Any, factors: np.ndarray | None, source: str) -> Any:
    return lambda: engine.upsert(ids, codes, own, factors=factors, source=source)


def _is_there(engine: Engine, ids: list[int], source: str, replace: bool, attempts: int, wait: float) -> bool:
    found = with_retries(lambda: engine.sources(ids), attempts, wait)
    others = sum(found.values()) - found.get(source, 0)
    if others and not replace:
        raise BSAError(
            f"{others} of the ids {ids[0]} to {ids[-1]} are taken by documents of another file; choose another first id or "
            "collection, or replace them (--replace)"
        )
    return found.get(source, 0) == len(ids)


def check_payloads(path: Path, texts: int) -> int:
    """Checksum of a payload file.

    Raises:
        BSAError: If it cannot be read, or has another number of lines than there are texts, or one is no JSON object.
    """
    checksum = lines = 0
    for record in read_payloads(path):
        checksum = zlib.crc32(json.dumps(record).encode(), checksum)
        lines += 1
    if lines != texts:
        raise BSAError(f"{path} has {lines} lines for {texts} texts")
    return checksum


def read_payloads(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a ``.jsonl`` or ``.jsonl.gz`` file, line by line."""
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):  # noqa: B007  # named in messages
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not a JSON object")
                yield record
    except (OSError, EOFError, ValueError) as error:
        raise BSAError(f"{path}, line {number or 1}: {getattr(error, 'strerror', None) or error}") from error


def _open(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")
