"""Models that were trained with a prompt for queries and another for documents."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError, Index
from bsa_st.encoding import rebuild, split_model

QUERY, DOCUMENT = "find: ", "a passage about: "


@pytest.fixture(scope="module")
def model(topk_model: SentenceTransformer) -> SentenceTransformer:
    asking = rebuild(topk_model, list(topk_model))
    asking.prompts = {"query": QUERY, "document": DOCUMENT}
    return asking


def test_an_index_asks_with_the_query_prompt_and_stores_with_that_of_documents(
    model: SentenceTransformer, topk_model: SentenceTransformer, texts: list[str]
) -> None:
    index = Index.build(model, texts[:300])
    stored = bsa_st.encode(topk_model, [DOCUMENT + text for text in texts[:300]], refine=True)
    assert np.array_equal(index.codes(np.arange(300)).ids, stored.ids)
    hits = index.search(texts[:5], 10)
    plain = Index.build(stored, decoder=topk_model)
    encoder, _ = split_model(topk_model)
    same = plain.search(np.asarray(encoder.encode([QUERY + text for text in texts[:5]])), 10)
    assert np.array_equal(hits.ids, same.ids)
    assert np.array_equal(hits.ids, bsa_st.search(model, texts[:5], stored, top_k=10).ids)
    named = index.search(texts[:5], 10, prompt_name="document")
    assert not np.array_equal(hits.scores, named.scores)


def test_an_explanation_explains_the_score_of_the_search(model: SentenceTransformer, texts: list[str]) -> None:
    index = Index.build(model, texts[:50])
    hits = index.search(texts[60], 1, scoring="decoded")
    found = int(hits.ids[0, 0])
    told = bsa_st.explain(model, texts[60], texts[found], words=0)
    assert told.score == pytest.approx(float(hits.scores[0, 0]), abs=1e-4)


def test_an_unknown_prompt_is_named(model: SentenceTransformer, texts: list[str]) -> None:
    index = Index.build(model, texts[:20])
    for call in (
        lambda: index.search(texts[0], prompt_name="no"),
        lambda: bsa_st.encode(model, texts[:2], prompt_name="no"),
        lambda: bsa_st.search(model, texts[:2], index.codes([0, 1]), prompt_name="no"),
        lambda: bsa_st.explain(model, texts[0], texts[1], prompt_name="no"),
    ):
        with pytest.raises(BSAError, match="the model has no prompt 'no'; it has query, document"):
            call()
