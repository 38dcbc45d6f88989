"""faiss and usearch: codes as packed bits, in memory, saved to a file. Symmetric scores only, no payload, no filter.

faiss knows the Hamming distance only. usearch also knows Tanimoto, which on bits is Jaccard; its graph (HNSW) is approximate,
``exact=True`` scans instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bsa_st.atomic import atomic_file
from bsa_st.codes import BinaryCodes
from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Documents, Filter, Layout
from bsa_st.engines.queries import SparseQuery
from bsa_st.errors import BSAError


class PackedEngine(Engine):
    """What faiss and usearch have in common: an index object in memory, and a file that :meth:`finish` writes.

    Args:
        path: File; opened if it is there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._layout: Layout | None = None
        self._index: Any = None

    def layout(self) -> Layout | None:
        return self._layout

    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        raise BSAError(f"{self.name} keeps no payload, so it cannot tell where a document came from")

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self._layout = self._known = None

    def _check_layout(self, layout: Layout) -> None:
        if layout.asymmetric:
            raise BSAError(f"{self.name} compares bits with bits only; create the collection with asymmetric=False")
        if layout.hidden_dim % 8:
            raise BSAError(f"{self.name} needs a number of features that 8 divides, got {layout.hidden_dim}")

    def _check(self, documents: Documents) -> None:
        if any(documents.payloads):
            raise BSAError(f"{self.name} keeps no payload")

    def _check_filter(self, filter: Filter | None) -> None:
        if filter:
            raise BSAError(f"{self.name} keeps no payload, so it cannot filter")


class FaissEngine(PackedEngine):
    """``IndexBinaryFlat`` with ids: an exact scan by Hamming distance; the score is minus the distance."""

    name = "faiss"
    scorings = ("hamming",)

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._ids: set[int] = set()
        if self.path.is_file():
            import faiss

            try:
                self._index = faiss.read_index_binary(str(self.path))
            except RuntimeError as error:
                raise BSAError(f"{self.path}: not a binary index of faiss") from error
            self._layout = Layout(self._index.d)
            self._ids = set(faiss.vector_to_array(self._index.id_map).tolist())

    def _create(self, layout: Layout) -> None:
        import faiss

        self._check_layout(layout)
        self._index = faiss.IndexBinaryIDMap2(faiss.IndexBinaryFlat(layout.hidden_dim))
        self._layout, self._ids = layout, set()

    def _upsert(self, documents: Documents) -> None:
        self._check(documents)
        self.delete(documents.ids)
        self._ids.update(documents.ids)
        self._index.add_with_ids(documents.codes.to_packed(), np.array(documents.ids, np.int64))

    def count(self, filter: Filter | None = None) -> int:
        self._check_filter(filter)
        self._existing()
        return int(self._index.ntotal)

    def delete(self, ids: Sequence[int]) -> None:
        self._existing()
        there = self._ids.intersection(map(int, ids))
        if there:  # faiss goes through all documents to remove any
            self._index.remove_ids(np.array(sorted(there), np.int64))
            self._ids -= there

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        self._check_filter(filter)
        distances, ids = self._index.search(_bits(query, self._existing().hidden_dim), top_k)
        return [(int(name), -float(far)) for name, far in zip(ids[0], distances[0], strict=True) if name >= 0]

    def finish(self) -> None:
        """Write the file."""
        import faiss

        with atomic_file(self.path) as file:
            file.write(faiss.serialize_index_binary(self._index).tobytes())


class UsearchEngine(PackedEngine):
    """usearch's graph over bits; the score is 1 minus the Tanimoto distance, or minus the Hamming distance.

    Args:
        path: File; opened if it is there.
        scoring: ``jaccard`` or ``hamming``: the graph is built for one of them.
        exact: Scan all documents instead of following the graph.
    """

    name = "usearch"
    METRICS: ClassVar[dict[str, str]] = {"jaccard": "tanimoto", "hamming": "hamming"}

    def __init__(self, path: str | Path, *, scoring: str = "jaccard", exact: bool = False) -> None:
        super().__init__(path)
        if scoring not in self.METRICS:
            raise BSAError(f"usearch scores bits by {' or '.join(self.METRICS)}, not by {scoring!r}")
        self.scorings = (scoring,)  # type: ignore[misc]
        self.exact = exact
        if self.path.is_file():
            from usearch.index import Index

            found: Any = Index.restore(str(self.path))
            if found is None:
                raise BSAError(f"{self.path}: not an index of usearch")
            if found.metric_kind.name.lower() != self.METRICS[scoring]:
                raise BSAError(f"{self.path} was built for {found.metric_kind.name} distances, not for {scoring} scores")
            self._index, self._layout = found, Layout(found.ndim)

    def _create(self, layout: Layout) -> None:
        from usearch.index import Index

        self._check_layout(layout)
        self._index = Index(ndim=layout.hidden_dim, metric=self.METRICS[self.scorings[0]], dtype="b1")
        self._layout = layout

    def _upsert(self, documents: Documents) -> None:
        self._check(documents)
        self.delete(documents.ids)
        self._index.add(np.array(documents.ids, np.uint64), documents.codes.to_packed(), threads=1)

    def count(self, filter: Filter | None = None) -> int:
        self._check_filter(filter)
        self._existing()
        return len(self._index)

    def delete(self, ids: Sequence[int]) -> None:
        self._existing()
        keys = np.array(ids, np.uint64)
        there = keys[np.asarray(self._index.contains(keys))] if len(self._index) else keys[:0]
        if len(there):
            self._index.remove(there)

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        self._check_filter(filter)
        bits = _bits(query, self._existing().hidden_dim)[0]
        found = self._index.search(bits, top_k, exact=self.exact, threads=1)
        sign = 1 if query.scoring == "jaccard" else 0
        return [(int(name), sign - float(far)) for name, far in zip(found.keys, found.distances, strict=True)]

    def finish(self) -> None:
        """Write the file."""
        with atomic_file(self.path) as file:
            file.write(bytes(self._index.save()))


def _bits(query: SparseQuery, hidden_dim: int) -> np.ndarray:
    return BinaryCodes(query.features, [0, len(query.features)], hidden_dim).to_packed()
