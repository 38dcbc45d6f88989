"""A codes file streamed into an engine: in bounded memory, safe to run again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tenacity import Retrying, before_sleep_log, retry_if_exception_type, stop_after_attempt, wait_exponential
from tqdm import tqdm

from bsa_st.codes import BinaryCodes
from bsa_st.codes.shards import stream_codes
from bsa_st.engines.base import Engine, Found, Unavailable, keywords
from bsa_st.errors import BSAError
from bsa_st.inputs.texts import numbered_lines, stream_texts
from bsa_st.search.queries import check_counts

LOG = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """What a load did: documents of the file, those that were sent, and those that were there already."""

    documents: int
    sent: int
    found: int


def retrying(attempts: int = 8, wait: float = 0.5) -> Retrying:
    """Calls a function again while the server does not answer, after 0.5, 1, 2, ... seconds, at most 30; the last error is raised."""
    return Retrying(
        retry=retry_if_exception_type(Unavailable),
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=wait, max=30),
        before_sleep=before_sleep_log(LOG, logging.WARNING),
        reraise=True,
    )


def load_codes(
    engine: Engine,
    path: str | Path,
    *,
    payloads: str | Path | None = None,
    first_id: int = 0,
    batch_size: int | None = None,
    replace: bool = False,
    attempts: int = 8,
    show_progress_bar: bool = False,
) -> Loaded:
    """Load a codes file or a folder of shards; afterwards every document of it is in the collection, once.

    Documents that are there already, with the same bits and payload, are passed over: the same call goes on after whatever interrupted it.

    Args:
        engine: The collection, created if there is none.
        path: Codes file or folder of shards; a block of 65,536 texts, or a shard, is in memory at a time.
        payloads: ``.jsonl[.gz]`` with one object per text, or ``.txt[.gz]`` or ``.parquet`` with the texts alone.
        first_id: Id of the first document; the others count up from it.
        batch_size: Documents per request; default the engine's.
        replace: Replace documents that have the same ids and are others.
        attempts: Calls at most while the server does not answer.

    Raises:
        BSAError: If a file or a setting cannot be used, an id is taken, or the server refuses or stays away; what was sent until then is there.
    """
    size = engine.batch_size if batch_size is None else batch_size
    check_counts(batch_size=size)
    hidden_dim, texts, batches = stream_codes(path, size)
    records: Iterator[dict[str, Any]] = repeat({})
    if payloads is not None:
        lines, records = sum(1 for _ in _payloads(Path(payloads), checked=True)), _payloads(Path(payloads))
        if lines != texts:
            raise BSAError(f"{payloads} has {lines} lines for {texts} texts")
    call, done, sent = retrying(attempts), 0, 0
    try:
        call(engine.create, hidden_dim)
        empty = call(engine.count) == 0
        with tqdm(total=texts, unit=" documents", disable=not show_progress_bar) as bar:
            for codes in batches:
                ids = np.arange(first_id + done, first_id + done + len(codes))
                own = list(islice(records, len(codes)))
                if empty or not _is_there(*call(engine.fetch, ids), ids, codes, own, replace):
                    call(engine.upsert, ids, codes, own)
                    sent += len(codes)
                done += len(codes)
                bar.update(len(codes))
        call(engine.finish)
    except Unavailable as error:
        message = f"the first {done} of {texts} documents are loaded, the same command goes on from there"
        raise BSAError(f"{error}; {message}") from error
    return Loaded(done, sent, done - sent)


def _is_there(
    found: Found, payloads: list[dict[str, Any]], ids: np.ndarray, codes: BinaryCodes, own: list[dict[str, Any]], replace: bool
) -> bool:
    """Whether all of a batch is there; raises :class:`BSAError` where ids belong to others that are not to be replaced."""
    rows = found.ids - ids[0]
    same = (found.bits == codes.to_packed()[rows]).all(axis=1)
    same &= np.array([payload == own[row] for payload, row in zip(payloads, rows.tolist(), strict=True)], dtype=bool)
    if not same.all() and not replace:
        taken = f"{np.count_nonzero(~same)} of the ids {ids[0]} to {ids[-1]} are taken by other documents"
        raise BSAError(f"{taken}; choose another first id or collection, or replace them (--replace)")
    return len(rows) == len(ids) and bool(same.all())


def _payloads(path: Path, checked: bool = False) -> Iterator[dict[str, Any]]:
    """The payloads of a file, on the first of its two readings also whether each can be used."""
    if not path.is_file():
        raise BSAError(f"payload file not found: {path}")
    is_json = path.name.endswith((".jsonl", ".jsonl.gz"))
    lines: Iterable[str] = (line for _, line in numbered_lines(path)) if is_json else stream_texts(path)
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line) if is_json else {"text": line}
            if not isinstance(record, dict):
                raise BSAError("not a JSON object")
            if checked:
                keywords(record)
        except ValueError as error:
            raise BSAError(f"{path}, line {number}: {error}") from error
        yield record
