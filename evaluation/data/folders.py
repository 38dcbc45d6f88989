"""Reading and checking local task folders: BEIR-style retrieval and tab-separated sentence pairs, plain or .gz.

Everything is checked when it is read, so that a bad file stops the run before any long work starts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bsa_st import BSAError
from bsa_st.inputs.texts import numbered_lines

RETRIEVAL_FILES = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")
QRELS_COLUMNS = ["query-id", "corpus-id", "score"]
STS_COLUMNS = ("sentence1", "sentence2", "score")


@dataclass(frozen=True)
class RetrievalData:
    """A collection with judgements.

    Attributes:
        corpus: Document id to (title, text).
        queries: Query id to text; only queries with at least one relevant document.
        qrels: Query id to {document id: grade}, grades above 0 relevant.
    """

    corpus: dict[str, tuple[str, str]]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @property
    def documents(self) -> list[str]:
        """What is encoded for each document, exactly as mteb joins title and text."""
        return [f"{title} {text}".strip() for title, text in self.corpus.values()]


@dataclass(frozen=True)
class PairData:
    """Sentence pairs with human ratings; three lists of the same length."""

    sentence1: list[str]
    sentence2: list[str]
    score: list[float]


def read_retrieval(folder: Path) -> RetrievalData:
    """The collection of a folder with corpus.jsonl, queries.jsonl and qrels.tsv.

    Raises:
        BSAError: If a file is missing, empty or malformed (with its line), or the judgements name an unknown id.
    """
    corpus_path, queries_path, qrels_path = (_existing(folder, name) for name in RETRIEVAL_FILES)
    corpus = {key: (title, text) for key, title, text in _records(corpus_path)}
    queries = {key: text for key, _, text in _records(queries_path)}
    qrels = _read_qrels(qrels_path, corpus, queries)
    judged = {key: text for key, text in queries.items() if key in qrels}
    for what, items, path in (("document", corpus, corpus_path), ("judged query", judged, queries_path)):
        if not items:
            raise BSAError(f"{path}: empty split: not one {what}")
    return RetrievalData(corpus, judged, qrels)


def read_pairs(folder: Path) -> PairData:
    """The sentence pairs of ``test.tsv``; raises :class:`BSAError` like :func:`read_retrieval`."""
    path = _existing(folder, "test.tsv")
    lines = numbered_lines(path)
    header = next(lines, (0, ""))[1].split("\t")
    missing = [column for column in STS_COLUMNS if column not in header]
    if missing:
        raise BSAError(f"{path}: line 1 must name the columns {', '.join(STS_COLUMNS)}; {', '.join(missing)} missing")
    first, second, rating = (header.index(column) for column in STS_COLUMNS)
    data = PairData([], [], [])
    for number, line in lines:
        cells = line.split("\t")
        if len(cells) != len(header):
            raise BSAError(f"{path}: line {number} has {len(cells)} columns, not {len(header)}")
        data.sentence1.append(cells[first])
        data.sentence2.append(cells[second])
        data.score.append(_number(cells[rating], path, number))
    if len(data.score) < 2:
        raise BSAError(f"{path}: empty split: {len(data.score)} pairs")
    return data


def read_classes(folder: Path, split: str) -> tuple[list[str], list[str]]:
    """Texts and their classes, of ``<split>.tsv``; raises :class:`BSAError` where it is not there."""
    lines = [line.split("\t") for _, line in numbered_lines(_existing(folder, f"{split}.tsv"))][1:]
    return [line[0] for line in lines], [line[1] for line in lines]


def _existing(folder: Path, name: str) -> Path:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise BSAError(f"{folder / name}: not found (nor {name}.gz)")
    return path


def _records(path: Path) -> Iterator[tuple[str, str, str]]:
    seen = set()
    for number, line in numbered_lines(path):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise BSAError(f"{path}: line {number} is not JSON: {error.msg}") from error
        if not isinstance(record, dict) or "_id" not in record or not isinstance(record.get("text"), str):
            raise BSAError(f"{path}: line {number} must be an object with the fields _id and text")
        key = str(record["_id"])
        if key in seen:
            raise BSAError(f"{path}: line {number} repeats the id {key!r}")
        seen.add(key)
        yield key, str(record.get("title") or ""), record["text"]


def _read_qrels(path: Path, corpus: dict[str, tuple[str, str]], queries: dict[str, str]) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in numbered_lines(path):
        cells = line.split("\t")
        if number == 1 and cells == QRELS_COLUMNS:
            continue
        if len(cells) != len(QRELS_COLUMNS):
            raise BSAError(f"{path}: line {number} has {len(cells)} columns, not {' '.join(QRELS_COLUMNS)}")
        query, document, grade = cells
        if query not in queries:
            raise BSAError(f"{path}: line {number} names the unknown query id {query!r}")
        if document not in corpus:
            raise BSAError(f"{path}: line {number} names the unknown document id {document!r}")
        value = _number(grade, path, number)
        if value > 0:
            qrels.setdefault(query, {})[document] = int(value)
    return qrels


def _number(cell: str, path: Path, number: int) -> float:
    try:
        return float(cell)
    except ValueError as error:
        raise BSAError(f"{path}: line {number}: the score {cell!r} is not a number") from error
