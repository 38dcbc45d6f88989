"""Documents that lie together: their codes, ids and texts, list after list. Never changed, only replaced."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder
from bsa_st.codes.scoring import inverse_norms
from bsa_st.search.ids import smallest
from bsa_st.search.lists import HammingLists, assign_lists

PACKED_UP_TO = 1024
"""Widest codes that are held as bits whatever they hold; wider ones in their smaller form."""


class Texts(NamedTuple):
    """Texts end to end: ``blob`` of UTF-8, uint8, and where each starts, int64 (n + 1,)."""

    blob: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Texts from strings."""
        encoded = [text.encode("utf-8", "replace") for text in texts]
        starts = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), starts)

    def take(self, rows: np.ndarray) -> list[str]:
        """Some of the texts, as strings."""
        return [bytes(self.blob[self.starts[row] : self.starts[row + 1]]).decode("utf-8", "replace") for row in rows.tolist()]


class Segment:
    """Documents in the order of their lists.

    Args:
        codes: n codes.
        ids: Distinct, uint32 or int64 (n,).
        starts: Where each list starts, int64 (lists + 1,); [0, n] without lists.
        inverse: ``1 / |x_hat|``, float32 (n,), known since the documents were put into lists; None without lists.
        live: Which are not deleted, bool (n,); None for all.
        texts: Their texts, or None.
    """

    def __init__(
        self,
        codes: BinaryCodes,
        ids: np.ndarray,
        starts: np.ndarray,
        inverse: np.ndarray | None = None,
        live: np.ndarray | None = None,
        texts: Texts | None = None,
    ) -> None:
        self.codes, self.ids, self.starts, self.inverse, self.live, self.texts = codes, ids, starts, inverse, live, texts

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def count(self) -> int:
        """Documents that are not deleted."""
        return len(self) if self.live is None else int(np.count_nonzero(self.live))

    @cached_property
    def hamming(self) -> HammingLists:
        """The packed codes as faiss' lists."""
        return HammingLists(self.codes.to_packed(), self.starts)

    def inverse_of(self, rows: np.ndarray, decoder: Decoder) -> np.ndarray:
        """``1 / |x_hat|`` of some documents, float32."""
        return inverse_norms(self.codes[rows], *decoder) if self.inverse is None else self.inverse[rows]

    def without(self, rows: np.ndarray) -> Segment:
        """The same with some documents marked as deleted."""
        live = np.ones(len(self), bool) if self.live is None else self.live.copy()
        live[rows] = False
        return Segment(self.codes, self.ids, self.starts, self.inverse, live, self.texts)


def held(codes: BinaryCodes) -> BinaryCodes:
    """Codes in the form that an index holds."""
    if codes.is_packed or (codes.hidden_dim > PACKED_UP_TO and codes.nbytes_as("packed") > codes.nbytes_as("ids")):
        return codes
    return BinaryCodes.from_packed(codes.to_packed(), codes.hidden_dim)


def unsorted(codes: BinaryCodes, ids: np.ndarray, texts: Sequence[str] | None) -> Segment:
    """A segment without lists."""
    starts = np.array([0, len(ids)], np.int64)
    return Segment(held(codes), smallest(ids), starts, texts=None if texts is None else Texts.of(texts))


def merged(segments: Sequence[Segment], centroids: np.ndarray | None, decoder: Decoder | None) -> Segment:
    """One segment of the documents of several that are not deleted, in lists where there are centroids."""
    rows = [np.arange(len(one)) if one.live is None else np.flatnonzero(one.live) for one in segments]
    if len(segments) == 1 and segments[0].live is None and centroids is None and len(segments[0].starts) == 2:
        return segments[0]
    whole = [one.live is None for one in segments]
    parts = [one.codes if all_ else one.codes[row] for one, row, all_ in zip(segments, rows, whole, strict=True)]
    codes = parts[0] if len(parts) == 1 else BinaryCodes.concatenate(parts)
    ids = smallest(np.concatenate([one.ids[row].astype(np.int64) for one, row in zip(segments, rows, strict=True)]))
    order, inverse = None, None
    starts = np.array([0, len(ids)], np.int64)
    if centroids is not None:
        assert decoder is not None
        known = [_list_of(one, len(centroids), decoder, centroids) for one in segments]
        lists = np.concatenate([numbers[row] for (numbers, _), row in zip(known, rows, strict=True)])
        inverse = np.concatenate([values[row] for (_, values), row in zip(known, rows, strict=True)])
        order = np.argsort(lists, kind="stable")
        starts = np.searchsorted(lists[order], np.arange(len(centroids) + 1)).astype(np.int64)
        codes, ids, inverse = codes[order], ids[order], inverse[order]
    texts = None
    if any(one.texts is not None for one in segments):
        strings = [
            text
            for one, row in zip(segments, rows, strict=True)
            for text in (one.texts.take(row) if one.texts is not None else [""] * len(row))
        ]
        texts = Texts.of(strings if order is None else [strings[place] for place in order.tolist()])
    return Segment(held(codes), ids, starts, inverse, texts=texts)


def _list_of(segment: Segment, count: int, decoder: Decoder, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The list of each document and its ``1 / |x_hat|``."""
    if segment.inverse is not None and len(segment.starts) == count + 1:
        return np.repeat(np.arange(count), np.diff(segment.starts)), segment.inverse
    return assign_lists(segment.codes, decoder, centroids)
