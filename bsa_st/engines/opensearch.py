"""OpenSearch: ``knn_vector`` fields with ``data_type: binary``, faiss' HNSW graph by Hamming distance, keywords as a ``keyword`` field.

Spoken to as Elasticsearch is (:mod:`bsa_st.engines.elasticsearch`); mapping, bits and query differ. Documentation: the page "Binary k-NN vectors" of the
k-NN plugin. Bodies are pure functions, checked against it; no OpenSearch was run here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bsa_st.engines.elasticsearch import FIELDS, ElasticsearchEngine, filter_clauses


class OpenSearchEngine(ElasticsearchEngine):
    """An index of OpenSearch from 2.16 on; ``opensearch+https://user:password@host:9200``. Arguments as in :class:`ElasticsearchEngine`."""

    name = "OpenSearch"
    flavour = "opensearch"
    oldest = (2, 16)

    def index_body(self, hidden_dim: int) -> dict[str, Any]:
        """Settings and mapping of a new index."""
        bits: dict[str, Any] = {"type": "knn_vector", "dimension": hidden_dim, "data_type": "binary", "space_type": "hamming"}
        bits["method"] = {"name": "hnsw", "engine": "faiss"}
        settings = self._settings()
        settings["index"]["knn"] = True
        return {"settings": settings, "mappings": {"dynamic": False, "properties": {"bits": bits, **FIELDS}}}

    def bits_of(self, bits: np.ndarray) -> Any:
        """Bits, uint8 (D / 8,), as the server takes them: a signed byte for every eight."""
        return bits.view(np.int8).tolist()

    def search_body(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> dict[str, Any]:
        """The ``count`` nearest of the documents that have a keyword of every group."""
        knn: dict[str, Any] = {"vector": self.bits_of(bits), "k": count}
        if groups:
            knn["filter"] = {"bool": {"filter": filter_clauses(groups)}}
        return {"query": {"knn": {"bits": knn}}, "size": count, "_source": ["code"]}
