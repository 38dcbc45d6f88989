"""Several indexes searched as one find what one index finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.codes.scoring import Hits
from bsa_st.index.sharded import ShardedIndex, merge_hits

D, WIDTH = 64, 12
RANDOM = np.random.default_rng(5)
DECODER = (RANDOM.normal(size=(D, WIDTH)).astype(np.float32), RANDOM.normal(size=WIDTH).astype(np.float32))


def some_codes(count: int, seed: int) -> BinaryCodes:
    """Codes with few distinct features, so that many scores are equal."""
    chance = np.random.default_rng(seed)
    dense = (chance.random((count, D)) < chance.random(D) * 0.2).astype(np.float32)
    return BinaryCodes.from_dense(dense)


def cut(codes: BinaryCodes, shards: int, decoder: object = DECODER) -> ShardedIndex:
    """Documents dealt out in turns: document i goes to shard i mod S."""
    rows = np.arange(len(codes))
    return ShardedIndex([Index.build(codes[rows[n::shards]], ids=rows[n::shards], decoder=decoder) for n in range(shards)])


@pytest.mark.parametrize("shards", [1, 2, 4, 8])
@pytest.mark.parametrize("scoring", ["overlap", "cosine", "jaccard", "idf", "decoded", "two-stage", "asymmetric"])
@pytest.mark.parametrize("filtered", [False, True])
def test_merged_shards_are_one_index(shards: int, scoring: str, filtered: bool) -> None:
    codes = some_codes(1500, 1)
    whole, parts = Index.build(codes, decoder=DECODER), cut(codes, shards)
    dense = np.random.default_rng(2).normal(size=(20, WIDTH)).astype(np.float32)
    queries = dense if scoring in ("two-stage", "asymmetric") else some_codes(20, 3)
    options = {"filter": np.arange(0, 1500, 3)} if filtered else {}
    expected = whole.search(queries, 25, scoring=scoring, **options)  # type: ignore[arg-type]
    found = parts.search(queries, 25, scoring=scoring, **options)  # type: ignore[arg-type]
    assert np.array_equal(found.ids, expected.ids)
    assert np.array_equal(found.scores, expected.scores)
    assert len(parts) == len(whole)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 80), st.booleans(), st.integers(0, 2**31))
def test_merged_shards_are_one_index_for_any_cut(count: int, shards: int, top_k: int, scored: bool, seed: int) -> None:
    codes = some_codes(count, seed)
    decoder = DECODER if scored else None
    chance = np.random.default_rng(seed)
    owners = chance.integers(0, shards, count)
    rows = [np.flatnonzero(owners == number) for number in range(shards)]
    parts = ShardedIndex([Index.build(codes[own], ids=own, decoder=decoder) for own in rows if len(own)])
    whole, queries = Index.build(codes, decoder=decoder), some_codes(4, seed + 1)
    for scoring in ("overlap", "idf"):
        expected, found = (index.search(queries, top_k, scoring=scoring) for index in (whole, parts))  # type: ignore[attr-defined]
        assert np.array_equal(found.ids, expected.ids)
        assert np.array_equal(found.scores, expected.scores)


def test_weights_are_those_of_all_documents_and_of_one_shard_they_would_not_be() -> None:
    codes = some_codes(400, 1)
    whole, parts = Index.build(codes, decoder=DECODER), cut(codes, 4)
    assert np.array_equal(parts.idf(), whole.idf())
    assert not np.array_equal(parts.shards[0].idf(), whole.idf())
    parts.shards[1].delete([1, 5])
    whole.delete([1, 5])
    assert np.array_equal(parts.idf(), whole.idf())
    queries = some_codes(5, 9)
    own = parts.shards[0].search(queries, 5, scoring="idf")
    assert not np.array_equal(own.scores, parts.shards[0].search(queries, 5, scoring="idf", idf=whole.idf()).scores)


def test_merging_orders_by_score_then_second_then_id_and_keeps_missing_hits_last() -> None:
    left = Hits(np.array([[7, 3, -1]]), np.array([[2.0, 1.0, -np.inf]], np.float32))
    right = Hits(np.array([[5, 1]]), np.array([[2.0, 1.0]], np.float32))
    assert merge_hits([left, right], 6).ids.tolist() == [[5, 7, 1, 3, -1, -1]]
    second = [np.array([[0.5, 0.9, -np.inf]]), np.array([[0.1, 0.2]])]
    assert merge_hits([left, right], 3, second).ids.tolist() == [[7, 5, 3]]


def test_shards_that_do_not_belong_together_are_refused() -> None:
    codes = some_codes(30, 1)
    index = Index.build(codes, decoder=DECODER)
    with pytest.raises(BSAError, match="needs at least one shard"):
        ShardedIndex([])
    with pytest.raises(BSAError, match="id 0 is in more than one shard"):
        ShardedIndex([index, index])
    with pytest.raises(BSAError, match="shards 0 and 1 have different decoders"):
        ShardedIndex([index, Index.build(codes, ids=np.arange(30, 60))])
    with pytest.raises(BSAError, match="shard 0 has 64 features, shard 1 has 65"):
        ShardedIndex([index, Index.build(BinaryCodes([0], [0, 1], 65), ids=[99])])
    with pytest.raises(BSAError, match="takes ids as filter, not a mask"):
        ShardedIndex([index]).search(codes, filter=np.ones(30, bool))
    with pytest.raises(BSAError, match="scoring must be one of"):
        ShardedIndex([index]).search(codes, scoring="best")  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="idf must hold 64 finite weights"):
        index.search(codes, scoring="idf", idf=np.ones(3))
