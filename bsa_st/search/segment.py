"""The documents of an index: codes, ids, texts and tags, list after list. Never changed, only replaced."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.binary_codes import id_dtype
from bsa_st.codes.scoring import Decoder, as_decoder, inverse_norms
from bsa_st.errors import BSAError
from bsa_st.search.lists import HammingLists, assign_lists

PACKED_UP_TO = 1024  # widest codes that are held as bits whatever they hold; wider ones in their smaller form


TagNames = Iterable[Sequence[str | tuple[str, float]]]
"""The tags of each document: names, or pairs of a name and its strength as :func:`bsa_st.tags` gives them."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of different lengths end to end: ``values`` (m,), and where each row starts, int64 (n + 1,)."""

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Any], dtype: npt.DTypeLike = np.uint8) -> Rows:
        """Rows of bytes, or of arrays of one type."""
        return cls(np.frombuffer(b"".join(rows), dtype), np.cumsum([0, *map(len, rows)]))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: np.ndarray) -> Rows:
        return Rows.of([self[row] for row in rows.tolist()], self.values.dtype)

    def followed_by(self, other: Rows) -> Rows:
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return Rows(np.concatenate([self.values, other.values]), starts)


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
        return np.exp(self.scale[0] + self.scale[1] * self.steps[rows]).astype(np.float32)


def held(codes: BinaryCodes) -> BinaryCodes:
    """Codes in the form that an index holds."""
    if codes.is_packed or (codes.hidden_dim > PACKED_UP_TO and codes.nbytes_as("packed") > codes.nbytes_as("ids")):
        return codes
    return BinaryCodes.from_packed(codes.to_packed(), codes.hidden_dim)


