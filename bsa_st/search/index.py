"""The index: documents in, best documents out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder, as_decoder
from bsa_st.errors import BSAError
from bsa_st.search import file
from bsa_st.search.ids import check_ids, rows_of
from bsa_st.search.lists import default_lists, train_lists
from bsa_st.search.queries import decoder_for, encode_documents, prepared
from bsa_st.search.rescoring import FloatQueries, Ranking, Scoring, code_rankings, float_rankings, ranked
from bsa_st.search.segment import Segment, Texts, merged, unsorted

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LISTS_FROM = 200_000
"""Documents from which an index has lists, where it has a decoder."""
PROBES = 96
CANDIDATES = 500
RECENT = 4096
"""Documents that may lie unsorted beside the others, or an eighth of these, before they are merged."""


class IndexStats(NamedTuple):
    """Counts and bytes of an index.

    Attributes:
        documents: Documents that can be found.
        deleted: Documents whose room the next merge frees.
        hidden_dim: Number D of features.
        lists: Inverted lists; 0 where every document is looked at.
        code_bytes: The codes, memory-mapped ones included.
        id_bytes: Ids, marks of deleted documents and places of lists.
        length_bytes: ``1 / |x_hat|`` of the documents in lists.
        text_bytes: The texts.
        model_bytes: Decoder and centroids.
        memory_bytes: All of these.
    """

    documents: int
    deleted: int
    hidden_dim: int
    lists: int
    code_bytes: int
    id_bytes: int
    length_bytes: int
    text_bytes: int
    model_bytes: int
    memory_bytes: int


class State(NamedTuple):
    """What a search sees: at most two segments, the second without lists, the centroids or None, and the next free id."""

    segments: tuple[Segment, ...]
    centroids: np.ndarray | None
    next_id: int


class Index:
    """Search over codes with float queries, on faiss; the codes are held once.

    Make one with :meth:`build` or :meth:`open`. Up to 200,000 documents every code is compared with the query, beyond that those of the
    nearest inverted lists; the best few hundred are scored exactly from their codes. Searching from several threads is safe, also while
    another thread adds or deletes: a search sees the documents of the moment it started. Several processes may open the same file; they
    share its pages. Who changes a file uses :meth:`edit`.
    """

    def __init__(self, state: State, hidden_dim: int, decoder: Decoder | None, lists: int | None = None) -> None:
        self.hidden_dim = hidden_dim
        self.decoder = decoder
        self.model: SentenceTransformer | None = None
        self._state = state
        self._wanted_lists = lists
        self._lock = threading.RLock()
        self._origin: tuple[Path, int] | None = None

    @classmethod
    def build(
        cls,
        source: BinaryCodes | SentenceTransformer,
        texts: Iterable[str] | None = None,
        *,
        ids: npt.ArrayLike | None = None,
        decoder: Any = None,
        lists: int | None = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> Index:
        """An index of codes, or of texts that a model encodes (refined).

        Args:
            source: Codes from :func:`bsa_st.encode`, or a BSA model.
            texts: The documents; with codes optional. They are kept in the index (:meth:`texts`).
            ids: Distinct ids, int (n,), not negative; default 0 to n - 1.
            decoder: What asymmetric and decoded scores need, if ``source`` are codes: the model that made them, its head, or
                the arrays (V, c) of shapes (D, d) and (d,). It is saved with the index.
            lists: Inverted lists; 0 for none. Default: none up to 200,000 documents, then about ``2 sqrt(n)``.
            batch_size: Texts per forward pass.
            show_progress_bar: Show a bar while texts are encoded.

        Raises:
            BSAError: If the ids are not distinct or not as many as documents, or the decoder does not fit the codes.
        """
        kept = _strings(texts)
        model = None if isinstance(source, BinaryCodes) else source
        if isinstance(source, BinaryCodes):
            codes = source
        elif kept is None:
            raise BSAError("a model needs the texts to index")
        else:
            codes = encode_documents(source, kept, batch_size, show_progress_bar)
        if lists is not None and (lists < 0 or lists > max(1, len(codes))):
            raise BSAError(f"lists must lie between 0 and the number of documents, {len(codes)}, got {lists}")
        own = as_decoder(model if decoder is None else decoder, codes.hidden_dim)
        index = cls(State((), None, 0), codes.hidden_dim, own, lists)
        index.model = model
        index._add(codes, ids, kept)
        index._merge()
        return index

    @classmethod
    def open(cls, path: str | Path, *, model: SentenceTransformer | None = None) -> Index:
        """Open a saved index as a memory map; checksums are verified.

        Args:
            path: A file written by :meth:`save`.
            model: The model that encoded the documents; needed to search and add texts.

        Raises:
            BSAError: If the file is missing, no index or damaged (the part is named), or the model is another one.
        """
        path = Path(path)
        stored = file.read(path)
        try:
            state, decoder, lists = _state_of(stored)
        except BSAError as error:
            raise BSAError(f"index {path}: {error}") from error
        if model is not None:
            decoder = decoder_for(model, decoder, stored.codes.hidden_dim, f"index {path}")
        index = cls(state, stored.codes.hidden_dim, decoder, lists)
        index.model, index._origin = model, (path.resolve(), stored.checksum)
        return index

    @classmethod
    @contextmanager
    def edit(cls, path: str | Path, *, model: SentenceTransformer | None = None) -> Iterator[Index]:
        """Open an index to change it, ``with Index.edit(path) as index: index.add(...)``: other writers wait, and it is saved in the end.

        Raises:
            BSAError: As :meth:`open` and :meth:`save`; if another process holds the index for a minute.
        """
        with file.writing(Path(path)):
            index = cls.open(path, model=model)
            yield index
            index.save(path)

    def save(self, path: str | Path) -> int:
        """Write the index to a file, atomically: whoever opens it finds the old index or the new one; returns its bytes.

        Raises:
            BSAError: If the file cannot be written; an earlier one stays whole. If this index was opened from it and somebody else has changed it
                since: their changes would be lost.
        """
        path = Path(path)
        with file.writing(path), self._lock:
            if self._origin is not None and self._origin[0] == path.resolve():
                found = file.checksum_of(path)
                if found is not None and found != self._origin[1]:
                    raise BSAError(f"{path} was changed since this index was opened; open it again, or use Index.edit")
            self._merge()
            segment, centroids, next_id = self._state.segments[0], self._state.centroids, self._state.next_id
            wanted = -1 if self._wanted_lists is None else self._wanted_lists
            arrays = {"counters": np.array([next_id, wanted], "<i8"), "starts": segment.starts}
            if not np.array_equal(segment.ids, np.arange(len(segment))):
                arrays["ids"] = segment.ids
            if self.decoder is not None:
                softening = np.array([self.decoder.softening], "<f4")
                arrays |= {"decoder": self.decoder.weight, "offset": self.decoder.offset, "softening": softening}
            if centroids is not None and segment.inverse is not None:
                arrays |= {"centroids": centroids, "inverse": segment.inverse}
            if segment.texts is not None:
                arrays |= {"text_starts": segment.texts.starts, "texts": segment.texts.blob}
            size, checksum = file.write(path, segment.codes, arrays)
            self._origin = path.resolve(), checksum
            return size

    # -- documents --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(segment.count for segment in self._state.segments)

    def __contains__(self, document: int) -> bool:
        return any((rows >= 0).all() for rows in _find(self._state, np.array([document], np.int64)))

    @property
    def ids(self) -> np.ndarray:
        """Ids of the documents in the order that they lie in, which a change can alter: int64 (n,)."""
        parts = [one.ids if one.live is None else one.ids[one.live] for one in self._state.segments]
        return np.concatenate(parts).astype(np.int64)

    def codes(self, ids: npt.ArrayLike) -> BinaryCodes:
        """The stored codes of documents, in the order of ``ids``; an unknown id raises :class:`BSAError`."""
        state, wanted = self._state, check_ids(ids)
        found = _all_found(state, wanted)
        parts = [one.codes[rows[rows >= 0]] for one, rows in zip(state.segments, found, strict=True)]
        order = np.concatenate([np.flatnonzero(rows >= 0) for rows in found])
        return BinaryCodes.concatenate(parts)[np.argsort(order, kind="stable")]

    def texts(self, ids: npt.ArrayLike) -> list[str]:
        """The texts of documents, in the order of ``ids``, empty where the index was given none; an unknown id raises :class:`BSAError`."""
        state, wanted = self._state, check_ids(ids)
        texts = [""] * len(wanted)
        for one, rows in zip(state.segments, _all_found(state, wanted), strict=True):
            if one.texts is not None:
                places = np.flatnonzero(rows >= 0)
                for place, text in zip(places.tolist(), one.texts.take(rows[places]), strict=True):
                    texts[place] = text
        return texts

    def add(
        self, documents: BinaryCodes | Iterable[str], *, ids: npt.ArrayLike | None = None, texts: Iterable[str] | None = None
    ) -> np.ndarray:
        """Add documents; returns their ids, int64 (n,). Many at a time are much cheaper than one by one.

        Args:
            documents: Codes, or texts if the index has a model.
            ids: Distinct ids that are not in the index; default counts up from the largest there ever was.
            texts: The texts of codes, to be kept.

        Raises:
            BSAError: If the codes do not fit or an id is taken; nothing is added then.
        """
        codes, kept = self._as_codes(documents, texts)
        with self._lock:
            return self._add(codes, ids, kept)

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents: they are marked, and the next merge frees their room. An unknown id raises :class:`BSAError`, and nothing is
        deleted."""
        with self._lock:
            self._state = _without(self._state, check_ids(ids))

    def update(self, ids: npt.ArrayLike, documents: BinaryCodes | Iterable[str], *, texts: Iterable[str] | None = None) -> None:
        """Replace documents that are in the index; raises :class:`BSAError` and changes nothing if an id is unknown."""
        codes, kept = self._as_codes(documents, texts)
        with self._lock:
            given = check_ids(ids, len(codes))
            before, self._state = self._state, _without(self._state, given)
            try:
                self._add(codes, given, kept)
            except BSAError:
                self._state = before
                raise

    def compact(self) -> None:
        """Merge what was added and free the room of deleted documents; saving does so too."""
        with self._lock:
            self._merge()

    # -- search -----------------------------------------------------------------------------------------------------

    def search(
        self,
        queries: BinaryCodes | npt.ArrayLike | str | Sequence[str],
        top_k: int = 10,
        *,
        scoring: Scoring | None = None,
        filter: npt.ArrayLike | None = None,
        probes: int = PROBES,
        candidates: int = CANDIDATES,
        threads: int = 1,
        prompt_name: str | None = None,
    ) -> list[Ranking]:
        """Best documents of each query.

        Args:
            queries: Texts, if the index has a model; dense embeddings, float (n, d); or n codes. A ``str`` or a vector is one query.
            top_k: Documents per query.
            scoring: ``asymmetric`` ``q . x_hat / |x_hat|``; ``decoded`` the same with the query's code decoded; ``overlap`` the number of shared
                features and ``cosine`` that number divided by ``sqrt(k1 k2)``, both of all documents that share one. Default: ``asymmetric``, and
                ``cosine`` for codes.
            filter: Find only these: a boolean mask over :attr:`ids`, or ids (those that are not in the index find nothing).
            probes: Lists that are looked at, where there are lists; more where those hold fewer than top_k documents.
            candidates: Documents that are scored exactly, where ``top_k`` is not more.
            threads: Threads that share the queries.
            prompt_name: Name of one of the model's prompts, for texts; default ``query``, if it has such a prompt.

        Returns:
            One ranking per query: ids, int64, and scores, float32, best first, equal scores by id. A ranking holds what was found only.

        Raises:
            BSAError: If the queries do not fit the index or the scoring, or an argument is out of range.
        """
        for name, value in {"top_k": top_k, "probes": probes, "candidates": candidates, "threads": threads}.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")
        state = self._state
        allowed = _allowed(state, filter)
        kind, asked = prepared(queries, scoring, self.model, self.decoder, self.hidden_dim, prompt_name)
        candidates = max(int(candidates), 4 * int(top_k))
        parts = np.array_split(np.arange(len(asked)), max(1, min(int(threads), len(asked))))

        def answer(part: np.ndarray) -> list[Ranking]:
            before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)  # of this thread: the queries are shared out here
            try:
                return self._answer(state, kind, asked[part], allowed, int(top_k), int(probes), candidates)
            finally:
                faiss.omp_set_num_threads(before)

        if len(parts) == 1:
            return answer(parts[0])
        with ThreadPoolExecutor(len(parts)) as pool:
            return [one for found in pool.map(answer, parts) for one in found]

    def _answer(
        self,
        state: State,
        kind: str,
        asked: BinaryCodes | np.ndarray,
        allowed: list[np.ndarray | None],
        top_k: int,
        probes: int,
        candidates: int,
    ) -> list[Ranking]:
        if len(asked) == 0:
            return []
        rankings: list[list[Ranking]] = [[] for _ in range(len(asked))]
        weights = None if isinstance(asked, BinaryCodes) else _weights(asked, self.decoder)
        for segment, mask in zip(state.segments, allowed, strict=True):
            if len(segment) == 0:
                continue
            if weights is None:
                assert isinstance(asked, BinaryCodes)
                found = list(code_rankings(segment, asked, kind, mask, top_k))
            else:
                assert self.decoder is not None
                probed = _probed(state, segment, asked, probes)
                found = list(float_rankings(segment, FloatQueries(*weights, probed), self.decoder, mask, top_k, candidates))
                short = [number for number, one in enumerate(found) if len(one.ids) < top_k]
                if probed is not None and short:
                    every = FloatQueries(weights[0][short], weights[1][short], None)
                    again = float_rankings(segment, every, self.decoder, mask, top_k, candidates)
                    for number, one in zip(short, again, strict=True):
                        found[number] = one
            for ranking, one in zip(rankings, found, strict=True):
                ranking.append(one)
        return [_joined(found, top_k) for found in rankings]

    # -- sizes ------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes in memory, memory-mapped ones included."""
        return self.stats().memory_bytes

    def stats(self) -> IndexStats:
        """Numbers of documents and lists, and bytes of every part."""
        segments, centroids, _ = self._state
        arrays = [*(self.decoder or ())[:2], *(() if centroids is None else (centroids,))]
        sizes = {
            "code_bytes": sum(one.codes.nbytes_as("memory") for one in segments),
            "id_bytes": sum(
                one.ids.nbytes + one.starts.nbytes + (0 if one.live is None else one.live.nbytes) for one in segments
            ),
            "length_bytes": sum(one.inverse.nbytes for one in segments if one.inverse is not None),
            "text_bytes": sum(one.texts.blob.nbytes + one.texts.starts.nbytes for one in segments if one.texts is not None),
            "model_bytes": sum(array.nbytes for array in arrays),
        }
        documents = sum(one.count for one in segments)
        return IndexStats(
            documents=documents,
            deleted=sum(len(one) for one in segments) - documents,
            hidden_dim=self.hidden_dim,
            lists=0 if centroids is None else len(centroids),
            memory_bytes=sum(sizes.values()),
            **sizes,
        )

    def __repr__(self) -> str:
        decoder = "no decoder" if self.decoder is None else f"decoder of width {self.decoder.weight.shape[1]}"
        return f"Index({len(self)} documents, hidden_dim={self.hidden_dim}, {decoder})"

    # -- changes ----------------------------------------------------------------------------------------------------

    def _as_codes(
        self, documents: BinaryCodes | Iterable[str], texts: Iterable[str] | None
    ) -> tuple[BinaryCodes, list[str] | None]:
        kept = _strings(texts)
        if isinstance(documents, BinaryCodes):
            return documents, kept
        if self.model is None:
            raise BSAError("adding texts needs the model: Index.open(path, model=...)")
        strings = _strings(documents)
        assert strings is not None
        return encode_documents(self.model, strings), strings if kept is None else kept

    def _add(self, codes: BinaryCodes, ids: npt.ArrayLike | None, texts: list[str] | None) -> np.ndarray:
        if codes.hidden_dim != self.hidden_dim:
            raise BSAError(f"the index has {self.hidden_dim} features, the codes {codes.hidden_dim}")
        if texts is not None and len(texts) != len(codes):
            raise BSAError(f"{len(codes)} documents need {len(codes)} texts, got {len(texts)}")
        state = self._state
        if ids is None:
            given = np.arange(state.next_id, state.next_id + len(codes), dtype=np.int64)
        else:
            given = check_ids(ids, len(codes))
            taken = np.max([rows >= 0 for rows in _find(state, given)], axis=0, initial=False)
            if np.any(taken):
                raise BSAError(f"id {given[taken][0]} is already in the index")
        fresh = unsorted(codes, given, texts)
        next_id = max(state.next_id, int(given.max()) + 1) if len(given) else state.next_id
        recent = merged([*state.segments[1:], fresh], None, None)
        if not state.segments or len(recent) > max(RECENT, len(state.segments[0]) // 8):
            self._state = State((*state.segments[:1], recent), state.centroids, next_id)
            if state.segments:
                self._merge()
        else:
            self._state = State((state.segments[0], recent), state.centroids, next_id)
        return given

    def _merge(self) -> None:
        """One segment, in lists where there are enough documents."""
        segments, centroids, next_id = self._state
        count = sum(one.count for one in segments)
        wanted = self._wanted_lists
        if wanted is None:
            wanted = default_lists(count) if count >= LISTS_FROM else 0
        wanted = 0 if self.decoder is None else min(wanted, count)
        if wanted == 0:
            centroids = None
        elif centroids is None or not wanted / 4 < len(centroids) < wanted * 4:
            flat = merged(segments, None, None)
            assert self.decoder is not None
            centroids = train_lists(flat.codes, self.decoder, wanted)
            segments = (flat,)
        listed = 1 if centroids is None else len(centroids)
        if len(segments) == 1 and segments[0].live is None and len(segments[0].starts) == listed + 1:
            self._state = State(segments, centroids, next_id)
        else:
            self._state = State((merged(segments, centroids, self.decoder),), centroids, next_id)


def _strings(texts: Iterable[str] | None) -> list[str] | None:
    """Texts as a list; a ``str`` is one text."""
    if texts is None:
        return None
    strings = [texts] if isinstance(texts, str) else list(texts)
    if not all(isinstance(text, str) for text in strings):
        raise BSAError("texts must be strings")
    return strings


def _find(state: State, ids: np.ndarray) -> list[np.ndarray]:
    """For each segment the rows of documents that are there, -1 for others."""
    found = []
    for one in state.segments:
        rows = rows_of(one.ids, ids)
        if one.live is not None:
            rows = np.where((rows >= 0) & one.live[rows], rows, -1)
        found.append(rows)
    return found


def _all_found(state: State, ids: np.ndarray) -> list[np.ndarray]:
    found = _find(state, ids)
    there = np.max([rows >= 0 for rows in found], axis=0, initial=False)
    if not np.all(there):
        raise BSAError(f"id {ids[~there][0]} is not in the index")
    return found


def _without(state: State, ids: np.ndarray) -> State:
    found = _all_found(state, ids)
    segments = [
        one.without(rows[rows >= 0]) if (rows >= 0).any() else one for one, rows in zip(state.segments, found, strict=True)
    ]
    return state._replace(segments=tuple(segments))


def _allowed(state: State, filter: npt.ArrayLike | None) -> list[np.ndarray | None]:
    """For each segment which documents may be found, bool; None for all."""
    if filter is None:
        return [one.live for one in state.segments]
    given = np.asarray(filter)
    if given.dtype == bool:
        count = sum(one.count for one in state.segments)
        if given.shape != (count,):
            raise BSAError(f"a mask must have one entry for each of the {count} documents, got shape {given.shape}")
        masks: list[np.ndarray | None] = []
        for one in state.segments:
            mask = np.zeros(len(one), bool)
            mask[np.arange(len(one)) if one.live is None else np.flatnonzero(one.live)] = given[: one.count]
            given = given[one.count :]
            masks.append(mask)
        return masks
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise BSAError(f"filter must be a boolean mask or a list of ids, got {given.dtype} of shape {given.shape}")
    return [np.isin(one.ids, given.astype(np.int64)) & (True if one.live is None else one.live) for one in state.segments]


def _weights(dense: np.ndarray, decoder: Decoder | None) -> tuple[np.ndarray, np.ndarray]:
    assert decoder is not None
    return dense @ decoder.weight.T, dense @ decoder.offset


def _probed(state: State, segment: Segment, dense: Any, probes: int) -> np.ndarray | None:
    """The nearest lists of each query, int64 (q, probes); None where a segment has no lists or all are looked at."""
    if state.centroids is None or len(segment.starts) != len(state.centroids) + 1 or probes >= len(state.centroids):
        return None
    return np.argpartition(-(dense @ state.centroids.T), probes - 1, axis=1)[:, :probes].astype(np.int64)


def _joined(found: list[Ranking], top_k: int) -> Ranking:
    if len(found) == 1:
        return found[0]
    ids = np.concatenate([one.ids for one in found]) if found else np.zeros(0, np.int64)
    return ranked(ids, np.concatenate([one.scores for one in found]) if found else np.zeros(0, np.float32), top_k)


ARRAYS = {
    "counters": ("<i8", 1),
    "starts": ("<i8", 1),
    "ids": (None, 1),
    "decoder": ("<f4", 2),
    "offset": ("<f4", 1),
    "softening": ("<f4", 1),
    "centroids": ("<f4", 2),
    "inverse": ("<f4", 1),
    "text_starts": ("<i8", 1),
    "texts": ("|u1", 1),
}
"""Arrays of an index file: dtype (None: one of those of ids) and dimensions."""
TOGETHER = (
    ("counters", "starts"),
    ("decoder", "offset", "softening"),
    ("centroids", "inverse", "decoder"),
    ("text_starts", "texts"),
)


def _state_of(stored: file.Stored) -> tuple[State, Decoder | None, int | None]:
    """What an opened file holds, its sizes checked."""
    codes, arrays, _ = stored
    try:
        for name, values in arrays.items():
            dtype, dimensions = ARRAYS[name]
            _must(values.ndim == dimensions and values.dtype.str in ((dtype,) if dtype else ("<u4", "<i8")))
        for names in TOGETHER:
            _must(names[0] not in arrays or all(name in arrays for name in names))
        starts, count = arrays["starts"], len(codes)
        ids = arrays.get("ids", np.arange(count, dtype=np.uint32))
        softening = arrays.get("softening", np.zeros(1, "<f4"))
        _must(softening.shape == (1,) and 0 <= softening[0] < np.inf)
        decoder = Decoder(arrays["decoder"], arrays["offset"], float(softening[0])) if "decoder" in arrays else None
        centroids, inverse, texts = arrays.get("centroids"), arrays.get("inverse"), None
        _must(decoder is None or decoder.weight.shape == (codes.hidden_dim, len(decoder.offset)))
        _must(len(ids) == count and _rises(starts, count) and len(starts) == (1 if centroids is None else len(centroids)) + 1)
        _must(centroids is None or centroids.shape[1] == len(arrays["offset"]))
        _must(inverse is None or len(inverse) == count)
        if "texts" in arrays:
            texts = Texts(arrays["texts"], arrays["text_starts"])
            _must(len(texts.starts) == count + 1 and _rises(texts.starts, len(texts.blob)))
        next_id, wanted = arrays["counters"].tolist()
    except (KeyError, ValueError) as error:
        raise BSAError("its parts do not fit together") from error
    return (
        State((Segment(codes, ids, starts, inverse, None, texts),), centroids, next_id),
        decoder,
        wanted if wanted >= 0 else None,
    )


def _must(fits: bool) -> None:
    if not fits:
        raise ValueError


def _rises(starts: np.ndarray, last: int) -> bool:
    return bool(len(starts) and starts[0] == 0 and starts[-1] == last and (np.diff(starts) >= 0).all())
