"""The documents of an index: codes, ids, texts and tags, list after list. Never changed, only replaced."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder
from bsa_st.codes.scoring import inverse_norms
from bsa_st.errors import BSAError
from bsa_st.search.fields import Tags, Texts
from bsa_st.search.ids import rows_of, smallest
from bsa_st.search.lists import HammingLists, assign_lists

PACKED_UP_TO = 1024
"""Widest codes that are held as bits whatever they hold; wider ones in their smaller form."""


class Lengths(NamedTuple):
    """``1 / |x_hat|`` to about 1e-5 in two bytes: its logarithm in steps, uint16 (m,); ``scale`` float64 (2,), the smallest one and the step."""

    steps: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, inverse: np.ndarray) -> Lengths:
        logs = np.log(inverse.astype(np.float64))
        low, high = (logs.min(), logs.max()) if len(logs) else (0.0, 0.0)
        scale = np.array([low, max(high - low, 1e-12) / 65535])
        return cls(np.round((logs - low) / scale[1]).astype(np.uint16), scale)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """``1 / |x_hat|`` of some documents, float32."""
        return np.exp(self.scale[0] + self.scale[1] * self.steps[rows]).astype(np.float32)


def held(codes: BinaryCodes) -> BinaryCodes:
    """Codes in the form that an index holds."""
    if codes.is_packed or (codes.hidden_dim > PACKED_UP_TO and codes.nbytes_as("packed") > codes.nbytes_as("ids")):
        return codes
    return BinaryCodes.from_packed(codes.to_packed(), codes.hidden_dim)


@dataclass(frozen=True, eq=False)
class Segment:
    """n documents in the order of their lists.

    Attributes:
        codes: n codes.
        ids: Distinct, uint32 or int64 (n,).
        starts: Where each list starts, int64: [0, n] without centroids, else (lists + 2,): the last list holds what was added since.
        centroids: Of the lists, float32 (lists, d); None without.
        lengths: ``1 / |x_hat|`` of the documents in lists but the last.
        live: Which are not deleted, bool (n,); None for all.
        texts: Their texts, or None.
        tags: Their tags, or None.
    """

    codes: BinaryCodes
    ids: np.ndarray
    starts: np.ndarray
    centroids: np.ndarray | None = None
    lengths: Lengths = Lengths.of(np.zeros(0))
    live: np.ndarray | None = None
    texts: Texts | None = None
    tags: Tags | None = None

    @classmethod
    def of(cls, codes: BinaryCodes, ids: np.ndarray, texts: Texts | None = None, tags: Tags | None = None) -> Segment:
        """Documents without lists."""
        return cls(held(codes), smallest(ids), np.array([0, len(ids)]), texts=texts, tags=tags)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> np.ndarray:
        """Rows of documents that are not deleted, int64."""
        return np.arange(len(self)) if self.live is None else np.flatnonzero(self.live)

    @property
    def recent(self) -> int:
        """Documents that were added since the others were put into lists."""
        return 0 if self.centroids is None else int(self.starts[-1] - self.starts[-2])

    @cached_property
    def hamming(self) -> HammingLists:
        """The packed codes as faiss' lists."""
        return HammingLists(self.codes.to_packed(), self.starts)

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, int64; -1 where it is not there."""
        if self.live is None:
            return rows_of(self.ids, ids)
        rows = rows_of(
            self.ids[self.live], ids
        )  # an id can be there twice: of a document that was replaced, and of the new one
        return np.where(rows >= 0, self.rows[rows] if len(self.rows) else -1, -1)

    def rows_of(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, int64; raises :class:`BSAError` where one is not there."""
        rows = self.find(ids)
        if (rows < 0).any():
            raise BSAError(f"id {ids[rows < 0][0]} is not in the index")
        return rows

    def inverse(self, rows: np.ndarray, decoder: Decoder) -> np.ndarray:
        """``1 / |x_hat|`` of some documents, float32."""
        known = rows < len(self.lengths.steps)
        if known.all():
            return self.lengths.take(rows)
        out = np.empty(len(rows), np.float32)
        out[known] = self.lengths.take(rows[known])
        out[~known] = inverse_norms(self.codes[rows[~known]], *decoder)
        return out

    def with_added(self, new: Segment) -> Segment:
        """These documents and new ones, which come last; those without texts or tags have empty ones where others have some."""
        texts, tags = self.texts, self.tags
        if texts is not None or new.texts is not None:
            texts = (texts or Texts.blank(len(self))).followed_by(new.texts or Texts.blank(len(new)))
        if tags is not None or new.tags is not None:
            tags = (tags or Tags.blank(len(self))).followed_by(new.tags or Tags.blank(len(new)))
        return replace(
            self,
            codes=BinaryCodes.concatenate([self.codes, new.codes]),
            ids=smallest(np.concatenate([self.ids.astype(np.int64), new.ids])),
            starts=np.append(self.starts[:-1], len(self) + len(new)),
            live=None if self.live is None else np.append(self.live, np.ones(len(new), bool)),
            texts=texts,
            tags=tags,
        )

    def without(self, rows: np.ndarray) -> Segment:
        """The same with some documents marked as deleted."""
        live = np.ones(len(self), bool) if self.live is None else self.live.copy()
        live[rows] = False
        return replace(self, live=live)

    def arranged(self, centroids: np.ndarray | None, decoder: Decoder | None) -> Segment:
        """The documents that are not deleted, in the lists of these centroids."""
        rows, lengths, starts = self.rows, self.lengths, np.array([0, 0])
        if centroids is not None and decoder is not None:
            first = 0 if centroids is not self.centroids else int(self.starts[-2])  # the first that has no list yet
            lists, inverse = assign_lists(self.codes[np.arange(first, len(self))], decoder, centroids)
            lists = np.concatenate([np.repeat(np.arange(len(centroids)), np.diff(self.starts[:-1])), lists]) if first else lists
            inverse = np.concatenate([self.lengths.take(np.arange(first)), inverse])
            rows = rows[np.argsort(lists[rows], kind="stable")]
            starts, lengths = np.searchsorted(lists[rows], np.arange(len(centroids) + 2)), Lengths.of(inverse[rows])
        starts[-1] = len(rows)
        texts, tags = (None if field is None else field.take(rows) for field in (self.texts, self.tags))
        ids, starts = smallest(self.ids[rows]), starts.astype(np.int64)
        return Segment(self.codes[rows], ids, starts, centroids, lengths, texts=texts, tags=tags)  # type: ignore[arg-type]

    # -- as arrays --------------------------------------------------------------------------------------------------

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        arrays = {"ids": self.ids, "starts": self.starts, "lengths": self.lengths.steps, "length_scale": self.lengths.scale}
        if self.codes.is_packed:
            arrays |= {"packed": self.codes.to_packed()}
        else:
            arrays |= {"features": self.codes.ids, "feature_starts": self.codes.indptr}
        if self.live is not None:
            arrays["live"] = self.live
        if self.centroids is not None:
            arrays["centroids"] = self.centroids
        if self.texts is not None:
            arrays |= {"texts": self.texts.blob, "text_starts": self.texts.starts}
        if self.tags is not None:
            names, rows = Texts.of(self.tags.names), self.tags.rows
            arrays |= {"tags": rows.ids, "tag_starts": rows.indptr, "tag_names": names.blob, "tag_name_starts": names.starts}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], hidden_dim: int) -> Segment:
        """Inverse of :meth:`to_arrays`; raises KeyError or ValueError where arrays are missing or do not fit together."""
        if "packed" in arrays:
            codes = BinaryCodes.from_packed(arrays["packed"], hidden_dim)
        else:
            codes = BinaryCodes(arrays["features"], arrays["feature_starts"], hidden_dim)
        centroids, lengths = arrays.get("centroids"), Lengths(arrays["lengths"], arrays["length_scale"])
        texts = Texts(arrays["texts"], arrays["text_starts"]) if "texts" in arrays else None
        tags = None
        ids, starts, lists = arrays["ids"], arrays["starts"], 0 if centroids is None else len(centroids) + 1
        fits = ids.shape == (len(codes),) and starts.shape == (max(lists, 1) + 1,) and _rises(starts, len(codes))
        fits = fits and lengths.steps.shape == (0 if centroids is None else starts[-2],) and lengths.scale.shape == (2,)
        if texts is not None:
            fits = fits and len(texts) == len(codes) and _rises(texts.starts, texts.blob.size)
        if "tags" in arrays:
            names = Texts(arrays["tag_names"], arrays["tag_name_starts"])
            fits = fits and _rises(names.starts, names.blob.size)
            tags = Tags(
                tuple(names.strings(np.arange(len(names)))),
                BinaryCodes(arrays["tags"], arrays["tag_starts"], max(1, len(names))),
            )
            fits = fits and len(tags) == len(codes)
        if not fits or any(array.dtype.kind not in kinds for array, kinds in ((ids, "iu"), (lengths.steps, "u"))):
            raise ValueError
        return cls(codes, ids, starts, centroids, lengths, texts=texts, tags=tags)


def _rises(starts: np.ndarray, last: int) -> bool:
    """Whether these are int64, from 0 to the last, never falling."""
    return bool(starts.dtype == np.int64 and starts[0] == 0 and starts[-1] == last and (np.diff(starts) >= 0).all())
