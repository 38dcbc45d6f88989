"""The index finds what a brute-force reference finds, by every scoring, with and without numba."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bsa_st
from bsa_st import BinaryCodes, BSAError, Index, scoring
from bsa_st.index import store

WIDTH = 12


@pytest.fixture(params=["numba", "numpy"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(store, "HAS_NUMBA", request.param == "numba")
    yield request.param


def random_codes(rng: np.random.Generator, count: int, hidden_dim: int, rate: float, fixed: bool, scale: bool) -> BinaryCodes:
    """Codes whose features differ in frequency; of one size or of many, empty ones among them."""
    chance = rng.random(hidden_dim) * 2 * rate
    if fixed:
        active = np.argsort(rng.random((count, hidden_dim)) / (chance + 1e-9), axis=1)[:, : max(1, int(rate * hidden_dim))]
        dense = np.zeros((count, hidden_dim))
        np.put_along_axis(dense, active, 1, axis=1)
    else:
        dense = (rng.random((count, hidden_dim)) < chance * 2 * rng.random((count, 1))).astype(float)
    codes = BinaryCodes.from_dense(dense)
    if scale:
        codes.scale = rng.integers(100, 160, count).astype(np.uint8)
    return codes


def reference(queries: BinaryCodes, documents: BinaryCodes, kind: str, weights: np.ndarray | None = None) -> np.ndarray:
    if kind == "idf":
        weights = scoring.idf(documents) if weights is None else weights
        exact = (queries.to_dense() * weights.astype(float)) @ documents.to_dense().T
        return np.where(exact > 0, exact, -np.inf)
    values = scoring.scores(queries, documents, kind)  # type: ignore[arg-type]
    return np.where(values > 0, values, -np.inf)


def check(hits: scoring.Hits, expected: np.ndarray, ids: np.ndarray, top_k: int, tolerance: float = 1e-5) -> None:
    """Scores are the best of the reference, and each is its document's; ties need not be in the same order."""
    place = {int(name): column for column, name in enumerate(ids)}
    assert hits.ids.shape == hits.scores.shape == (len(expected), top_k)
    assert hits.ids.dtype == np.int64
    assert hits.scores.dtype == np.float32
    for row, values in enumerate(expected):
        best = np.sort(values[np.isfinite(values)])[::-1][:top_k]
        found = hits.ids[row] >= 0
        assert found.sum() == len(best)
        assert not found[len(best) :].any()
        assert np.isneginf(hits.scores[row, len(best) :]).all()
        np.testing.assert_allclose(hits.scores[row, : len(best)], best, rtol=tolerance, atol=tolerance)
        mine = [values[place[int(name)]] for name in hits.ids[row, : len(best)]]
        np.testing.assert_allclose(hits.scores[row, : len(best)], mine, rtol=tolerance, atol=tolerance)
        assert len(set(hits.ids[row, : len(best)].tolist())) == len(best)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 400),
    hidden_dim=st.sampled_from([1, 7, 64, 300]),
    rate=st.sampled_from([0.02, 0.2, 0.9]),
    fixed=st.booleans(),
    top_k=st.sampled_from([1, 3, 10, 50]),
    delete=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_symmetric_scores_are_those_of_the_reference(
    path: str, seed: int, count: int, hidden_dim: int, rate: float, fixed: bool, top_k: int, delete: float
) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, count, hidden_dim, rate, fixed, scale=False)
    queries = random_codes(rng, 5, hidden_dim, rate, fixed, scale=False)
    ids = rng.permutation(3 * count)[:count]
    index = Index.build(codes, ids=ids)
    gone = rng.random(count) < delete
    index.delete(ids[gone])
    live, names = codes[~gone], ids[~gone]
    assert np.array_equal(index.ids, names)
    for kind in ("overlap", "cosine", "jaccard", "idf"):
        check(index.search(queries, top_k, scoring=kind), reference(queries, live, kind), names, top_k)  # type: ignore[arg-type]
    np.testing.assert_allclose(index.idf(), scoring.idf(live), rtol=1e-6)
    mask = rng.random(len(names)) < 0.5
    part = names[mask]
    for chosen in (mask, np.concatenate([part, [10**9]])):
        hits = index.search(queries, top_k, scoring="jaccard", filter=chosen)
        check(hits, reference(queries, live[mask], "jaccard"), part, top_k)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 300),
    hidden_dim=st.sampled_from([5, 64, 200]),
    fixed=st.booleans(),
    scale=st.booleans(),
    top_k=st.sampled_from([1, 10]),
)
def test_asymmetric_scores_are_those_of_the_reference(
    path: str, seed: int, count: int, hidden_dim: int, fixed: bool, scale: bool, top_k: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, count, hidden_dim, 0.2, fixed, scale)
    decoder = rng.standard_normal((hidden_dim, WIDTH)).astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)
    queries = rng.standard_normal((4, WIDTH)).astype(np.float32)
    index = Index.build(codes, decoder=decoder)
    gone = np.flatnonzero(rng.random(count) < 0.2)
    index.delete(gone)
    names = np.delete(np.arange(count), gone)
    expected = scoring.asymmetric_scores(queries, codes[names], *decoder)
    check(index.search(queries, top_k, scoring="asymmetric"), expected, names, top_k, 1e-4)
    complete = index.search(queries, top_k, scoring="two-stage", candidates=count)
    check(complete, expected, names, top_k, 1e-4)
    few = index.search(queries, top_k, probes=3, candidates=5)
    place = {int(name): column for column, name in enumerate(names)}
    for row in range(len(queries)):
        mine = [expected[row, place[int(name)]] for name in few.ids[row] if name >= 0]
        np.testing.assert_allclose(few.scores[row][: len(mine)], mine, rtol=1e-4, atol=1e-4)
    asked = random_codes(rng, 3, hidden_dim, 0.2, fixed, scale=False)
    expected = scoring.asymmetric_scores(scoring.decode(asked, *decoder), codes[names], *decoder)
    check(index.search(asked, top_k, scoring="decoded", candidates=count), expected, names, top_k, 1e-3)


