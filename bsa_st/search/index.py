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
from bsa_st.codes.scoring import Scoring
from bsa_st.errors import BSAError
from bsa_st.inputs.texts import read_texts
from bsa_st.search import file
from bsa_st.search.fields import TagNames, Tags, Texts
from bsa_st.search.ids import check_ids
from bsa_st.search.lists import default_lists, train_lists
from bsa_st.search.queries import prepared
from bsa_st.search.rescoring import Ranking, code_rankings, float_rankings
from bsa_st.search.segment import Segment

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LISTS_FROM = 200_000
"""Documents from which an index has lists, where it has a decoder."""
PROBES = 128
CANDIDATES = 200
RECENT = 4096
"""Documents that may lie unsorted beside the others, or an eighth of these, before they are merged."""


PARTS = {
    **dict.fromkeys(("packed", "features", "feature_starts"), "code_bytes"),
    **dict.fromkeys(("ids", "live", "starts", "lengths", "length_scale"), "id_bytes"),
    **dict.fromkeys(("texts", "text_starts"), "text_bytes"),
    **dict.fromkeys(("tags", "tag_starts", "tag_names", "tag_name_starts"), "tag_bytes"),
    **dict.fromkeys(("centroids", "decoder", "offset", "softening"), "model_bytes"),
}
"""Arrays of an index, and where their bytes are counted."""


class IndexStats(NamedTuple):
    """Counts of an index, and the bytes of its parts, memory-mapped ones included; ``memory_bytes`` is their sum."""

    documents: int
    deleted: int  # their room is freed by the next merge
    hidden_dim: int
    lists: int  # 0 where every document is looked at
    code_bytes: int
    id_bytes: int  # ids, marks of deleted documents, places of lists, and lengths of the documents in lists
    text_bytes: int
    tag_bytes: int
    model_bytes: int  # decoder and centroids
    memory_bytes: int


