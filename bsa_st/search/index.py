"""The index: documents in, best documents out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Decoder, Scoring, as_decoder
from bsa_st.errors import BSAError
from bsa_st.inputs.texts import read_texts
from bsa_st.search import file
from bsa_st.search.lists import train_lists
from bsa_st.search.queries import check_counts, prepared
from bsa_st.search.rescoring import Ranking, code_rankings, float_rankings
from bsa_st.search.segment import Segment, TagNames, check_ids

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

LISTS_FROM = 200_000  # documents from which an index has lists, where it has a decoder
PROBES = 96
CANDIDATES = 200
RECENT = 4096  # documents that may lie unsorted beside the others, or an eighth of these, before they are merged


class IndexStats(NamedTuple):
    """Counts of an index, and bytes, memory-mapped ones included."""

    documents: int
    deleted: int  # their room is freed by the next merge
    hidden_dim: int
    lists: int  # 0 where every document is looked at
    memory_bytes: int
    part_bytes: dict[str, int]  # of each array by its name; their sum is memory_bytes


class Index:
    """Search over codes with float queries, on faiss; the codes are held once.

    Make one with :meth:`build` or :meth:`open`. Up to 200,000 documents every code is compared with the query, beyond that those of the
    nearest inverted lists; the best few hundred are scored exactly from their codes. Several threads may search, also while another adds or deletes:
    a search sees the documents of the moment it started. Processes that open the same file share its pages; who changes it uses :meth:`edit`.

    Example: ``bsa_st.Index.build(model, texts).search("cannot hear", top_k=2)[0].ids``
    """

    def __init__(self, segment: Segment, lists: int | None, next_id: int, model: SentenceTransformer | None) -> None:
        self.hidden_dim = segment.codes.hidden_dim
        self.model = model
        self._segment = segment
        self._wanted_lists = lists
        self._next_id = next_id
        self._lock = threading.RLock()
        self._origin: tuple[Path, tuple[int, ...]] | None = None

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
        model, documents = (None, source) if isinstance(source, BinaryCodes) else (source, texts)
        if documents is None:
            raise BSAError("a model needs the texts to index")
        options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        codes, kept = _encoded(model, documents, None if model else texts, **options)
        if lists is not None and (lists < 0 or lists > max(1, len(codes))):
            raise BSAError(f"lists must lie between 0 and the number of documents, {len(codes)}, got {lists}")
        maker = model if decoder is None else decoder
        own = None if maker is None else as_decoder(maker, codes.hidden_dim)
        index = cls(Segment(codes[:0], np.zeros(0, np.uint32), np.array([0, 0]), own), lists, 0, model)
        index.add(codes, ids=ids, texts=kept, tags=tags)
        index.compact()
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
        arrays, identity = file.read(path)
        try:
            next_id, lists, hidden_dim = arrays.pop("counters").tolist()
            segment = Segment.from_arrays(arrays, hidden_dim)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise BSAError(f"index {path}: its parts do not fit together") from error
        if model is not None:
            given: Any = as_decoder(model, hidden_dim)
            own: Any = segment.decoder or given
            if not all(map(np.array_equal, own, given)):
                raise BSAError(f"index {path} was built with another model: their decoders differ")
            segment = replace(segment, decoder=given)
        index = cls(segment, lists if lists >= 0 else None, next_id, model)
        index._origin = path.resolve(), identity
        return index

    @classmethod
    @contextmanager
    def edit(cls, path: str | Path, *, model: SentenceTransformer | None = None) -> Iterator[Index]:
        """Open an index to change it, ``with Index.edit(path) as index: index.add(...)``: other writers wait, for a minute at most, and it is saved in the
        end. Raises what :meth:`open` and :meth:`save` raise."""
        with file.writing(Path(path)):
            index = cls.open(path, model=model)
            yield index
            index.save(path)

    def save(self, path: str | Path) -> int:
        """Write the index to a file, atomically: whoever opens it finds the old index or the new one; returns its bytes.

        Raises:
            BSAError: If the file cannot be written, or this index was opened from it and somebody else has changed it since. It stays as it was.
        """
        path = Path(path)
        with file.writing(path), self._lock:
            place, identity = self._origin or (None, None)
            if place == path.resolve() and path.exists() and file.identity(path) != identity:
                raise BSAError(f"{path} was changed since this index was opened; open it again, or use Index.edit")
            self.compact()
            lists = -1 if self._wanted_lists is None else self._wanted_lists
            counters = np.array([self._next_id, lists, self.hidden_dim])
            size = file.write(path, {"counters": counters, **self._segment.to_arrays()})
            self._origin = path.resolve(), file.identity(path)
            return size

    @property
    def decoder(self) -> Decoder | None:
        """What the codes are decoded by."""
        return self._segment.decoder

    @property
    def ids(self) -> np.ndarray:
        """Ids of the documents in the order that they lie in, which a change can alter: int64 (n,)."""
        segment = self._segment
        return segment.ids[segment.rows].astype(np.int64)

    def __len__(self) -> int:
        return len(self._segment.rows)

    def codes(self, ids: npt.ArrayLike) -> BinaryCodes:
        """The stored codes of documents, in the order of ``ids``; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        return segment.codes[segment.rows_of(ids)]

    def texts(self, ids: npt.ArrayLike) -> list[str]:
        """The texts of documents, in the order of ``ids``, empty where the index was given none; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        rows, texts = segment.rows_of(ids).tolist(), segment.texts
        return ["" if texts is None else bytes(texts[row]).decode("utf-8", "replace") for row in rows]

    def facets(self, ids: npt.ArrayLike) -> list[tuple[str, int]]:
        """The tags of documents, of a result list say, with how many of these have each, most first; an unknown id raises :class:`BSAError`."""
        segment = self._segment
        rows, names = segment.rows_of(ids), segment.tag_names
        found = np.zeros(0, np.int64) if segment.tags is None else segment.tags.take(rows).values
        counts = np.bincount(found, minlength=len(names))
        return [(names[place], int(counts[place])) for place in np.argsort(-counts, kind="stable") if counts[place]]

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
        codes, kept = _encoded(self.model, documents, texts)
        with self._lock:
            given = np.arange(self._next_id, self._next_id + len(codes)) if ids is None else check_ids(ids, len(codes))
            self._grow(self._segment.with_added(codes, given, kept, tags))
            self._next_id = max(self._next_id, int(given.max(initial=-1)) + 1)
        return given

    def update(
        self,
        ids: npt.ArrayLike,
        documents: BinaryCodes | Iterable[str],
        *,
        texts: Iterable[str] | None = None,
        tags: TagNames | None = None,
    ) -> None:
        """Replace documents that are in the index, texts and tags too; raises :class:`BSAError` and changes nothing if an id is unknown."""
        codes, kept = _encoded(self.model, documents, texts)
        with self._lock:
            given = check_ids(ids, len(codes))
            left = self._segment.without(self._segment.rows_of(given))
            self._grow(left.with_added(codes, given, kept, tags))

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents: they are marked, and the next merge frees their room. An unknown id raises :class:`BSAError`, and nothing is
        deleted."""
        with self._lock:
            self._segment = self._segment.without(self._segment.rows_of(check_ids(ids)))

    def compact(self) -> None:
        """Merge what was added into the lists, where there are enough documents, and free the room of deleted ones; saving does so too."""
        with self._lock:
            segment, wanted = self._segment, self._lists()
            centroids = segment.centroids if wanted else None
            if wanted and (centroids is None or not wanted / 4 < len(centroids) < wanted * 4):
                assert segment.decoder is not None
                centroids = train_lists(segment.codes[segment.rows], segment.decoder, wanted)
            if segment.live is not None or segment.recent or centroids is not segment.centroids:
                self._segment = segment.arranged(centroids)

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
        prompt_name: str | None = None,
        threads: int = 1,
    ) -> list[Ranking]:
        """Best documents of each query.

        Args:
            queries: Texts, if the index has a model; dense embeddings, float (n, d); or n codes. A ``str`` or a vector is one query.
            top_k: Documents per query.
            scoring: ``asymmetric`` ``q . x_hat / |x_hat|``, the most exact; ``decoded`` the same with the query's code decoded; ``overlap`` the number
                of shared features and ``cosine`` that number divided by ``sqrt(k1 k2)``, here both of all documents that share one. Default:
                ``asymmetric``, and ``cosine`` for codes.
            filter: Find only these: a boolean mask over :attr:`ids`, or ids (those that are not in the index find nothing).
            with_tags: Find only documents that have all of these tags.
            without_tags: Find only documents that have none of these tags.
            probes: Lists that are looked at, where there are lists; more where those hold fewer than top_k documents.
            candidates: Documents that are scored exactly, where ``top_k`` is not more.
            prompt_name: Name of one of the model's prompts, for texts; default ``query``, if it has such a prompt.
            threads: Threads that share the queries.

        Returns:
            One ranking per query: ids, int64, and scores, float32, best first, equal scores by id. A ranking holds what was found only.

        Raises:
            BSAError: If the queries do not fit the index or the scoring, an argument is out of range, or no document ever had a tag.
        """
        top_k, probes, candidates, threads = check_counts(top_k=top_k, probes=probes, candidates=candidates, threads=threads)
        segment = self._segment
        allowed = segment.allowed(filter, with_tags, without_tags)
        kind, asked = prepared(queries, scoring, self.model, segment.decoder, self.hidden_dim, prompt_name)

        def rank(rows: np.ndarray) -> list[Ranking]:
            before = faiss.omp_get_max_threads()
            faiss.omp_set_num_threads(1)  # of this thread: the queries are shared out here
            try:
                if isinstance(asked, BinaryCodes):
                    return list(code_rankings(segment, asked[rows], kind, allowed, top_k))
                return float_rankings(segment, asked[rows], probes, allowed, top_k, max(candidates, 4 * top_k))
            finally:
                faiss.omp_set_num_threads(before)

        parts = np.array_split(np.arange(len(asked)), max(1, min(threads, len(asked))))
        if len(parts) == 1:
            return rank(parts[0])
        with ThreadPoolExecutor(len(parts)) as pool:
            return [ranking for found in pool.map(rank, parts) for ranking in found]

    def stats(self) -> IndexStats:
        """Numbers of documents and lists, and bytes of every part."""
        segment = self._segment
        sizes = {name: array.nbytes for name, array in segment.to_arrays().items()}
        count, lists = len(segment.rows), 0 if segment.centroids is None else len(segment.centroids)
        return IndexStats(count, len(segment) - count, self.hidden_dim, lists, sum(sizes.values()), sizes)

    def __repr__(self) -> str:
        decoder = "no decoder" if self.decoder is None else f"decoder of width {self.decoder.weight.shape[1]}"
        return f"Index({len(self)} documents, hidden_dim={self.hidden_dim}, {decoder})"

    def _grow(self, segment: Segment) -> None:
        """Make the index a segment with new documents, and merge them where they are many."""
        self._segment = segment
        if segment.recent > max(RECENT, (len(segment) - segment.recent) // 8) or (segment.centroids is None and self._lists()):
            self.compact()

    def _lists(self) -> int:
        """How many lists there should be: as asked for, or about ``2 sqrt(n)``, a power of two."""
        count, wanted = len(self), self._wanted_lists
        if wanted is None:
            wanted = 1 << round(np.log2(2 * np.sqrt(count))) if count >= LISTS_FROM else 0
        return 0 if self.decoder is None else min(wanted, count)


def _encoded(
    model: Any, documents: BinaryCodes | Iterable[str], texts: Iterable[str] | None = None, **options: Any
) -> tuple[BinaryCodes, list[str] | None]:
    """Codes of documents, and the texts that are kept: those given, or the documents themselves; a ``str`` is one text, a ``Path`` a file."""
    if isinstance(documents, BinaryCodes):
        strings = None
    elif model is None:
        raise BSAError("adding texts needs the model: Index.open(path, model=...)")
    else:
        from bsa_st.encoding.encode import encode

        strings = read_texts(documents)
        documents = encode(model, strings, **options)
    if texts is not None:
        strings = read_texts(texts) if isinstance(texts, (str, Path)) else list(texts)
    if strings is not None and not all(isinstance(text, str) for text in strings):
        raise BSAError("texts must be strings")
    return documents, strings
