"""The interface that all engines share: documents with codes, ids and payload in, best documents out."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Hits
from bsa_st.engines.documents import Documents, Filter, Layout, Payload, described
from bsa_st.engines.queries import SparseQuery, sparse_queries
from bsa_st.errors import BSAError
from bsa_st.search.ids import check_ids

CANDIDATES = 500


class Engine(abc.ABC):
    """A collection of codes in an engine.

    A score is ``overlap``, the number of shared features; ``idf``, the sum of the weights of shared features; or ``asymmetric``,
    ``factor * (sum of w_i over active features + constant)`` with ``w = V q`` and ``constant = c . q``, what
    :func:`bsa_st.codes.scoring.asymmetric_scores` gives. The factor, ``1 / |x_hat|``, travels with the document
    as float32. :attr:`scorings` tells which an engine has. Overlaps are exact integers; sums of floats differ from numpy's by the
    order of additions, about 1e-6.
    """

    name: ClassVar[str]
    scorings: ClassVar[tuple[str, ...]] = ("overlap", "idf", "asymmetric")
    forms: ClassVar[tuple[str, ...]] = ("sparsevec",)
    _known: Layout | None = None
    """The layout, once the collection was found."""

    # -- what each engine does --------------------------------------------------------------------------------------

    @abc.abstractmethod
    def layout(self) -> Layout | None:
        """What the collection holds; None if there is no such collection.

        Raises:
            Unavailable: If the server does not answer.
            BSAError: If it refuses, or the collection was made by something else.
        """

    @abc.abstractmethod
    def count(self, filter: Filter | None = None) -> int:
        """Number of documents, or of those that match."""

    @abc.abstractmethod
    def delete(self, ids: Sequence[int]) -> None:
        """Delete documents; ids that are not there are passed over."""

    @abc.abstractmethod
    def drop(self) -> None:
        """Delete the collection, if there is one."""

    @abc.abstractmethod
    def _create(self, layout: Layout) -> None: ...

    @abc.abstractmethod
    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        """Id, source and payload of those that are there; the payload empty unless it is asked for."""

    @abc.abstractmethod
    def _upsert(self, documents: Documents) -> None: ...

    @abc.abstractmethod
    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]: ...

    def finish(self) -> None:  # noqa: B027  # most engines have nothing to do
        """Make what was loaded searchable and durable, after the last batch."""

    def disk_bytes(self) -> int:
        """Bytes that the collection takes on disk, for engines that can tell.

        Raises:
            BSAError: If this one cannot.
        """
        raise BSAError(f"{self.name} does not tell how much room a collection takes")

    def close(self) -> None:  # noqa: B027
        """Release connections and files."""

    # -- the same for all -------------------------------------------------------------------------------------------

    def sources(self, ids: Sequence[int]) -> dict[str, int]:
        """How many of these documents are there, by the source that they came from."""
        found = self._fetch([int(name) for name in ids], False) if len(ids) else []
        return dict(Counter(source for _, source, _ in found))

    def payloads(self, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Payloads of those of these documents that are there, by id."""
        found = self._fetch([int(name) for name in ids], True) if len(ids) else []
        return {name: payload for name, _, payload in found}

    def create(self, layout: Layout) -> None:
        """Create the collection; does nothing if it is there with the same layout.

        Raises:
            BSAError: If it is there with another one, or the engine does not know the form.
        """
        if layout.form not in self.forms:
            raise BSAError(f"{self.name} has no form {layout.form!r}; it has {' and '.join(self.forms)}")
        found = self.layout()
        if found is None:
            self._create(layout)
        elif found != layout:
            raise BSAError(f"the collection holds {described(found)}, not {described(layout)}; choose another collection")

    def upsert(
        self,
        ids: npt.ArrayLike,
        codes: BinaryCodes,
        payloads: Sequence[Payload] | None = None,
        *,
        factors: npt.ArrayLike | None = None,
        source: str = "",
    ) -> None:
        """Add documents, replacing those with the same ids: sending a batch twice changes nothing.

        Args:
            ids: Distinct, int (n,), from 0 to 2^63 - 1.
            codes: n codes.
            payloads: n mappings of fields.
            factors: Float (n,), for asymmetric scores: :func:`bsa_st.codes.scoring.inverse_norms`.
            source: Name of the content, which :meth:`sources` tells.

        Raises:
            Unavailable: If the server does not answer; send the batch again.
            BSAError: If the documents do not fit the collection.
        """
        layout = self._existing()
        if codes.hidden_dim != layout.hidden_dim:
            raise BSAError(f"the collection has {layout.hidden_dim} features, the codes {codes.hidden_dim}")
        checked = check_ids(np.asarray(ids), len(codes))
        if payloads is not None and len(payloads) != len(codes):
            raise BSAError(f"{len(codes)} documents need {len(codes)} payloads, got {len(payloads)}")
        if layout.asymmetric and factors is None:
            raise BSAError("asymmetric scores need factors=; or create the collection with asymmetric=False")
        values = None
        if layout.asymmetric:
            given = np.asarray(factors, dtype=np.float32)
            if given.shape != (len(codes),) or not np.isfinite(given).all():
                raise BSAError(f"{len(codes)} documents need {len(codes)} finite factors, got shape {given.shape}")
            values = given.tolist()
        if len(codes):
            self._upsert(Documents(checked.tolist(), codes, values, payloads or [{}] * len(codes), source))

    def search(
        self,
        queries: BinaryCodes | npt.ArrayLike,
        top_k: int = 10,
        *,
        scoring: str | None = None,
        weights: npt.ArrayLike | None = None,
        decoder: Any = None,
        filter: Filter | None = None,
        probes: int | None = None,
        candidates: int = CANDIDATES,
    ) -> Hits:
        """Best documents of each query.

        Args:
            queries: n codes, or dense embeddings, float (n, d).
            top_k: Hits per query.
            scoring: One of :attr:`scorings`. Default: ``overlap`` for codes, ``asymmetric`` for dense queries.
            weights: For ``idf``, the features' weights, float (D,): :func:`bsa_st.codes.scoring.idf` of the documents.
            decoder: For ``asymmetric``: the model, its head or the arrays (V, c).
            filter: Search only documents whose payload has these values.
            probes: For ``asymmetric``: let the so many heaviest features choose ``candidates``, which are then scored exactly.
                Default: score every document.
            candidates: Documents of the second stage.

        Returns:
            ids, int64, and scores, float32, both (n, top_k), best first; -1 and minus infinity where there are fewer hits. Only documents
            that share a feature are found by symmetric scores. The engine decides the order of equal scores.

        Raises:
            Unavailable: If the server does not answer.
            BSAError: If the queries do not fit, or the engine does not know the scoring.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, (int, np.integer)) or top_k < 1:
            raise BSAError(f"top_k must be a whole number of at least 1, got {top_k!r}")
        layout = self._existing()
        prepared = sparse_queries(queries, layout.hidden_dim, scoring, weights, decoder, probes, max(candidates, int(top_k)))
        if prepared and prepared[0].scoring not in self.scorings:
            raise BSAError(f"{self.name} knows the scorings {', '.join(self.scorings)}, not {prepared[0].scoring}")
        if prepared and prepared[0].scoring == "asymmetric" and not layout.asymmetric:
            raise BSAError("the collection was created without factors: it cannot answer asymmetric queries")
        shape = len(prepared), int(top_k)
        hits = Hits(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
        for row, query in enumerate(prepared):
            found = self._search(query, int(top_k), filter)
            hits.ids[row, : len(found)] = [name for name, _ in found]
            hits.scores[row, : len(found)] = [value for _, value in found]
        return hits

    def _existing(self) -> Layout:
        if self._known is None:
            self._known = self.layout()
        if self._known is None:
            raise BSAError("there is no such collection; create it first")
        return self._known

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