class Index:
    """Search over codes with float queries, on faiss; the codes are held once.

    Make one with :meth:`build` or :meth:`open`. Up to 200,000 documents every code is compared with the query, beyond that those of the
    nearest inverted lists; the best few hundred are scored exactly from their codes. Searching from several threads is safe, also while
    another thread adds or deletes: a search sees the documents of the moment it started. Several processes may open the same file; they
    share its pages. Who changes a file uses :meth:`edit`.
    """

    def __init__(self, segment: Segment, decoder: Decoder | None, lists: int | None, next_id: int) -> None:
        self.hidden_dim = segment.codes.hidden_dim
        self.decoder = decoder
        self.model: SentenceTransformer | None = None
        self._segment = segment
        self._wanted_lists = lists
        self._next_id = next_id
        self._lock = threading.RLock()
        self._origin: tuple[Path, int] | None = None

    @classmethod
    def build(
        cls,
        source: BinaryCodes | SentenceTransformer,
        texts: Iterable[str] | None = None,
        *,
        ids: npt.ArrayLike | None = None,
        tags: TagNames | None = None,
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
            tags: Tags to filter and count by: for each document a list of names, or what :func:`bsa_st.tags` gives.
            decoder: What asymmetric and decoded scores need, if ``source`` are codes: the model that made them, its head, or
                the arrays (V, c) of shapes (D, d) and (d,). It is saved with the index.
            lists: Inverted lists; 0 for none. Default: none up to 200,000 documents, then about ``2 sqrt(n)``.
            batch_size: Texts per forward pass.
            show_progress_bar: Show a bar while texts are encoded.

        Raises:
            BSAError: If the ids are not distinct, there are not as many ids, texts or tags as documents, or the decoder does not fit the codes.
        """
        kept = _strings(texts)
        model = None if isinstance(source, BinaryCodes) else source
        if isinstance(source, BinaryCodes):
            codes = source
        elif kept is None:
            raise BSAError("a model needs the texts to index")
        else:
            from bsa_st.encoding.encode import encode

            codes = encode(source, kept, batch_size=batch_size, show_progress_bar=show_progress_bar)
        if lists is not None and (lists < 0 or lists > max(1, len(codes))):
            raise BSAError(f"lists must lie between 0 and the number of documents, {len(codes)}, got {lists}")
        own = as_decoder(model if decoder is None else decoder, codes.hidden_dim)
        index = cls(Segment.of(codes[:0], np.zeros(0, np.int64)), own, lists, 0)
        index.model = model
        index._add(codes, ids, kept, tags)
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
        arrays, hidden_dim, checksum = file.read(path)
        decoder = None
        try:
            segment = Segment.from_arrays(arrays, hidden_dim)
            if "decoder" in arrays:
                decoder = as_decoder([arrays["decoder"], arrays["offset"], *arrays["softening"]], hidden_dim)
            next_id, lists = arrays["counters"].tolist()
            if unknown := arrays.keys() - {"counters", *PARTS}:
                raise KeyError(unknown)
        except (KeyError, ValueError, TypeError) as error:
            raise BSAError(f"index {path}: its parts do not fit together") from error
        if model is not None:
            given = as_decoder(model, hidden_dim)
            assert given is not None
            if decoder is not None and not all(
                np.array_equal(np.asarray(ours), np.asarray(theirs)) for ours, theirs in zip(decoder, given, strict=True)
            ):
                raise BSAError(f"index {path} was built with another model: their decoders differ")
            decoder = given
        index = cls(segment, decoder, lists if lists >= 0 else None, next_id)
        index.model, index._origin = model, (path.resolve(), checksum)
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
            counters = np.array([self._next_id, -1 if self._wanted_lists is None else self._wanted_lists])
            size, checksum = file.write(path, self.hidden_dim, {"counters": counters, **self._arrays()})
            self._origin = path.resolve(), checksum
            return size

    # -- documents --------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._segment.rows)

    def __contains__(self, document: int) -> bool:
        return bool(self._segment.find(np.array([document], np.int64))[0] >= 0)

    @property
    def ids(self) -> np.ndarray:
        """Ids of the documents in the order that they lie in, which a change can alter: int64 (n,)."""
        segment = self._segment
        return segment.ids[segment.rows].astype(np.int64)

    def codes(self, ids: npt.ArrayLike) -> BinaryCodes:
        """The stored codes of documents, in the order of ``ids``; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        return segment.codes[segment.rows_of(check_ids(ids))]

    def texts(self, ids: npt.ArrayLike) -> list[str]:
        """The texts of documents, in the order of ``ids``, empty where the index was given none; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        rows = segment.rows_of(check_ids(ids))
        return [""] * len(rows) if segment.texts is None else segment.texts.strings(rows)

    def facets(self, ids: npt.ArrayLike) -> list[tuple[str, int]]:
        """The tags of documents, of a result list say, with how many of these have each, most first; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        rows = segment.rows_of(check_ids(ids))
        return [] if segment.tags is None else segment.tags.counts(rows)

    def add(
        self,
        documents: BinaryCodes | Iterable[str],
        *,
        ids: npt.ArrayLike | None = None,
        texts: Iterable[str] | None = None,
        tags: TagNames | None = None,
    ) -> np.ndarray:
        """Add documents; returns their ids, int64 (n,). Many at a time are much cheaper than one by one.

        Args:
            documents: Codes, or texts if the index has a model.
            ids: Distinct ids that are not in the index; default counts up from the largest there ever was.
            texts: The texts of codes, to be kept.
            tags: As in :meth:`build`; default none.

        Raises:
            BSAError: If the codes do not fit or an id is taken; nothing is added then.
        """
        codes, kept = self._as_codes(documents, texts)
        with self._lock:
            return self._add(codes, ids, kept, tags)

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents: they are marked, and the next merge frees their room. An unknown id raises :class:`BSAError`, and nothing is
        deleted."""
        with self._lock:
            self._segment = self._segment.without(self._segment.rows_of(check_ids(ids)))

    def update(
        self,
        ids: npt.ArrayLike,
        documents: BinaryCodes | Iterable[str],
        *,
        texts: Iterable[str] | None = None,
        tags: TagNames | None = None,
    ) -> None:
        """Replace documents that are in the index, texts and tags too; raises :class:`BSAError` and changes nothing if an id is unknown."""
        codes, kept = self._as_codes(documents, texts)
        with self._lock:
            given = check_ids(ids, len(codes))
            before = self._segment
            self._segment = before.without(before.rows_of(given))
            try:
                self._add(codes, given, kept, tags)
            except BSAError:
                self._segment = before
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
        with_tags: Sequence[str] = (),
        without_tags: Sequence[str] = (),
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
            with_tags: Find only documents that have all of these tags.
            without_tags: Find only documents that have none of these tags.
            probes: Lists that are looked at, where there are lists; more where those hold fewer than top_k documents.
            candidates: Documents that are scored exactly, where ``top_k`` is not more.
            threads: Threads that share the queries.
            prompt_name: Name of one of the model's prompts, for texts; default ``query``, if it has such a prompt.

        Returns:
            One ranking per query: ids, int64, and scores, float32, best first, equal scores by id. A ranking holds what was found only.

        Raises:
            BSAError: If the queries do not fit the index or the scoring, an argument is out of range, or no document ever had a tag.
        """
        for name, value in {"top_k": top_k, "probes": probes, "candidates": candidates, "threads": threads}.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")
        segment = self._segment
        allowed = _allowed(segment, filter, with_tags, without_tags)
        kind, asked = prepared(queries, scoring, self.model, self.decoder, self.hidden_dim, prompt_name)
        top_k = int(top_k)
        candidates = max(int(candidates), 4 * top_k)
        parts = np.array_split(np.arange(len(asked)), max(1, min(int(threads), len(asked))))

        def rank(asked: BinaryCodes | np.ndarray) -> list[Ranking]:
            if isinstance(asked, BinaryCodes):
                return list(code_rankings(segment, asked, kind, allowed, top_k))
            assert self.decoder is not None
            probed = _probed(segment, asked, int(probes))
            found = list(float_rankings(segment, asked, self.decoder, probed, allowed, top_k, candidates))
            short = [number for number, one in enumerate(found) if len(one.ids) < top_k]
            if probed is not None and short:
                again = float_rankings(segment, asked[short], self.decoder, None, allowed, top_k, candidates)
                for number, one in zip(short, again, strict=True):
                    found[number] = one
            return found

        def answer(part: np.ndarray) -> list[Ranking]:
            before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)  # of this thread: the queries are shared out here
            try:
                return rank(asked[part])
            finally:
                faiss.omp_set_num_threads(before)

        if len(parts) == 1:
            return answer(parts[0])
        with ThreadPoolExecutor(len(parts)) as pool:
            return [one for found in pool.map(answer, parts) for one in found]

    # -- sizes ------------------------------------------------------------------------------------------------------

    def stats(self) -> IndexStats:
        """Numbers of documents and lists, and bytes of every part."""
        segment, sizes = self._segment, dict.fromkeys(PARTS.values(), 0)
        for name, array in self._arrays().items():
            sizes[PARTS[name]] += array.nbytes
        count, lists = len(segment.rows), 0 if segment.centroids is None else len(segment.centroids)
        return IndexStats(count, len(segment) - count, self.hidden_dim, lists, memory_bytes=sum(sizes.values()), **sizes)

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
        from bsa_st.encoding.encode import encode

        strings = _strings(documents)
        assert strings is not None
        return encode(self.model, strings), strings if kept is None else kept

    def _add(self, codes: BinaryCodes, ids: npt.ArrayLike | None, texts: list[str] | None, tags: TagNames | None) -> np.ndarray:
        segment = self._segment
        if codes.hidden_dim != self.hidden_dim:
            raise BSAError(f"the index has {self.hidden_dim} features, the codes {codes.hidden_dim}")
        kept = None if texts is None else Texts.of(texts)
        named = None if tags is None else Tags.of(tags, () if segment.tags is None else segment.tags.names)
        for kind, own in (("texts", kept), ("lists of tags", named)):
            if own is not None and len(own) != len(codes):
                raise BSAError(f"{len(codes)} documents need {len(codes)} {kind}, got {len(own)}")
        given = np.arange(self._next_id, self._next_id + len(codes)) if ids is None else check_ids(ids, len(codes))
        taken = segment.find(given) >= 0
        if taken.any():
            raise BSAError(f"id {given[taken][0]} is already in the index")
        fresh = Segment.of(codes, given, kept, named)
        self._segment = segment.with_added(fresh) if len(segment) else fresh
        self._next_id = max(self._next_id, int(given.max(initial=-1)) + 1)
        changed = self._segment
        if changed.recent > max(RECENT, (len(changed) - changed.recent) // 8) or (changed.centroids is None and self._lists()):
            self._merge()
        return given

    def _lists(self) -> int:
        """How many lists there should be."""
        count = len(self)
        wanted = self._wanted_lists if self._wanted_lists is not None else default_lists(count) if count >= LISTS_FROM else 0
        return 0 if self.decoder is None else min(wanted, count)

    def _merge(self) -> None:
        """Put what was added into lists, where there are enough documents, and drop what was deleted."""
        segment, wanted = self._segment, self._lists()
        centroids = segment.centroids
        if wanted == 0:
            centroids = None
        elif centroids is None or not wanted / 4 < len(centroids) < wanted * 4:
            assert self.decoder is not None
            centroids = train_lists(segment.codes[segment.rows], self.decoder, wanted)
        if segment.live is not None or segment.recent or centroids is not segment.centroids:
            self._segment = segment.arranged(centroids, self.decoder)

    def _arrays(self) -> dict[str, np.ndarray]:
        """What the index holds."""
        if self.decoder is None:
            return self._segment.to_arrays()
        weight, offset, softening = self.decoder
        return {
            **self._segment.to_arrays(),
            "decoder": weight,
            "offset": offset,
            "softening": np.array([softening], np.float32),
        }


def _strings(texts: Iterable[str] | None) -> list[str] | None:
    """Texts as a list; a ``str`` is one text, a ``Path`` a file of them."""
    if texts is None:
        return None
    strings = read_texts(texts) if isinstance(texts, (str, Path)) else list(texts)
    if not all(isinstance(text, str) for text in strings):
        raise BSAError("texts must be strings")
    return strings


def _allowed(
    segment: Segment, filter: npt.ArrayLike | None, with_tags: Sequence[str], without_tags: Sequence[str]
) -> np.ndarray | None:
    """Which documents may be found, bool (n,); None for all."""
    mask = segment.live
    if filter is not None:
        given, rows = np.asarray(filter), segment.rows
        mask = np.zeros(len(segment), bool)
        if given.dtype == bool:
            if given.shape != rows.shape:
                raise BSAError(f"a mask must have one entry for each of the {len(rows)} documents, got shape {given.shape}")
            mask[rows] = given
        else:
            if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
                raise BSAError(f"filter must be a boolean mask or a list of ids, got {given.dtype} of shape {given.shape}")
            mask[rows] = np.isin(segment.ids[rows], given.astype(np.int64))
    for argument, names in (("with_tags", with_tags), ("without_tags", without_tags)):
        if isinstance(names, str):
            raise BSAError(f"{argument} is a list of names, got the text {names!r}")
        for name in names:
            if segment.tags is None:
                raise BSAError(f"{argument} needs an index with tags: Index.build(..., tags=bsa_st.tags(model, texts))")
            has = segment.tags.having(name) == (argument == "with_tags")
            mask = has if mask is None else mask & has
    return mask


def _probed(segment: Segment, dense: np.ndarray, probes: int) -> np.ndarray | None:
    """The nearest lists of each query, and the last, unless it is empty: int64 (q, probes or one more); None where all are looked at."""
    centroids = segment.centroids
    if centroids is None or probes >= len(centroids):
        return None
    # of one query a matrix times a vector: several times as fast as a product of matrices
    scores = (centroids @ dense[0])[None] if len(dense) == 1 else dense @ centroids.T
    nearest = np.argpartition(scores, len(centroids) - probes, axis=1)[:, len(centroids) - probes :]
    last = np.full((len(dense), 1 if segment.recent else 0), len(centroids))
    return np.concatenate([nearest, last], axis=1)
