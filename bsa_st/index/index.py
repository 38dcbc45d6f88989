"""The index object: documents in, best documents out."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.errors import BSAError
from bsa_st.index import search as searching
from bsa_st.index import storage
from bsa_st.index.counting import Decoder
from bsa_st.index.documentids import DocumentIds, check_ids
from bsa_st.index.models import as_decoder, encode_documents, encode_queries
from bsa_st.index.part import Part
from bsa_st.index.ranking import Ids, no_hits
from bsa_st.index.search import Scoring
from bsa_st.index.stats import IndexStats, measure
from bsa_st.index.store import BLOCK, CodeStore
from bsa_st.index.view import View
from bsa_st.scoring import Hits

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PROBES = 128
CANDIDATES = 3000


class Index:
    """Exact search over codes, with their decoder inside.

    Make one with :meth:`build` or :meth:`open`. Codes are kept compressed, and are searched through an inverted index of bitmaps and
    short lists that is made in memory when it is first needed. Searching from several threads is safe, also while another thread adds or
    deletes: a search sees the documents of the moment it started. Several processes may open the same file; they share its pages.

    With numba the kernels are compiled at their first use, once per installation; without it everything works the same, slowly.
    """

    def __init__(self, content: storage.Content, model: SentenceTransformer | None = None) -> None:
        self.model = model
        self._store, _, self._live, self._decoder = content
        self._ids = DocumentIds(content.ids, self._live)
        self._parts: list[Part] = []
        self._view: View | None = None
        self._lock = threading.RLock()

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
        """An index of codes, or of texts that a model encodes (refined, with the byte for unbiased scores).

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
        model = None if isinstance(source, BinaryCodes) else source
        if isinstance(source, BinaryCodes):
            if texts is not None:
                raise BSAError("give either codes, or a model and texts")
            codes = source
        else:
            if texts is None:
                raise BSAError("a model needs the texts to index")
            codes = encode_documents(source, texts, batch_size, show_progress_bar)
            decoder = decoder or source
        index = cls._empty(codes, as_decoder(decoder, codes.hidden_dim), model)
        index.add(codes, ids=ids)
        return index

    @classmethod
    def _empty(cls, codes: BinaryCodes, decoder: Decoder | None, model: SentenceTransformer | None) -> Index:
        store = CodeStore.empty(codes.hidden_dim, codes.scale is not None)
        return cls(storage.Content(store, np.zeros(0, np.int64), np.zeros(0, bool), decoder), model)

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
            given = as_decoder(model, content.store.hidden_dim)
            saved = content.decoder
            if saved is not None and given is not None and not _same(saved, given):
                raise BSAError(f"index {path} was built with another model: their decoders differ")
            content = content._replace(decoder=given if saved is None else saved)
        return cls(content, model)

    def save(self, path: str | Path) -> int:
        """Write the index to a file, atomically: whoever opens it finds the old index or the new one; returns its bytes.

        Raises:
            BSAError: If the file cannot be written; an earlier one stays whole.
        """
        with self._lock:
            content = storage.Content(self._store, self._ids.values, self._live, self._decoder)
        return storage.write(Path(path), content)

    # -- the documents ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(np.count_nonzero(self._live))

    @property
    def hidden_dim(self) -> int:
        """Number D of features."""
        return self._store.hidden_dim

    @property
    def decoder(self) -> Decoder | None:
        """V (D, d) and c (d,), float32, or None."""
        return self._decoder

    @property
    def ids(self) -> np.ndarray:
        """Ids of the documents in the order they were added: int64 (n,)."""
        return self._ids.values[self._live]

    def __contains__(self, document: int) -> bool:
        return bool(self._ids.find(np.array([document], np.int64))[0] >= 0)

    def codes(self, ids: npt.ArrayLike) -> BinaryCodes:
        """The stored codes of documents, in the order of ``ids``; an unknown id raises :class:`BSAError`."""
        with self._lock:
            return self._store.take(self._positions(ids))

    def add(self, documents: BinaryCodes | Iterable[str], *, ids: npt.ArrayLike | None = None) -> np.ndarray:
        """Add documents; returns their ids, int64 (n,). Many at a time are much cheaper than one by one.

        Args:
            documents: Codes, or texts if the index has a model.
            ids: Distinct ids that are not in the index; default counts up from the largest.

        Raises:
            BSAError: If the codes do not fit or an id is taken; nothing is added then.
        """
        codes = self._as_codes(documents)
        with self._lock:
            if ids is None:
                first = self._ids.next_free()
                given = np.arange(first, first + len(codes), dtype=np.int64)
            else:
                given = check_ids(ids, len(codes))
                taken = given[self._ids.find(given) >= 0]
                if len(taken):
                    raise BSAError(f"id {taken[0]} is already in the index; use update to replace it")
            self._append(codes, given)
        return given

    def delete(self, ids: npt.ArrayLike) -> None:
        """Delete documents: they are marked, and :meth:`compact` frees their room. An unknown id raises :class:`BSAError`, and
        nothing is deleted."""
        with self._lock:
            self._mark(self._positions(ids))

    def update(self, ids: npt.ArrayLike, documents: BinaryCodes | Iterable[str]) -> None:
        """Replace documents that are in the index; raises :class:`BSAError` and changes nothing if an id is unknown."""
        codes = self._as_codes(documents)
        with self._lock:
            positions = self._positions(ids)
            if len(positions) != len(codes):
                raise BSAError(f"{len(codes)} documents need {len(codes)} ids, got {len(positions)}")
            names = self._ids.values[positions]
            self._mark(positions)
            self._append(codes, names)

    def compact(self) -> None:
        """Free the room of deleted documents."""
        with self._lock:
            if self._live.all():
                return
            store = CodeStore.empty(self.hidden_dim, self._store.scale is not None)
            for start in range(0, len(self._live), BLOCK):
                positions = start + np.flatnonzero(self._live[start : start + BLOCK])
                store = store.append(self._store.take(positions))
            names = self._ids.values[self._live]
            self._store, self._live = store, np.ones(len(names), bool)
            self._ids, self._parts = DocumentIds(names, self._live), []
            self._forget()

    # -- searching --------------------------------------------------------------------------------------------------

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
            prompt_name: Name of one of the model's prompts, for texts.
            idf: Weights of the features for ``idf`` scores, float (D,), where this index is a part of a larger collection
                (:mod:`bsa_st.index.sharded`). Default: those of its own documents.

        Returns:
            ids, int64, and scores, float32, both (n, top_k), best first; equal scores by decoded score, then by id. Where there are
            fewer hits the id is -1 and the score minus infinity.

        Raises:
            BSAError: If the queries do not fit the index or the scoring, or an argument is out of range.
        """
        if scoring is not None and scoring not in get_args(Scoring):
            raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
        for name, value in (("top_k", top_k), ("probes", probes), ("candidates", candidates), ("threads", threads)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")
        view, ids, allowed = self._snapshot(filter)
        kind, prepared = encode_queries(queries, scoring, self.model, view.decoder, self.hidden_dim, prompt_name)
        found = view.count if allowed is None else int(np.count_nonzero(allowed))
        if found == 0:
            return no_hits(len(prepared), top_k)
        depth = min(top_k, found)
        if isinstance(prepared, BinaryCodes):
            weights = self._weights(view, idf) if kind == "idf" else None
            ties = break_ties and view.decoder is not None
            hits = searching.symmetric(view, prepared, kind, depth, ids, weights, ties, allowed, threads)  # type: ignore[arg-type]
        elif kind == "asymmetric":
            hits = searching.exhaustive(view, prepared, depth, ids, allowed)
        else:
            frequency = (view.frequency / max(1, view.count)).astype(np.float32)
            hits = searching.two_stage(view, prepared, depth, ids, probes, candidates, frequency, allowed, threads)
        if depth == top_k:
            return hits
        padded = no_hits(len(hits.ids), top_k)
        padded.ids[:, :depth], padded.scores[:, :depth] = hits.ids, hits.scores
        return padded

    def idf(self) -> np.ndarray:
        """Weights of the features in ``idf`` scores, as :func:`bsa_st.scoring.idf` of the documents: float32 (D,)."""
        view, _, _ = self._snapshot(None)
        return _idf(view)

    def document_frequency(self) -> np.ndarray:
        """Number of documents in which each feature is active: int64 (D,)."""
        view, _, _ = self._snapshot(None)
        return view.frequency.copy()

    def prepare(self) -> Index:
        """Make the inverted index now rather than at the first search; returns the index."""
        self._snapshot(None)
        return self

    # -- sizes ------------------------------------------------------------------------------------------------------

    @property
    def nbytes(self) -> int:
        """Bytes in memory now, memory-mapped ones included."""
        return self.stats().memory_bytes

    def stats(self) -> IndexStats:
        """Numbers of documents and features, and bytes of every part."""
        with self._lock:
            return measure(self._store, self._ids, self._live, self._decoder, self._parts, self._view)

    def __repr__(self) -> str:
        decoder = "no decoder" if self._decoder is None else f"decoder of width {self._decoder.weight.shape[1]}"
        return f"Index({len(self)} documents, hidden_dim={self.hidden_dim}, {decoder})"

    # -- inside -----------------------------------------------------------------------------------------------------

    def _as_codes(self, documents: BinaryCodes | Iterable[str]) -> BinaryCodes:
        if not isinstance(documents, BinaryCodes):
            if self.model is None:
                raise BSAError("adding texts needs the model: Index.open(path, model=...)")
            documents = encode_documents(self.model, documents)
            if self._store.scale is None:
                documents.scale = None
        if documents.hidden_dim != self.hidden_dim:
            raise BSAError(f"the index has {self.hidden_dim} features, the codes {documents.hidden_dim}")
        if (documents.scale is None) != (self._store.scale is None):
            have, lack = ("codes", "index") if self._store.scale is None else ("index", "codes")
            raise BSAError(f"the {have} carry the scale byte for unbiased scores, the {lack} do not")
        return documents

    def _positions(self, ids: npt.ArrayLike) -> np.ndarray:
        given = check_ids(np.atleast_1d(np.asarray(ids)))
        positions = self._ids.find(given)
        if (positions < 0).any():
            raise BSAError(f"id {given[positions < 0][0]} is not in the index")
        return positions

    def _append(self, codes: BinaryCodes, ids: np.ndarray) -> None:
        if len(codes) == 0:
            return
        self._store = self._store.append(codes)
        self._live = np.concatenate([self._live, np.ones(len(codes), bool)])
        self._ids = DocumentIds(np.concatenate([self._ids.values, ids]), self._live)
        self._forget()

    def _mark(self, positions: np.ndarray) -> None:
        self._live = self._live.copy()
        self._live[positions] = False
        self._ids = DocumentIds(self._ids.values, self._live)
        self._forget()

    def _forget(self) -> None:
        """The view is of an earlier state; full blocks that are inverted stay so."""
        self._view = None

    def _snapshot(self, filter: npt.ArrayLike | None) -> tuple[View, Ids, np.ndarray | None]:
        with self._lock:
            if self._view is None:
                self._parts = self._inverted()
                self._view = View(self._store, self._parts, self._live, self._decoder)
            values = self._ids.values
            return self._view, lambda positions: values[positions], self._allowed(filter)

    def _inverted(self) -> list[Part]:
        store = self._store
        full, scored = len(store) // BLOCK, self._decoder is not None
        sealed = [part for part in self._parts if part.last <= full and part.sealed]
        done = sealed[0].last if sealed else 0
        if done < full:
            more = Part.build(store, done, full, sealed[0] if sealed else None, sealed=True, with_rows=scored)
            sealed = [sealed[0].extend(more)] if sealed else [more]
        tail = [part for part in self._parts if not part.sealed and part.documents == len(store) and part.first == full]
        if not tail and full < store.blocks:
            tail = [Part.build(store, full, store.blocks, None, sealed=False, with_rows=scored)]
        return [*sealed, *tail]

    def _weights(self, view: View, given: np.ndarray | None) -> np.ndarray:
        if given is None:
            return _idf(view)
        weights = np.asarray(given, dtype=np.float32)
        if weights.shape != (self.hidden_dim,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise BSAError(f"idf must hold {self.hidden_dim} finite weights of at least 0, got shape {weights.shape}")
        return weights

    def _allowed(self, filter: npt.ArrayLike | None) -> np.ndarray | None:
        if filter is None:
            return None
        given = np.asarray(filter)
        allowed = np.zeros(len(self._live), bool)
        if given.dtype == bool:
            if given.shape != (len(self),):
                raise BSAError(f"a mask must have one entry for each of the {len(self)} documents, got shape {given.shape}")
            allowed[np.flatnonzero(self._live)[given]] = True
            return allowed
        if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
            raise BSAError(f"filter must be a boolean mask or a list of ids, got {given.dtype} of shape {given.shape}")
        positions = self._ids.find(given.astype(np.int64))
        allowed[positions[positions >= 0]] = True
        return allowed


def _idf(view: View) -> np.ndarray:
    return np.log((view.count + 1) / (view.frequency + 1)).astype(np.float32)


def _same(left: Decoder, right: Decoder) -> bool:
    return left.weight.shape == right.weight.shape and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
