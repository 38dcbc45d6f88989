"""What a search reads: stored codes, postings and the documents that may be found, unchanged by later additions and deletions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.index import store as store_module
from bsa_st.index.postings import WORDS, Classes, Postings, to_words
from bsa_st.index.store import BLOCK, CodeStore
from bsa_st.scoring import decode_scale, inverse_norms

OVERLAP, COSINE, JACCARD, SCALED = range(4)
"""What a counter is turned into, see :func:`bsa_st.index.scan_kernel.score_of`."""


class Decoder(NamedTuple):
    """The decoder of a head: ``weight`` V, float32 (D, d), and ``offset`` c, float32 (d,)."""

    weight: np.ndarray
    offset: np.ndarray


class Counting(NamedTuple):
    """Weighted features of some queries, and what the sum of the weights is worth; see :func:`bsa_st.index.scan_kernel.scan`."""

    features: np.ndarray
    weights: np.ndarray
    indptr: np.ndarray
    measure: int
    own: np.ndarray
    steps: np.ndarray
    bases: np.ndarray
    floors: np.ndarray
    least_value: int


class Found(NamedTuple):
    """Entries: the query, int, the document's position, int64, and its score, float64."""

    queries: np.ndarray
    documents: np.ndarray
    scores: np.ndarray


@dataclass
class Part:
    """Some consecutive blocks, inverted with numba; without it, their decoded codes.

    Attributes:
        first: First block.
        last: Behind the last block.
        sealed: Whether all blocks are full.
        documents: Documents of the index up to the last block.
        frequency: Documents of each feature, int64 (D,).
        postings: With numba.
        codes: Without numba.
        classes: Its documents grouped by size, for each measure that was asked for.
        factors: See :meth:`View.factors`; None until they are needed.
    """

    first: int
    last: int
    sealed: bool
    documents: int
    frequency: np.ndarray
    postings: Postings | None = None
    codes: list[BinaryCodes] = field(default_factory=list)
    classes: dict[int, Classes] = field(default_factory=dict)
    factors: np.ndarray | None = None

    @classmethod
    def build(cls, store: CodeStore, first: int, last: int, *, sealed: bool) -> Part:
        documents = last * BLOCK if sealed else len(store)
        if store_module.HAS_NUMBA:
            postings = Postings.build(store, first, last)
            return cls(first, last, sealed, documents, postings.frequency, postings)
        codes = [store.block_codes(block) for block in range(first, last)]
        frequency = sum((np.bincount(part.ids, minlength=store.hidden_dim) for part in codes), np.zeros(store.hidden_dim, int))
        return cls(first, last, sealed, documents, frequency, codes=codes)

    def extend(self, more: Part) -> Part:
        postings = self.postings.extend(more.postings) if self.postings and more.postings else None
        frequency = self.frequency + more.frequency
        return Part(self.first, more.last, more.sealed, more.documents, frequency, postings, [*self.codes, *more.codes])

    def counts(self) -> np.ndarray:
        """Active features of each document."""
        if self.postings is not None:
            return self.postings.counts
        return np.concatenate([np.zeros(0, np.int64), *(codes.counts for codes in self.codes)])

    @property
    def nbytes(self) -> int:
        return (
            (self.postings.nbytes if self.postings else 0)
            + sum(codes.nbytes_as("memory") for codes in self.codes)
            + sum(classes.nbytes for classes in self.classes.values())
        )


