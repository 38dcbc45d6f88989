"""Scores against a plain loop over sets."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError
from bsa_st.codes import scoring
from tests.test_codes import random_codes


def varied(texts: int, seed: int, hidden_dim: int = 60) -> BinaryCodes:
    """Codes of very different sizes, the first one empty, as bits or as ids."""
    rng = np.random.default_rng(seed)
    dense = rng.random((texts, hidden_dim)) < rng.random((texts, 1))
    dense[:1] = False
    codes = BinaryCodes.from_dense(dense.astype(np.float32))
    return codes if seed % 2 else BinaryCodes(codes.ids, codes.indptr, hidden_dim)


def by_sets(a: set[int], b: set[int], measure: str) -> float:
    return len(a & b) if measure == "overlap" or not a or not b else len(a & b) / math.sqrt(len(a) * len(b))


@pytest.mark.parametrize("measure", ["overlap", "cosine"])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_equal_those_of_sets(measure: Literal["overlap", "cosine"], seed: int) -> None:
    queries, documents = varied(5, seed), varied(7, seed + 1)
    sets = [[set(c.ids[s:e].tolist()) for s, e in zip(c.indptr, c.indptr[1:], strict=False)] for c in (queries, documents)]
    expected = [[by_sets(query, document, measure) for document in sets[1]] for query in sets[0]]
    found = scoring.scores(queries, documents, measure)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@given(rows=st.integers(0, 5000), width=st.integers(0, 1 << 27))
def test_blocks_are_all_rows_in_order_and_stay_small(rows: int, width: int) -> None:
    found = list(scoring.blocks(rows, width))
    assert [row for block in found for row in range(rows)[block]] == list(range(rows))
    assert all(block.stop - block.start == 1 or (block.stop - block.start) * width <= scoring.BLOCK_CELLS for block in found)


def test_scores_of_several_blocks_are_those_of_one() -> None:
    rng = np.random.default_rng(0)
    codes = random_codes(6000, 16, 5)
    queries, decoder, offset = rng.normal(size=(6000, 4)).astype(np.float32), rng.normal(size=(16, 4)), rng.normal(size=4)
    assert len(list(scoring.blocks(len(queries), len(codes)))) == 2
    found = scoring.asymmetric_scores(queries, codes, decoder, offset)
    np.testing.assert_allclose(found[-50:], scoring.asymmetric_scores(queries[-50:], codes, decoder, offset), rtol=1e-5)
    assert np.array_equal(scoring.scores(codes, codes)[-50:], scoring.scores(codes[-50:], codes))


def test_asymmetric_score_is_the_product_with_the_decoded_text() -> None:
    rng = np.random.default_rng(0)
    documents, decoder, offset = random_codes(30, 80, 9), rng.normal(size=(80, 12)), rng.normal(size=12)
    queries = rng.normal(size=(4, 12))
    decoded = documents.to_dense() @ decoder + offset
    cosine = queries @ (decoded / np.linalg.norm(decoded, axis=1, keepdims=True)).T
    found = scoring.asymmetric_scores(queries, documents, decoder, offset)
    np.testing.assert_allclose(found, cosine, rtol=1e-4, atol=1e-5)


def test_decoding_is_the_product_with_the_dictionary() -> None:
    rng = np.random.default_rng(0)
    codes, decoder, offset = random_codes(9, 80, 9), rng.normal(size=(80, 12)), rng.normal(size=12)
    np.testing.assert_allclose(
        scoring.decode(codes, decoder, offset), codes.to_dense() @ decoder + offset, rtol=1e-4, atol=1e-5
    )


def test_top_k_breaks_ties_by_position_and_stops_at_the_number_of_documents() -> None:
    hits = scoring.top_k(np.array([[1.0, 3.0, 3.0, 0.0]]), 3)
    assert hits.ids.tolist() == [[1, 2, 0]]
    assert hits.scores.tolist() == [[3, 3, 1]]
    assert scoring.top_k(np.zeros((2, 2)), 10).ids.shape == (2, 2)


def test_mismatches_are_named() -> None:
    a, b = random_codes(3, 80, 9), random_codes(3, 90, 9)
    with pytest.raises(BSAError, match="codes of 80 and of 90 features cannot be compared"):
        scoring.scores(a, b)
    with pytest.raises(BSAError, match="measure must be overlap or cosine, got 'dice'"):
        scoring.scores(a, a, "dice")  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="do not fit codes of 80 features"):
        scoring.asymmetric_scores(np.zeros((2, 5)), a, np.zeros((80, 12)), np.zeros(12))