@dataclass(frozen=True, eq=False)
class Segment:
    """n documents in the order of their lists."""

    codes: BinaryCodes
    ids: np.ndarray  # distinct, uint32 or int64 (n,)
    starts: np.ndarray  # of each list, int64: [0, n] without centroids, else (lists + 2,): the last holds what was added since
    decoder: Decoder | None  # of the codes
    centroids: np.ndarray | None = None  # of the lists, float32 (lists, d); None without
    lengths: Lengths = Lengths.of(np.zeros(0))  # ``1 / |x_hat|`` of the documents in lists but the last
    live: np.ndarray | None = None  # which are not deleted, bool (n,); None for all
    texts: Rows | None = None  # in UTF-8
    tags: Rows | None = None  # as places in ``tag_names``
    tag_names: tuple[str, ...] = ()

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
        """Rows of those ids that are there, int64, in the order of the ids' size."""
        rows = np.flatnonzero(np.isin(self.ids, ids))
        if self.live is not None:  # an id can be there twice: of a document that was replaced, and of the new one
            rows = rows[self.live[rows]]
        return rows[np.argsort(self.ids[rows])]

    def rows_of(self, ids: npt.ArrayLike) -> np.ndarray:
        """Row of each id, int64; raises :class:`BSAError` where one is not there."""
        given = np.asarray(ids)
        wanted = check_ids(np.unique(given) if given.ndim == 1 else given)
        rows = self.find(wanted)
        if len(rows) < len(wanted):
            raise BSAError(f"id {np.setdiff1d(wanted, self.ids[rows])[0]} is not in the index")
        return rows[np.searchsorted(wanted, given)]

    def inverse(self, rows: np.ndarray) -> np.ndarray:
        """``1 / |x_hat|`` of some documents, float32."""
        assert self.decoder is not None
        known = rows < len(self.lengths.steps)
        if known.all():
            return self.lengths.take(rows)
        out = np.empty(len(rows), np.float32)
        out[known] = self.lengths.take(rows[known])
        out[~known] = inverse_norms(self.codes[rows[~known]], *self.decoder)
        return out

    def allowed(self, only: npt.ArrayLike | None, with_tags: Sequence[str], without_tags: Sequence[str]) -> np.ndarray | None:
        """Which documents :meth:`bsa_st.Index.search` may find, bool (n,); None for all."""
        masks = [] if self.live is None else [self.live]
        if only is not None:
            given, mask, rows = np.asarray(only), np.zeros(len(self), bool), self.rows
            if given.dtype == bool and given.shape != rows.shape:
                raise BSAError(f"a mask must have one entry for each of the {len(rows)} documents, got shape {given.shape}")
            if given.ndim != 1 or (given.size and given.dtype.kind not in "biu"):
                raise BSAError(f"filter must be a boolean mask or a list of ids, got {given.dtype} of shape {given.shape}")
            mask[rows] = given if given.dtype == bool else np.isin(self.ids[rows], given.astype(np.int64))
            masks.append(mask)
        for argument, names in (("with_tags", with_tags), ("without_tags", without_tags)):
            if isinstance(names, str):
                raise BSAError(f"{argument} is a list of names, got the text {names!r}")
            for name in names:
                if self.tags is None:
                    raise BSAError(f"{argument} needs an index with tags: Index.build(..., tags=bsa_st.tags(model, texts))")
                if name not in self.tag_names:
                    folded = {own.casefold(): own for own in self.tag_names}
                    near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
                    raise BSAError(f"no tag is named {name!r}" + (f"; the nearest is {folded[near[0]]!r}" if near else ""))
                having = np.zeros(len(self), bool)
                places = np.flatnonzero(self.tags.values == self.tag_names.index(name))
                having[np.searchsorted(self.tags.starts, places, "right") - 1] = True
                masks.append(having == (argument == "with_tags"))
        return np.logical_and.reduce(masks) if masks else None

    def with_added(self, codes: BinaryCodes, ids: np.ndarray, texts: Sequence[str] | None, tags: TagNames | None) -> Segment:
        """These documents and new ones, which come last; those without texts or tags have empty ones where others have some.

        Raises:
            BSAError: If the codes have another width, there are not as many texts or tags, a tag is no text, or an id is there.
        """
        if codes.hidden_dim != self.codes.hidden_dim:
            raise BSAError(f"the index has {self.codes.hidden_dim} features, the codes {codes.hidden_dim}")
        codes, count, own = held(codes), len(codes), len(self)
        all_texts, all_tags, names = None, None, self.tag_names
        if texts is not None or self.texts is not None:
            new_texts = Rows.of([text.encode("utf-8", "replace") for text in ([""] * count if texts is None else texts)])
            all_texts = (self.texts or Rows.of([b""] * own)).followed_by(new_texts)
        if tags is not None or self.tags is not None:
            new_tags, names = rows_of_tags([()] * count if tags is None else tags, names)
            all_tags = (self.tags or Rows.of([b""] * own)).followed_by(new_tags)
        for kind, joined in (("texts", all_texts), ("lists of tags", all_tags)):
            if joined is not None and len(joined) != own + count:
                raise BSAError(f"{count} documents need {count} {kind}, got {len(joined) - own}")
        if len(taken := self.find(ids)):
            raise BSAError(f"id {self.ids[taken[0]]} is already in the index")
        return replace(
            self,
            codes=BinaryCodes.concatenate([self.codes, codes]) if own else codes,
            ids=np.concatenate([self.ids, _smallest(ids)]),
            starts=np.append(self.starts[:-1], own + count),
            live=None if self.live is None else np.append(self.live, np.ones(count, bool)),
            texts=all_texts,
            tags=all_tags,
            tag_names=names,
        )

    def without(self, rows: np.ndarray) -> Segment:
        """The same with some documents marked as deleted."""
        live = np.ones(len(self), bool) if self.live is None else self.live.copy()
        live[rows] = False
        return replace(self, live=live)

    def arranged(self, centroids: np.ndarray | None) -> Segment:
        """The documents that are not deleted, in the lists of these centroids."""
        rows, lengths, starts = self.rows, self.lengths, np.array([0, 0])
        if centroids is not None and self.decoder is not None:
            first = 0 if centroids is not self.centroids else int(self.starts[-2])  # the first that has no list yet
            lists, inverse = assign_lists(self.codes[np.arange(first, len(self))], self.decoder, centroids)
            lists = np.concatenate([np.repeat(np.arange(len(centroids)), np.diff(self.starts[:-1])), lists]) if first else lists
            inverse = np.concatenate([self.lengths.take(np.arange(first)), inverse])
            rows = rows[np.argsort(lists[rows], kind="stable")]
            starts, lengths = np.searchsorted(lists[rows], np.arange(len(centroids) + 2)), Lengths.of(inverse[rows])
        starts[-1] = len(rows)
        return replace(
            self,
            codes=self.codes[rows],
            ids=_smallest(self.ids[rows]),
            starts=starts.astype(np.int64),
            centroids=centroids,
            lengths=lengths,
            live=None,
            texts=None if self.texts is None else self.texts.take(rows),
            tags=None if self.tags is None else self.tags.take(rows),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        lengths, packed = self.lengths, self.codes.is_packed
        arrays = {"ids": self.ids, "starts": self.starts, "lengths": lengths.steps, "length_scale": lengths.scale}
        arrays |= {"packed": self.codes.to_packed()} if packed else {}
        arrays |= {} if self.live is None else {"live": self.live}
        arrays |= {} if self.centroids is None else {"centroids": self.centroids}
        if self.decoder is not None:
            softening = np.array([self.decoder.softening], np.float32)
            arrays |= {"decoder": self.decoder.weight, "offset": self.decoder.offset, "softening": softening}
        features = None if packed else Rows(self.codes.ids, self.codes.indptr)
        for name, rows in {"features": features, "texts": self.texts, "tags": self.tags}.items():
            arrays |= {} if rows is None else {name: rows.values, f"{name}_starts": rows.starts}
        names = np.frombuffer(json.dumps(self.tag_names).encode(), np.uint8)
        return arrays if self.tags is None else {**arrays, "tag_names": names}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray], hidden_dim: int) -> Segment:
        """Inverse of :meth:`to_arrays`; raises KeyError, IndexError, TypeError or ValueError where arrays are missing or do not fit together."""
        decoder, count = None, len(arrays["ids"])
        if "packed" in arrays:
            codes = BinaryCodes.from_packed(arrays["packed"], hidden_dim)
        else:
            codes = BinaryCodes(arrays["features"], arrays["features_starts"], hidden_dim)
        if "decoder" in arrays:
            decoder = as_decoder([arrays["decoder"], arrays["offset"], *arrays["softening"]], hidden_dim)
        texts, tags = (Rows(arrays[name], arrays[f"{name}_starts"]) if name in arrays else None for name in ("texts", "tags"))
        names = tuple(json.loads(bytes(arrays["tag_names"]))) if tags is not None else ()
        lengths, centroids = Lengths(arrays["lengths"], arrays["length_scale"]), arrays.get("centroids")
        segment = cls(codes, arrays["ids"], arrays["starts"], decoder, centroids, lengths, None, texts, tags, names)
        lists = 1 if centroids is None else len(centroids) + 1
        fits = [
            (segment.ids.shape, segment.ids.dtype.kind in "iu") == ((len(codes),), True),
            _rises(segment.starts, lists, count),
            (lengths.steps.shape, lengths.steps.dtype.kind) == ((0 if centroids is None else segment.starts[-2],), "u"),
            lengths.scale.shape == (2,),
            centroids is None or (decoder is not None and centroids.shape[1:] == decoder.offset.shape),
            texts is None or (texts.values.dtype == np.uint8 and _rises(texts.starts, count, texts.values.size)),
            tags is None or (tags.values.dtype.kind == "u" and _rises(tags.starts, count, tags.values.size)),
            tags is None or int(tags.values.max(initial=0)) < max(1, len(names)),
            all(isinstance(name, str) for name in names),
        ]
        if not all(fits):
            raise ValueError(fits)
        return segment


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
    return Rows(flat, np.cumsum([0, *map(len, found)])), tuple(places)


