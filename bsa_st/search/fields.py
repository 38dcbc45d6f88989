"""What an index keeps of documents beside their codes: their texts, and the tags that they are filtered and counted by."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError

TagNames = Iterable[Sequence[str | tuple[str, float]]]
"""The tags of each document: names, or pairs of a name and its strength as :func:`bsa_st.tags` gives them."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts end to end: ``blob`` of UTF-8, uint8, and where each starts, int64 (n + 1,)."""

    blob: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        encoded = [text.encode("utf-8", "replace") for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts)

    @classmethod
    def blank(cls, count: int) -> Texts:
        return cls(np.zeros(0, np.uint8), np.zeros(count + 1, np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def strings(self, rows: np.ndarray) -> list[str]:
        """Some of the texts."""
        return [bytes(self.blob[self.starts[row] : self.starts[row + 1]]).decode("utf-8", "replace") for row in rows.tolist()]

    def take(self, rows: np.ndarray) -> Texts:
        return Texts.of(self.strings(rows))

    def followed_by(self, other: Texts) -> Texts:
        return Texts(np.concatenate([self.blob, other.blob]), np.concatenate([self.starts, other.starts[1:] + self.starts[-1]]))


@dataclass(frozen=True, eq=False)
class Tags:
    """Which document has which name: ``rows`` holds the places of its names among ``names``, as codes of so many features."""

    names: tuple[str, ...]
    rows: BinaryCodes

    @classmethod
    def of(cls, documents: TagNames, known: tuple[str, ...] = ()) -> Tags:
        """Tags of documents; names that are not ``known`` come after those that are. Raises :class:`BSAError` where a tag is no text."""
        places = {name: place for place, name in enumerate(known)}
        ids: list[int] = []
        starts = [0]
        for document in documents:
            listed = isinstance(document, (list, tuple))
            names: list[str] = [tag[0] if isinstance(tag, tuple) else tag for tag in document] if listed else [""]
            if not all(isinstance(name, str) and name for name in names):
                raise BSAError(f"the tags of a document are a list of names, got {document!r} for number {len(starts)}")
            ids += sorted({places.setdefault(name, len(places)) for name in names})
            starts.append(len(ids))
        return cls(tuple(places), BinaryCodes(np.array(ids, np.int64), starts, max(1, len(places))))

    @classmethod
    def blank(cls, count: int) -> Tags:
        return cls.of([[]] * count)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: np.ndarray) -> Tags:
        return Tags(self.names, self.rows[rows])

    def followed_by(self, other: Tags) -> Tags:
        """Both, where the names of one begin those of the other."""
        names = max(self.names, other.names, key=len)
        parts = [BinaryCodes(rows.ids, rows.indptr, max(1, len(names))) for rows in (self.rows, other.rows)]
        return Tags(names, BinaryCodes.concatenate(parts))

    def having(self, name: str) -> np.ndarray:
        """Which documents have a name, bool (n,); raises :class:`BSAError` with the nearest name where there is no such name."""
        if name not in self.names:
            folded = {own.casefold(): own for own in self.names}
            near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
            raise BSAError(f"no tag is named {name!r}" + (f"; the nearest is {folded[near[0]]!r}" if near else ""))
        found = np.zeros(len(self), bool)
        places = np.flatnonzero(self.rows.ids == self.names.index(name))
        found[np.searchsorted(self.rows.indptr, places, "right") - 1] = True
        return found

    def counts(self, rows: np.ndarray) -> list[tuple[str, int]]:
        """The names that some documents have, with how many of these, most first."""
        counts = np.bincount(self.rows[rows].ids, minlength=len(self.names))
        return [(self.names[place], int(counts[place])) for place in np.argsort(-counts, kind="stable") if counts[place]]
