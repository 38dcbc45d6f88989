"""OpenSearch: ``knn_vector`` fields with ``data_type: binary``, faiss' HNSW graph by Hamming distance, keywords as a ``keyword`` field.

Spoken to as Elasticsearch is (:mod:`bsa_st.engines.elasticsearch`); mapping, bits and query differ. Documentation: the page "Binary k-NN vectors" of the
k-NN plugin. Bodies are pure functions, checked against it; no OpenSearch was run here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bsa_st.engines.elasticsearch import ElasticsearchEngine, filter_clauses


class OpenSearchEngine(ElasticsearchEngine):
    """An index of OpenSearch from 2.16 on; ``opensearch+https://user:password@host:9200``."""

    name = "OpenSearch"
    flavour = "opensearch"
    oldest = (2, 16)

    def index_body(self, hidden_dim: int) -> dict[str, Any]:
        bits = {"type": "knn_vector", "dimension": hidden_dim, "data_type": "binary", "space_type": "hamming"}
        return self._mapped({**bits, "method": {"name": "hnsw", "engine": "faiss"}}, knn=True)

    def bits_of(self, bits: np.ndarray) -> Any:
        return bits.view(np.int8).tolist()

    def search_body(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> dict[str, Any]:
        limit = {"filter": {"bool": {"filter": filter_clauses(groups)}}} if groups else {}
        knn = {"bits": {"vector": self.bits_of(bits), "k": count, **limit}}
        return {"query": {"knn": knn}, "size": count, "_source": ["code"]}