class View:
    """A snapshot of an index.

    Args:
        store: The documents' codes.
        parts: Their inversion: full blocks, then the last one.
        live: Documents that are not deleted, bool (n,).
        decoder: For asymmetric scores.

    Attributes:
        count: Live documents.
        frequency: Live documents of each feature, int64 (D,).
    """

    def __init__(self, store: CodeStore, parts: list[Part], live: np.ndarray, decoder: Decoder | None) -> None:
        self.store = store
        self.parts = parts
        self.live = live
        self.decoder = decoder
        self.frequency = sum((part.frequency for part in parts), np.zeros(store.hidden_dim, np.int64))
        self.count = int(np.count_nonzero(live))
        if self.count < len(live):
            self.frequency = self.frequency - np.bincount(store.take(np.flatnonzero(~live)).ids, minlength=store.hidden_dim)
        self._live_words = _all_words(live, store.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes of what the view adds to the store and its parts."""
        return self._live_words.nbytes

    def factors(self, number: int) -> np.ndarray:
        """What ``q . x_hat`` of each document of a part is multiplied by: float32 (documents,).

        From the scale, where the codes carry one; else ``1 / |x_hat|``, which takes a while when it is first needed.
        """
        part = self.parts[number]
        if part.factors is None:
            if self.store.scale is not None:
                part.factors = decode_scale(np.asarray(self.store.scale[part.first * BLOCK : part.documents]))
            else:
                assert self.decoder is not None
                blocks = [self.store.block_codes(block) for block in range(part.first, part.last)]
                part.factors = np.concatenate([inverse_norms(codes, *self.decoder) for codes in blocks])
        return part.factors

    def factors_of(self, documents: np.ndarray) -> np.ndarray:
        """:meth:`factors` of some documents, by position."""
        if self.store.scale is not None:
            return decode_scale(np.asarray(self.store.scale[documents]))
        if all(part.factors is not None for part in self.parts):
            return np.concatenate([self.factors(number) for number in range(len(self.parts))])[documents]
        assert self.decoder is not None
        return inverse_norms(self.store.take(documents), *self.decoder)

    def classes(self, number: int, measure: int) -> Classes:
        """A part's documents in groups by what :func:`bsa_st.index.scan_kernel.score_of` calls their size."""
        part = self.parts[number]
        if measure not in part.classes:
            part.classes[measure] = Classes.of(self._sizes(number, measure))
        return part.classes[measure]

    def _sizes(self, number: int, measure: int) -> np.ndarray:
        part = self.parts[number]
        if measure in (COSINE, JACCARD):
            return part.counts().astype(np.float32)
        if measure == SCALED:
            return self.factors(number)
        return np.ones(part.documents - part.first * BLOCK, np.float32)

    def best(self, counting: Counting, want: int, allowed: np.ndarray | None, threads: int) -> Found:
        """Documents whose score is among the ``want`` best of their query, ties included; all above the floor if ``want`` is 0.

        Args:
            counting: Queries.
            want: Documents per query.
            allowed: Documents that may be found, bool (n,); default those that are not deleted.
            threads: Threads.
        """
        allowed = self.live if allowed is None else allowed
        found = []
        for number, part in enumerate(self.parts):
            if part.postings is None:
                found += self._scan_numpy(number, counting, want, allowed)
            else:
                found += self._scan_numba(number, part.postings, counting, want, allowed, threads)
        merged = Found(*(np.concatenate([getattr(entry, name) for entry in found]) for name in Found._fields))
        return merged if len(found) == 1 or not want else only_best(merged, len(counting.own), want)

    def _scan_numba(
        self, number: int, postings: Postings, counting: Counting, want: int, allowed: np.ndarray, threads: int
    ) -> list[Found]:
        from bsa_st.index.scan_kernel import scan

        part = self.parts[number]
        classes = self.classes(number, counting.measure)
        words = self._words(allowed)[part.first : part.last]
        tile = WORDS if len(counting.own) < BATCH else TILE

        def run(first: int, last: int) -> Found:
            queries, documents, scores = scan(
                postings.bitmaps, postings.slots, postings.postings, postings.starts, postings.bases, words,
                classes.sizes, classes.masks, classes.low, classes.high, counting.features, counting.weights, counting.indptr,
                counting.measure, counting.own, counting.steps, counting.bases, counting.floors, counting.least_value,
                want, tile, first, last,
            )  # fmt: skip
            return Found(queries, documents + part.first * BLOCK, scores)

        blocks = part.last - part.first
        pieces = min(threads, blocks)
        if pieces <= 1:
            return [run(0, blocks)]
        edges = np.linspace(0, blocks, pieces + 1).astype(int).tolist()
        with ThreadPoolExecutor(pieces) as pool:
            return list(pool.map(run, edges[:-1], edges[1:]))

    def _words(self, allowed: np.ndarray) -> np.ndarray:
        """A mask of documents as uint64 (blocks, 512); that of the live documents is kept."""
        if allowed is self.live:
            return self._live_words
        return _all_words(allowed, self.store.blocks)

    def _scan_numpy(self, number: int, counting: Counting, want: int, allowed: np.ndarray) -> list[Found]:
        found = []
        part, queries = self.parts[number], len(counting.own)
        sizes = self._sizes(number, counting.measure)
        weights = np.zeros((self.store.hidden_dim, queries))
        owner = np.repeat(np.arange(queries), np.diff(counting.indptr))
        weights[counting.features, owner] = counting.weights
        for block, codes in enumerate(part.codes):
            start = (part.first + block) * BLOCK
            values = codes.to_scipy().astype(np.float64) @ weights
            size = sizes[block * BLOCK : block * BLOCK + len(codes), None]
            scores = scores_of(counting, values, size)
            scores[(values < counting.least_value) | ~allowed[start : start + len(codes), None]] = -np.inf
            wanted = scores >= np.maximum(counting.floors, -np.finfo(np.float64).max)
            if 0 < want < len(codes):
                wanted &= scores >= np.partition(scores, len(codes) - want, axis=0)[len(codes) - want]
            documents, owners = np.nonzero(wanted)
            found.append(Found(owners, documents + start, scores[documents, owners]))
        return found


BATCH = 8
"""Queries from which on words are counted in tiles that stay in the cache from query to query."""
TILE = 256


def scores_of(counting: Counting, values: np.ndarray, size: np.ndarray) -> np.ndarray:
    """:func:`bsa_st.index.scan_kernel.score_of` on arrays: float64 (documents, queries), the same numbers bit by bit."""
    if counting.measure == OVERLAP:
        return values.astype(np.float64)
    if counting.measure == SCALED:
        return (values * counting.steps + counting.bases) * size.astype(np.float64)
    shared, own = values.astype(np.float32), counting.own
    under = np.sqrt(own * size) if counting.measure == COSINE else own + size - shared
    return np.divide(shared, under, out=np.zeros_like(shared), where=shared > 0).astype(np.float64)


def only_best(found: Found, queries: int, want: int) -> Found:
    """Entries among the ``want`` best of their query, ties included."""
    order = np.lexsort((-found.scores, found.queries))
    starts = np.searchsorted(found.queries[order], np.arange(queries + 1))
    places = np.minimum(starts[:-1] + want, starts[1:]) - 1
    least = np.full(queries, -np.inf)
    filled = starts[1:] > starts[:-1]
    least[filled] = found.scores[order][places[filled]]
    keep = found.scores >= least[found.queries]
    return Found(found.queries[keep], found.documents[keep], found.scores[keep])


def _all_words(allowed: np.ndarray, blocks: int) -> np.ndarray:
    words = [to_words(allowed[block * BLOCK : (block + 1) * BLOCK]) for block in range(blocks)]
    return np.stack(words) if words else np.zeros((0, WORDS), np.uint64)
