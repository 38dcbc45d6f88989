"""Reading texts from whatever a user has: one string, a list, an iterable, a dataset or a file."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bsa_st.errors import BSAError

Texts = str | Path | Iterable[str]
"""A file as a ``Path``, one text as a ``str``, or texts: a list, a generator, a ``datasets.Dataset`` with the named column, a ``datasets.Column``."""

logger = logging.getLogger("bsa_st")


def read_texts(source: Texts, column: str = "text") -> list[str]:
    """All texts of a source, checked: a list of at least one, in order. Arguments and errors as in :func:`stream_texts`."""
    return list(stream_texts(source, column))


def stream_texts(source: Texts, column: str = "text") -> Iterator[str]:
    """Texts of a source one after the other, each checked when it is read, so that no file has to fit in memory.

    Args:
        source: A ``Path`` to .txt or .txt.gz (one text a line, blank lines left out), .jsonl or .jsonl.gz (an object a line) or .parquet; a
            ``datasets.Dataset``; any iterable of strings; or a ``str``, which is one text.
        column: Field of the objects, the parquet file or the dataset that holds the text.

    Yields:
        At least one non-empty string, in order.

    Raises:
        BSAError: If the file is missing, of an unknown kind or not UTF-8, the column is missing, there is no text,
            or a text is empty, no string or not Unicode (a lone surrogate); the message names the file and the line or position.
    """
    if isinstance(source, Path):
        name, items = str(source), _read_file(source, column)
    elif isinstance(source, str):
        name, items = "the text", iter([source])
    elif hasattr(source, "column_names"):
        name = "the dataset"
        if column not in source.column_names:
            raise BSAError(f"the dataset has no column {column!r}; it has {', '.join(source.column_names)}")
        items = iter(source[column])  # type: ignore[index]  # a datasets.Dataset
    elif isinstance(source, (Mapping, bytes)) or not isinstance(source, Iterable):
        raise BSAError(f"texts must be a str, a list of str, a dataset or a Path to a file, got {type(source).__name__}")
    else:
        name, items = "the texts", iter(source)
    position = 0
    for position, text in enumerate(items, start=1):
        if not isinstance(text, str):
            raise BSAError(f"{name}: item {position} is a {type(text).__name__}, not a string")
        if not text.strip():
            raise BSAError(f"{name}: text {position} is empty; remove empty texts")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BSAError(f"{name}: text {position} is not Unicode: it holds half of a surrogate pair") from error
        yield text
    if position == 0:
        raise BSAError(f"{name}: no text in it")


def _read_file(path: Path, column: str) -> Iterator[str]:
    if not path.is_file():
        raise BSAError(f"text file not found: {path}")
    if path.name.endswith(".parquet"):
        yield from _read_parquet(path, column)
    elif path.name.endswith((".jsonl", ".jsonl.gz")):
        yield from (record[column] for _, record in json_lines(path, column))
    elif path.name.endswith((".txt", ".txt.gz")):
        blank = 0
        for _, line in numbered_lines(path):
            if line.strip():
                yield line
            else:
                blank += 1
        if blank:
            logger.warning("%s: %d blank lines left out; texts are numbered without them", path, blank)
    else:
        raise BSAError(f"{path}: unknown kind of text file; use one of .txt, .txt.gz, .jsonl, .jsonl.gz, .parquet")


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a UTF-8 text file, plain or .gz, numbered from 1, without their line ends; raises :class:`BSAError` on others."""
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise BSAError(f"{path}: not UTF-8 after line {number}: {error.reason}") from error
    except (OSError, EOFError) as error:
        raise BSAError(f"{path}: cannot be read: {error}") from error


def json_lines(path: Path, field: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a .jsonl file, plain or .gz, numbered from 1; raises :class:`BSAError` where a line is none, or has no such field."""
    for number, line in numbered_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BSAError(f"{path}: line {number} is not JSON: {getattr(error, 'msg', error)}") from error
        if not isinstance(record, dict) or field not in record:
            raise BSAError(f"{path}: line {number} has no field {field!r}")
        yield number, record


def _read_parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        if column not in table.schema_arrow.names:
            raise BSAError(f"{path}: no column {column!r}; it has {', '.join(table.schema_arrow.names)}")
        for batch in table.iter_batches(columns=[column]):
            yield from batch.column(0).to_pylist()
    except pa.ArrowException as error:
        raise BSAError(f"{path}: cannot be read as parquet: {error}") from error
