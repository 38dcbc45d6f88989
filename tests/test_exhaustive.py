"""Exhaustive search finds real texts by every scoring."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.codes import scoring

QUERIES = ["seizures in infancy", "short stature"]


@pytest.mark.parametrize("kind", ["overlap", "cosine", "decoded", "asymmetric"])
def test_a_text_finds_itself(kind: scoring.Scoring, threshold_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    documents = bsa_st.encode_embeddings(threshold_model, embeddings[:300], refine=kind in ("decoded", "asymmetric"))
    hits = bsa_st.search(threshold_model, embeddings[:50], documents, top_k=5, scoring=kind)
    assert hits.ids.shape == hits.scores.shape == (50, 5)
    assert (hits.ids[:, 0] == np.arange(50)).mean() > 0.9
    assert (np.diff(hits.scores, axis=1) <= 0).all()


def test_queries_of_several_blocks_are_answered_as_those_of_one(
    threshold_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    codes = bsa_st.encode_embeddings(threshold_model, embeddings[:500])
    documents, asked = codes[np.arange(20_000) % 500], codes[np.arange(1800) % 500]
    assert len(list(scoring.blocks(len(asked), len(documents)))) == 2
    hits = bsa_st.search(threshold_model, asked, documents, top_k=5, scoring="cosine")
    assert np.array_equal(hits.ids[200:250], hits.ids[1700:1750])  # the same queries, in the first block and in the second
    assert (hits.ids[:, 0] % 500 == np.arange(1800) % 500).mean() > 0.99


def test_asymmetric_search_is_near_the_dense_search(
    threshold_model: SentenceTransformer, embeddings: np.ndarray, texts: list[str]
) -> None:
    documents = bsa_st.encode_embeddings(threshold_model, embeddings[:500], refine=True)
    dense = scoring.top_k(embeddings[500:550] @ embeddings[:500].T, 10).ids
    found = bsa_st.search(threshold_model, texts[500:550], documents, top_k=10).ids
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(dense, found, strict=True)])
    assert shared > 0.6


def test_no_queries_and_fewer_documents_than_hits(threshold_model: SentenceTransformer) -> None:
    documents = bsa_st.encode(threshold_model, ["only one"])
    assert bsa_st.search(threshold_model, np.zeros((0, 384)), documents).ids.shape == (0, 1)
    assert bsa_st.search(threshold_model, documents[:0], documents, scoring="overlap").scores.shape == (0, 1)
    assert bsa_st.search(threshold_model, QUERIES, documents).ids.tolist() == [[0], [0]]


def test_bad_input_is_named(threshold_model: SentenceTransformer) -> None:
    documents = bsa_st.encode(threshold_model, ["one"])
    with pytest.raises(BSAError, match="scoring must be one of asymmetric, decoded, overlap, cosine, got 'dot'"):
        bsa_st.search(threshold_model, QUERIES, documents, scoring="dot")  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="text 1 is empty"):
        bsa_st.search(threshold_model, [""], documents)
    with pytest.raises(BSAError, match="the codes have 8 features, the decoder 512"):
        bsa_st.search(threshold_model, QUERIES, bsa_st.BinaryCodes([0], [0, 1], 8))