def check_ids(ids: npt.ArrayLike | Iterable[int], count: int | None = None) -> np.ndarray:
    """Ids as int64 (n,); raises :class:`BSAError` where one is no whole number from 0 to 2^63 - 1 or given twice, or there are not ``count``."""
    array = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids))  # type: ignore[arg-type]
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise BSAError(f"ids must be a one-dimensional list of integers, got {array.dtype} of shape {array.shape}")
    if count is not None and len(array) != count:
        raise BSAError(f"{count} documents need {count} ids, got {len(array)}")
    outside = array[(array < 0) | (array > np.iinfo(np.int64).max)]
    if len(outside):
        raise BSAError(f"ids must lie between 0 and 2^63 - 1, got {outside[0]}")
    distinct, times = np.unique(array, return_counts=True)
    if len(distinct) < len(array):
        raise BSAError(f"id {distinct[times > 1][0]} is given more than once")
    return array.astype(np.int64)


def _smallest(ids: np.ndarray) -> np.ndarray:
    return ids.astype(np.uint32 if ids.max(initial=0) < 1 << 32 else np.int64)


def _rises(starts: np.ndarray, count: int, last: int) -> bool:
    """Whether these are starts of so many rows: int64, from 0 to the last, never falling."""
    fits = starts.dtype == np.int64 and starts.shape == (count + 1,)
    return bool(fits and starts[0] == 0 and starts[-1] == last and (np.diff(starts) >= 0).all())
