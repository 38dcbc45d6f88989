"""What a search reads: stored codes, postings and the documents that may be found, unchanged by later additions and deletions."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bsa_st.index.counting import COSINE, JACCARD, SCALED, Counting, Decoder, Found, only_best, scores_of
from bsa_st.index.part import Part
from bsa_st.index.postings import WORDS, Classes, Postings, to_words
from bsa_st.index.store import BLOCK, CodeStore
from bsa_st.scoring import decode_scale, inverse_norms


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
        self._factor_range: tuple[float, float] | None = None

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
        if any(part.factors is None for part in self.parts):
            assert self.decoder is not None
            return inverse_norms(self.store.take(documents), *self.decoder)
        factors = np.empty(len(documents), np.float32)
        for number, part in enumerate(self.parts):
            inside = self._inside(part, documents)
            factors[inside] = self.factors(number)[documents[inside] - part.first * BLOCK]
        return factors

    def weigh(self, documents: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Sum of ``weights`` over each document's active features, added in the order of the ids: float64 (m,).

        Args:
            documents: Positions, int64 (m,).
            weights: float64 (D,).
        """
        rows = [part.postings.rows if part.postings is not None else None for part in self.parts]
        if any(entry is None for entry in rows):
            return self.store.weigh(documents, weights)
        sums = np.empty(len(documents))
        for part, entry in zip(self.parts, rows, strict=True):
            assert entry is not None
            inside = self._inside(part, documents)
            sums[inside] = entry.weigh(documents[inside] - part.first * BLOCK, weights)
        return sums

    @staticmethod
    def _inside(part: Part, documents: np.ndarray) -> np.ndarray:
        return np.asarray((documents >= part.first * BLOCK) & (documents < part.documents))

    def classes(self, number: int, measure: int) -> Classes:
        """A part's documents in groups by what :func:`bsa_st.index.best_kernel.score_of` calls their size."""
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

    def _in_levels(self, counting: Counting) -> tuple[Counting, np.ndarray, int]:
        """``SCALED`` scores as whole numbers: their counting, the least of each query, and how many there are."""
        if self._factor_range is None:
            sizes = [self._sizes(number, SCALED) for number in range(len(self.parts))]
            self._factor_range = min(part.min() for part in sizes), max(part.max() for part in sizes)
        factors = np.array(self._factor_range, np.float64)
        owner = np.repeat(np.arange(len(counting.own)), np.diff(counting.indptr))
        most = np.bincount(owner, counting.weights, minlength=len(counting.own))
        ends = np.stack([counting.bases, counting.bases + most * counting.steps])[:, None] * factors[None, :, None]
        lowest, highest = ends.min(axis=(0, 1)), ends.max(axis=(0, 1))
        unit = np.maximum(counting.steps * factors[1] / FINENESS, (highest - lowest) / MOST_LEVELS)
        unit = np.where(unit > 0, unit, 1)
        first = np.floor(lowest / unit).astype(np.int64)
        levels = int((np.floor(highest / unit).astype(np.int64) - first).max(initial=0)) + 1
        return counting._replace(steps=counting.steps / unit, bases=counting.bases / unit), first, levels

    def best(self, counting: Counting, want: int, allowed: np.ndarray | None, threads: int) -> Found:
        """Documents whose score is among the ``want`` best of their query, ties included; all above the floor if ``want`` is 0.

        Args:
            counting: Queries.
            want: Documents per query.
            allowed: Documents that may be found, bool (n,); default those that are not deleted.
            threads: Threads.
        """
        allowed = self.live if allowed is None else allowed
        lowest, levels = np.zeros(len(counting.own), np.int64), 1
        if counting.measure == SCALED:
            counting, lowest, levels = self._in_levels(counting)
        found = []
        for number, part in enumerate(self.parts):
            if part.postings is None:
                found += self._scan_numpy(number, counting, want, allowed)
            else:
                found += self._scan_numba(number, part.postings, counting, lowest, levels, want, allowed, threads)
        merged = Found(*(np.concatenate([getattr(entry, name) for entry in found]) for name in Found._fields))
        return merged if len(found) == 1 or not want else only_best(merged, len(counting.own), want)

    def _scan_numba(
        self,
        number: int,
        postings: Postings,
        counting: Counting,
        lowest: np.ndarray,
        levels: int,
        want: int,
        allowed: np.ndarray,
        threads: int,
    ) -> list[Found]:
        from bsa_st.index.scan_kernel import scan

        part = self.parts[number]
        classes = self.classes(number, counting.measure)
        words = self._words(allowed)[part.first : part.last]
        tile = WORDS if len(counting.own) < BATCH else TILE

        def run(first: int, last: int) -> Found:
            total = int(np.count_nonzero(allowed[(part.first + first) * BLOCK : (part.first + last) * BLOCK]))
            *entries, short = scan_blocks(first, last, total if total > GUESS_FROM * want else 0)
            if short:
                *entries, _ = scan_blocks(first, last, 0)
            return Found(entries[0], entries[1] + part.first * BLOCK, entries[2])

        def scan_blocks(first: int, last: int, total: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
            return scan(
                postings.bitmaps, postings.slots, postings.postings, postings.starts, postings.bases, words,
                classes.sizes, classes.masks, classes.low, classes.high, counting.features, counting.weights, counting.indptr,
                counting.measure, counting.own, counting.steps, counting.bases, counting.floors, counting.least_value,
                lowest, levels, want, total, tile, first, last,
            )  # fmt: skip

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
TILE = 128
FINENESS = 4
"""Levels of a document's score in the first stage for each step of its counter."""
MOST_LEVELS = 1 << 14
GUESS_FROM = 32
"""Documents for each one that is wanted from which on the score needed is guessed."""


def _all_words(allowed: np.ndarray, blocks: int) -> np.ndarray:
    words = [to_words(allowed[block * BLOCK : (block + 1) * BLOCK]) for block in range(blocks)]
    return np.stack(words) if words else np.zeros((0, WORDS), np.uint64)
