"""mteb evaluates a model through its index."""

from __future__ import annotations

import mteb
import numpy as np
import pytest
from datasets import Dataset
from mteb.models import SearchProtocol
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError, Index
from evaluation.data.folders import RetrievalData
from evaluation.data.tasks import local_task
from evaluation.stock.leaderboard import bsa_meta
from evaluation.stock.searched import IndexSearch


@pytest.fixture
def searched(threshold_model: SentenceTransformer) -> IndexSearch:
    return IndexSearch(threshold_model, bsa_meta(threshold_model, "org/model", "0" * 40, adapted_from="org/encoder"))


def test_mteb_measures_what_the_index_finds(searched: IndexSearch, texts: list[str]) -> None:
    documents, asked = texts[:300], texts[250:320]
    data = RetrievalData(
        corpus={f"d{place}": ("", text) for place, text in enumerate(documents)},
        queries={f"q{place}": text for place, text in enumerate(asked)},
        qrels={f"q{place}": {f"d{(250 + place) % 300}": 1} for place in range(len(asked))},
    )
    assert isinstance(searched, SearchProtocol)
    results = mteb.evaluate(searched, [local_task("tiny", data)], cache=None, show_progress_bar=False)
    (scores,) = results[0].scores["test"]
    found = Index.build(searched.model, documents).search(asked, 100)
    gains = []
    for place, ranking in enumerate(found):
        places = np.flatnonzero(ranking.ids[:10] == (250 + place) % 300)
        gains.append(1 / np.log2(2 + places[0]) if len(places) else 0.0)
    assert 0.5 < np.mean(gains) < 1
    assert scores["ndcg_at_10"] == pytest.approx(np.mean(gains), abs=1e-4)


def test_only_ranked_documents_are_ranked_again(searched: IndexSearch, texts: list[str]) -> None:
    corpus = Dataset.from_list([{"id": f"d{place}", "title": "", "text": text} for place, text in enumerate(texts[:50])])
    queries = Dataset.from_list([{"id": "a", "text": texts[3]}, {"id": "b", "text": texts[4]}])
    metadata = local_task("tiny", RetrievalData({}, {}, {})).metadata
    with pytest.raises(BSAError, match="index a corpus first"):
        searched.search(queries, task_metadata=metadata, top_k=5)
    searched.index(corpus, task_metadata=metadata, encode_kwargs={})
    found = searched.search(queries, task_metadata=metadata, top_k=5, top_ranked={"a": ["d3", "d9"], "b": ["d7"]})
    assert list(found["a"]) == ["d3", "d9"]
    assert list(found["b"]) == ["d7"]
