"""The index object: documents in, best documents out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Hits, idf_weights
from bsa_st.errors import BSAError
from bsa_st.index import storage
from bsa_st.index.answering import answer, check_arguments
from bsa_st.index.collection import Collection
from bsa_st.index.counting import Decoder
from bsa_st.index.documentids import DocumentIds
from bsa_st.index.filters import allowed_documents
from bsa_st.index.models import as_codes, as_decoder, decoder_for, encode_queries, given_codes
from bsa_st.index.search import Scoring
from bsa_st.index.state import State
from bsa_st.index.stats import IndexStats
from bsa_st.index.store import CodeStore

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROBES = 160
CANDIDATES = 4000


class Index:
    """Exact search over codes, with their decoder inside.

    Make one with :meth:`build` or :meth:`open`. Codes are kept compressed, and are searched through an inverted index of bitmaps and
    short lists that is made in memory when it is first needed. Searching from several threads is safe, also while another thread adds or
    deletes: a search sees the documents of the moment it started. Several processes may open the same file; they share its pages.

    With numba the kernels are compiled at their first use, once per installation; without it everything works the same, slowly.
    """

    def __init__(self, content: storage.Content, model: SentenceTransformer | None = None) -> None:
        self.model = model
        documents = Collection(content.store, DocumentIds(content.ids, content.live), content.live)
        self._state = State(documents, content.decoder)

    @classmethod
    def build(
        cls,
        source: BinaryCodes | SentenceTransformer,
        texts: Iterable[str] | None = None,
        *,
        ids: npt.ArrayLike | None = None,
        decoder: Any = None,
        batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> Index:
        """An index of codes, or of texts that a model encodes (refined).

        Args:
            source: Codes from :func:`bsa_st.encode`, or a BSA model.
            texts: The documents, if ``source`` is a model.
            ids: Distinct ids, int (n,), not negative; default 0 to n - 1.
            decoder: What asymmetric and decoded scores need, if ``source`` are codes: the model that made them, its head, or
                the arrays (V, c) of shapes (D, d) and (d,). It is saved with the index.
            batch_size: Texts per forward pass.
            show_progress_bar: Show a bar while texts are encoded.

        Raises:
            BSAError: If the ids are not distinct or not as many as documents, or the decoder does not fit the codes.
        """
        codes, model = given_codes(source, texts, batch_size, show_progress_bar)
        store = CodeStore.empty(codes.hidden_dim)
        own = as_decoder(model if decoder is None else decoder, codes.hidden_dim)
        nothing = storage.Content(store, np.zeros(0, np.int64), np.zeros(0, bool), own)
        index = cls(nothing, model)
        index.add(codes, ids=ids)
        return index

    @classmethod
    def open(cls, path: str | Path, *, model: SentenceTransformer | None = None) -> Index:
        """Open a saved index as a memory map; checksums are verified.

        Args:
            path: A file written by :meth:`save`.
            model: The model that encoded the documents; needed to search and add texts.

        Raises:
            BSAError: If the file is missing, no index or damaged (the block is named), or the model is another one.
        """
        content = storage.read(Path(path))
        if model is not None:
            content = content._replace(decoder=decoder_for(model, content.decoder, content.store.hidden_dim, f"index {path}"))
        return cls(content, model)

    def save(self, path: str | Path) -> int:
        """Write the index to a file, atomically: whoever opens it finds the old index or the new one; returns its bytes.

        Raises:
            BSAError: If the file cannot be written; an earlier one stays whole.
        """
        store, ids, live = self._state.documents
        return storage.write(Path(path), storage.Content(store, ids.values, live, self.decoder))

    def __len__(self) -> int:
        return int(np.count_nonzero(self._state.documents.live))

    @property
    def hidden_dim(self) -> int:
        """Number D of features."""
        return self._state.documents.store.hidden_dim

    @property
    def decoder(self) -> Decoder | None:
        """V (D, d) and c (d,), float32, or None."""
        return self._state.decoder

    @property
    def ids(self) -> np.ndarray:
        """Ids of the documents in the order they were added: int64 (n,)."""
        present = self._state.documents
        return present.ids.values[present.live]

    def __contains__(self, document: int) -> bool:
        return bool(self._state.documents.ids.find(np.array([document], np.int64))[0] >= 0)

    def codes(self, ids: npt.ArrayLike) -> BinaryCodes:
        """The stored codes of documents, in the order of ``ids``; an unknown id raises :class:`BSAError`."""
        present = self._state.documents
        return present.store.take(present.positions(ids))

    def add(self, documents: BinaryCodes | Iterable[str], *, ids: npt.ArrayLike | None = None) -> np.ndarray:
        """Add documents; returns their ids, int64 (n,). Many at a time are much cheaper than one by one.

        Args:
            documents: Codes, or texts if the index has a model.
            ids: Distinct ids that are not in the index; default counts up from the largest.

        Raises:
            BSAError: If the codes do not fit or an id is taken; nothing is added then.
        """
        codes = self._as_codes(documents)
        with self._state.lock:
            given = self._state.documents.new_ids(ids, len(codes))
            self._state.change(self._state.documents.with_more(codes, given))
        return given

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents: they are marked, and :meth:`compact` frees their room. An unknown id raises :class:`BSAError`, and
        nothing is deleted."""
        with self._state.lock:
            present = self._state.documents
            self._state.change(present.without(present.positions(ids)))

    def update(self, ids: npt.ArrayLike, documents: BinaryCodes | Iterable[str]) -> None:
        """Replace documents that are in the index; raises :class:`BSAError` and changes nothing if an id is unknown."""
        codes = self._as_codes(documents)
        with self._state.lock:
            present = self._state.documents
            positions = present.positions(ids)
            if len(positions) != len(codes):
                raise BSAError(f"{len(codes)} documents need {len(codes)} ids, got {len(positions)}")
            names = present.ids.values[positions]
            self._state.change(present.without(positions).with_more(codes, names))

    def compact(self) -> None:
        """Free the room of deleted documents."""
        with self._state.lock:
            if not self._state.documents.live.all():
                self._state.change(self._state.documents.compacted(), moved=True)

    def search(
        self,
        queries: BinaryCodes | npt.ArrayLike | str | Sequence[str],
        top_k: int = 10,
        *,
        scoring: Scoring | None = None,
        filter: npt.ArrayLike | None = None,
        probes: int = PROBES,
        candidates: int = CANDIDATES,
        break_ties: bool = True,
        threads: int = 1,
        prompt_name: str | None = None,
        idf: np.ndarray | None = None,
    ) -> Hits:
        """Best documents of each query.

        Args:
            queries: n codes; dense embeddings, float (n, d); or texts, if the index has a model.
            top_k: Hits per query.
            scoring: Symmetric, exact: ``overlap`` number of shared features, ``cosine``, ``jaccard``, ``idf`` the overlap with
                each feature weighing its inverse document frequency; only documents that share a feature are found.
                Asymmetric, for dense queries: ``two-stage`` (the ``probes`` heaviest features choose ``candidates``, which are
                scored exactly), ``asymmetric`` (every document is scored). ``decoded``: as ``two-stage``, with
                the query's code decoded. Default: ``cosine`` for codes, ``two-stage`` for dense embeddings and texts.
            filter: Search only these: a boolean mask over :attr:`ids`, or ids (those that are not in the index find nothing).
            probes: Features of the first of two stages, T.
            candidates: Documents of the second stage, C.
            break_ties: Put documents of equal symmetric score in the order of their ``decoded`` score, where there is a
                decoder; otherwise in the order of their ids.
            threads: Threads that share the blocks of documents; the result does not depend on it.
            prompt_name: Name of one of the model's prompts, for texts; default ``query``, if it has such a prompt.
            idf: Weights of the features for ``idf`` scores, float (D,), where this index is a part of a larger collection
                (:mod:`bsa_st.index.sharded`). Default: those of its own documents.

        Returns:
            ids, int64, and scores, float32, both (n, top_k), best first; equal scores by decoded score, then by id. Where there are
            fewer hits the id is -1 and the score minus infinity.

        Raises:
            BSAError: If the queries do not fit the index or the scoring, or an argument is out of range.
        """
        check_arguments(scoring, top_k=top_k, probes=probes, candidates=candidates, threads=threads)
        view, (_, ids, live) = self._state.snapshot()
        allowed = allowed_documents(filter, live, ids)
        kind, prepared = encode_queries(queries, scoring, self.model, view.decoder, self.hidden_dim, prompt_name)
        options = {"probes": probes, "candidates": candidates, "break_ties": break_ties, "idf": idf, "threads": threads}
        return answer(view, prepared, kind, top_k, lambda positions: ids.values[positions], allowed, **options)  # type: ignore[arg-type]

    def idf(self) -> np.ndarray:
        """Weights of the features in ``idf`` scores, as :func:`bsa_st.codes.scoring.idf` of the documents: float32 (D,)."""
        view, _ = self._state.snapshot()
        return idf_weights(view.count, view.frequency)

    def document_frequency(self) -> np.ndarray:
        """Number of documents in which each feature is active: int64 (D,)."""
        view, _ = self._state.snapshot()
        return view.frequency.copy()

    def prepare(self) -> Index:
        """Make the inverted index now rather than at the first search; returns the index."""
        self._state.snapshot()
        return self

    @property
    def nbytes(self) -> int:
        """Bytes in memory now, memory-mapped ones included."""
        return self.stats().memory_bytes

    def stats(self) -> IndexStats:
        """Numbers of documents and features, and bytes of every part."""
        return self._state.stats()

    def __repr__(self) -> str:
        decoder = "no decoder" if self.decoder is None else f"decoder of width {self.decoder.weight.shape[1]}"
        return f"Index({len(self)} documents, hidden_dim={self.hidden_dim}, {decoder})"

    def _as_codes(self, documents: BinaryCodes | Iterable[str]) -> BinaryCodes:
        if not isinstance(documents, BinaryCodes) and self.model is None:
            raise BSAError("adding texts needs the model: Index.open(path, model=...)")
        return as_codes(documents, self.model, self.hidden_dim)