@pytest.mark.parametrize("scale", [True, False])
def test_numba_numpy_threads_and_batches_give_identical_hits(monkeypatch: pytest.MonkeyPatch, scale: bool) -> None:
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 70_000, 96, 0.15, fixed=False, scale=scale)
    queries = random_codes(rng, 20, 96, 0.15, fixed=False, scale=False)
    decoder = rng.standard_normal((96, WIDTH)).astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)
    dense = rng.standard_normal((20, WIDTH)).astype(np.float32)
    ids = rng.permutation(100_000)[:70_000]
    results = []
    for numba, threads in ((True, 1), (True, 3), (False, 1)):
        monkeypatch.setattr(store, "HAS_NUMBA", numba)
        index = Index.build(codes, ids=ids, decoder=decoder)
        index.delete(ids[::7])
        kinds = ("overlap", "cosine", "jaccard", "idf", "decoded")
        found = [index.search(queries, 12, scoring=kind, threads=threads) for kind in kinds]  # type: ignore[arg-type]
        found += [index.search(dense, 12, scoring=kind, threads=threads) for kind in ("two-stage", "asymmetric")]  # type: ignore[arg-type]
        found.append(index.search(dense, 12, probes=9, candidates=20, filter=ids[:5000], threads=threads))
        results.append(found)
    for other in results[1:]:
        for left, right in zip(results[0], other, strict=True):
            assert np.array_equal(left.ids, right.ids)
            assert np.array_equal(left.scores, right.scores)
    monkeypatch.setattr(store, "HAS_NUMBA", True)
    index = Index.build(codes, ids=ids)
    whole = index.search(queries, 12, scoring="jaccard")
    for row in range(len(queries)):
        assert np.array_equal(index.search(queries[row], 12, scoring="jaccard").ids[0], whole.ids[row])
