"""What an index keeps of documents beside their codes: their texts, and the tags that they are filtered and counted by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bsa_st.codes.binary_codes import id_dtype
from bsa_st.errors import BSAError

TagNames = Iterable[Sequence[str | tuple[str, float]]]
"""The tags of each document: names, or pairs of a name and its strength as :func:`bsa_st.tags` gives them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of different lengths end to end: ``values`` (m,), and where each row starts, int64 (n + 1,)."""

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, lengths: npt.ArrayLike) -> Rows:
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    @classmethod
    def blank(cls, count: int) -> Rows:
        return cls(np.zeros(0, np.uint8), np.zeros(count + 1, np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: np.ndarray) -> Rows:
        values = np.concatenate([self.values[:0], *(self[row] for row in rows.tolist())])
        return Rows.of(values, np.diff(self.starts)[rows])

    def followed_by(self, other: Rows) -> Rows:
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return Rows(np.concatenate([self.values, other.values]), starts)


def rows_of_texts(texts: Iterable[str]) -> Rows:
    """Texts as rows of UTF-8, uint8."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    return Rows.of(np.frombuffer(b"".join(encoded), np.uint8), [len(text) for text in encoded])


def texts_of_rows(rows: Rows, which: np.ndarray) -> list[str]:
    """Inverse of :func:`rows_of_texts`, of some rows."""
    return [bytes(rows[row]).decode("utf-8", "replace") for row in which.tolist()]


def rows_of_tags(documents: TagNames, known: tuple[str, ...]) -> tuple[Rows, tuple[str, ...]]:
    """Tags as rows of places among names; names that are not ``known`` come after those that are. Raises :class:`BSAError` where one is no text."""
    places = {name: place for place, name in enumerate(known)}
    found: list[list[int]] = []
    for document in documents:
        listed = isinstance(document, (list, tuple))
        names: list[str] = [tag[0] if isinstance(tag, tuple) else tag for tag in document] if listed else [""]
        if not all(isinstance(name, str) and name for name in names):
            raise BSAError(f"the tags of a document are a list of names, got {document!r} for number {len(found) + 1}")
        found.append(sorted({places.setdefault(name, len(places)) for name in names}))
    flat = np.array([place for row in found for place in row], id_dtype(len(places)))
    return Rows.of(flat, [len(row) for row in found]), tuple(places)
