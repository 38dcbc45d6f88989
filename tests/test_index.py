"""The index finds what a brute-force reference finds, by every scoring, with and without numba."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BinaryCodes, BSAError, Index, scoring
from bsa_st.index import store

WIDTH = 12


@pytest.fixture(params=["numba", "numpy"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(store, "HAS_NUMBA", request.param == "numba")
    return str(request.param)


def random_codes(rng: np.random.Generator, count: int, hidden_dim: int, rate: float, fixed: bool) -> BinaryCodes:
    """Codes whose features differ in frequency; of one size or of many, empty ones among them."""
    chance = rng.random(hidden_dim) * 2 * rate
    if fixed:
        active = np.argsort(rng.random((count, hidden_dim)) / (chance + 1e-9), axis=1)[:, : max(1, int(rate * hidden_dim))]
        dense = np.zeros((count, hidden_dim))
        np.put_along_axis(dense, active, 1, axis=1)
    else:
        dense = (rng.random((count, hidden_dim)) < chance * 2 * rng.random((count, 1))).astype(float)
    codes = BinaryCodes.from_dense(dense)
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
    codes = random_codes(rng, count, hidden_dim, rate, fixed)
    queries = random_codes(rng, 5, hidden_dim, rate, fixed)
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
    top_k=st.sampled_from([1, 10]),
)
def test_asymmetric_scores_are_those_of_the_reference(
    path: str, seed: int, count: int, hidden_dim: int, fixed: bool, top_k: int
) -> None:
    rng = np.random.default_rng(seed)
    codes = random_codes(rng, count, hidden_dim, 0.2, fixed)
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
    asked = random_codes(rng, 3, hidden_dim, 0.2, fixed)
    expected = scoring.asymmetric_scores(scoring.decode(asked, *decoder), codes[names], *decoder)
    check(index.search(asked, top_k, scoring="decoded", candidates=count), expected, names, top_k, 1e-3)


def test_numba_numpy_threads_and_batches_give_identical_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    codes = random_codes(rng, 70_000, 96, 0.15, fixed=False)
    queries = random_codes(rng, 20, 96, 0.15, fixed=False)
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


def small(count: int = 20) -> tuple[Index, BinaryCodes]:
    codes = random_codes(np.random.default_rng(0), count, 64, 0.2, fixed=True)
    return Index.build(codes), codes


def test_add_delete_update_and_compact_equal_a_new_index(path: str) -> None:
    rng = np.random.default_rng(5)
    codes = random_codes(rng, 40_000, 40, 0.2, fixed=False)
    decoder = rng.standard_normal((40, WIDTH)).astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)
    index = Index.build(codes[:10], decoder=decoder)
    kept = {name: name for name in range(10)}
    dense = rng.standard_normal((3, WIDTH)).astype(np.float32)
    for start, stop in ((10, 11), (11, 32_768), (32_768, 39_000)):
        assert np.array_equal(index.add(codes[start:stop], ids=np.arange(start, stop) + 100), np.arange(start, stop) + 100)
        kept |= {place + 100: place for place in range(start, stop)}
        index.search(dense)
    assert index.add(codes[39_000:39_001]).tolist() == [39_100]
    kept[39_100] = 39_000
    gone = rng.choice(list(kept), 500, replace=False)
    index.delete(gone)
    kept = {name: place for name, place in kept.items() if name not in set(gone.tolist())}
    changed = np.array(list(kept))[[5, 700, 30_000]]
    index.update(changed, codes[39_500:39_503])
    for name in changed.tolist():
        del kept[name]
    kept |= dict(zip(changed.tolist(), range(39_500, 39_503), strict=True))
    index.add(codes[gone[:1] % 39_000], ids=gone[:1])
    kept[int(gone[0])] = int(gone[0]) % 39_000
    fresh = Index.build(codes[list(kept.values())], ids=list(kept), decoder=decoder)
    for _ in range(2):
        assert index.ids.tolist() == list(kept)
        assert len(index) == len(kept)
        for kind in ("asymmetric", "two-stage"):
            left, right = index.search(dense, scoring=kind), fresh.search(dense, scoring=kind)
            assert np.array_equal(left.ids, right.ids)
        left, right = index.search(codes[:5], scoring="cosine"), fresh.search(codes[:5], scoring="cosine")
        assert np.array_equal(left.ids, right.ids)
        assert changed[0] in index
        assert gone[1] not in index
        index.compact()
        assert index.stats().deleted == 0


def test_equal_scores_are_ordered_by_decoded_score_then_id(path: str) -> None:
    documents = BinaryCodes([0, 1, 0, 2, 0, 1, 0, 3], [0, 2, 4, 6, 8], 4)
    query = BinaryCodes([0], [0, 1], 4)
    plain = Index.build(documents, ids=[7, 5, 3, 9])
    assert plain.search(query, 4, scoring="overlap").ids.tolist() == [[3, 5, 7, 9]]
    weight = np.array([[1, 0], [0.5, 0.5], [0.9, 0.1], [-1, 2]], np.float32)
    index = Index.build(documents, ids=[7, 5, 3, 9], decoder=(weight, np.zeros(2, np.float32)))
    assert index.search(query, 4, scoring="overlap").ids.tolist() == [[5, 3, 7, 9]]
    assert index.search(query, 3, scoring="overlap").ids.tolist() == [[5, 3, 7]]
    assert index.search(query, 4, scoring="overlap", break_ties=False).ids.tolist() == [[3, 5, 7, 9]]


def test_queries_that_find_little(path: str) -> None:
    index, codes = small()
    hits = index.search(codes[:2], 50)
    assert hits.ids.shape == (2, 50)
    assert (hits.ids[:, -1] == -1).all()
    nothing = BinaryCodes([], [0, 0], 64)
    assert (index.search(nothing, 3, scoring="jaccard").ids == -1).all()
    assert index.search(BinaryCodes([], [0], 64), 3).ids.shape == (0, 3)
    empty = Index.build(BinaryCodes([], [0], 64), decoder=(np.ones((64, 3)), np.ones(3)))
    for queries in (codes[:2], np.ones((2, 3))):
        hits = empty.search(queries, 4)
        assert hits.ids.tolist() == [[-1] * 4] * 2
        assert np.isneginf(hits.scores).all()
    assert empty.search(np.ones((0, 3))).ids.shape == (0, 10)
    assert (index.search(codes[:1], filter=np.zeros(len(index), bool)).ids == -1).all()
    assert (index.search(codes[:1], filter=[]).ids == -1).all()
    assert Index.build(BinaryCodes([], [0, 0, 0], 64)).search(codes[:1]).ids.tolist() == [[-1] * 10]


def test_bad_input_is_named() -> None:
    index, codes = small()
    with pytest.raises(BSAError, match="the index has 64 features, the queries 8"):
        index.search(BinaryCodes([0], [0, 1], 8))
    with pytest.raises(BSAError, match="two-stage scores need a decoder"):
        index.search(np.ones((1, 3)))
    with pytest.raises(BSAError, match="scoring must be one of overlap"):
        index.search(codes, scoring="dot")  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="top_k must be a whole number of at least 1, got 0"):
        index.search(codes, 0)
    with pytest.raises(BSAError, match="threads must be"):
        index.search(codes, threads=0)
    with pytest.raises(BSAError, match="id 3 is given more than once"):
        Index.build(codes[:3], ids=[3, 1, 3])
    with pytest.raises(BSAError, match="3 documents need 3 ids, got 2"):
        Index.build(codes[:3], ids=[3, 1])
    with pytest.raises(BSAError, match="ids must lie between 0"):
        Index.build(codes[:1], ids=[-1])
    with pytest.raises(BSAError, match="ids must be a one-dimensional list of integers"):
        Index.build(codes[:1], ids=[0.5])
    with pytest.raises(BSAError, match="id 19 is already in the index"):
        index.add(codes[:2], ids=[40, 19])
    with pytest.raises(BSAError, match="id 77 is not in the index"):
        index.delete([1, 77])
    with pytest.raises(BSAError, match="id 5 is given more than once"):
        index.delete([5, 5])
    with pytest.raises(BSAError, match="id 20 is not in the index"):
        index.update([20], codes[:1])
    with pytest.raises(BSAError, match="the index has 64 features, the codes 8"):
        index.add(BinaryCodes([0], [0, 1], 8))
    with pytest.raises(BSAError, match="adding texts needs the model"):
        index.add(["text"])
    with pytest.raises(BSAError, match="searching texts needs the model"):
        index.search("text")
    with pytest.raises(BSAError, match="a mask must have one entry for each of the 20 documents"):
        index.search(codes[:1], filter=[True])
    with pytest.raises(BSAError, match="filter must be a boolean mask or a list of ids"):
        index.search(codes[:1], filter=[0.5])
    with pytest.raises(BSAError, match="the codes have 64 features, the decoder 3"):
        Index.build(codes, decoder=(np.ones((3, 2)), np.ones(2)))
    with pytest.raises(BSAError, match="NaN"):
        Index.build(codes, decoder=(np.full((64, 2), np.nan), np.ones(2)))
    with_decoder = Index.build(codes, decoder=(np.ones((64, 2)), np.ones(2)))
    with pytest.raises(BSAError, match=r"dense queries must have shape \(n, 2\), got \(1, 5\)"):
        with_decoder.search(np.ones((1, 5)))
    with pytest.raises(BSAError, match="the queries hold NaN"):
        with_decoder.search(np.full((1, 2), np.nan))
    with pytest.raises(BSAError, match="cosine scores need codes as queries"):
        with_decoder.search(np.ones((1, 2)), scoring="cosine")
    with pytest.raises(BSAError, match="asymmetric scores need dense queries"):
        with_decoder.search(codes[:1], scoring="asymmetric")
    assert len(index) == 20
    assert index.search(codes[:1], 1).ids[0, 0] == 0


def test_texts_in_and_documents_out(threshold_model: SentenceTransformer, texts: list[str], tmp_path: Path) -> None:
    index = Index.build(threshold_model, texts[:200])
    assert (index.search(texts[:20], 3).ids[:, 0] == np.arange(20)).mean() > 0.9
    for kind in ("overlap", "idf", "decoded", "asymmetric"):
        assert (index.search(texts[:20], 3, scoring=kind).ids[:, 0] == np.arange(20)).mean() > 0.8  # type: ignore[arg-type]
    documents = bsa_st.encode(threshold_model, texts[:200], refine=True)
    expected = bsa_st.search(threshold_model, texts[:20], documents, top_k=5)
    found = index.search(texts[:20], 5, scoring="asymmetric")
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    index.save(tmp_path / "a.index")
    again = Index.open(tmp_path / "a.index", model=threshold_model)
    again.add(texts[200:203])
    assert again.search(texts[201], 1).ids.tolist() == [[201]]
    other = bsa_st.Index.build(documents, decoder=(np.ones((documents.hidden_dim, 384)), np.ones(384)))
    other.save(tmp_path / "b.index")
    with pytest.raises(BSAError, match="another model: their decoders differ"):
        Index.open(tmp_path / "b.index", model=threshold_model)


def test_memory_is_what_stats_say() -> None:
    program = """
import numpy as np, resource
from bsa_st import BinaryCodes, Index
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
rng = np.random.default_rng(0)
def codes(count):
    ids = np.sort(np.argpartition(rng.random((count, 512), dtype=np.float32), 40, axis=1)[:, :40], axis=1)
    return BinaryCodes(ids.ravel(), np.arange(count + 1) * 40, 512)
warm = Index.build(codes(3000)); warm.search(codes(2)); del warm
parts = [codes(20_000) for _ in range(12)]
many = BinaryCodes.concatenate(parts); del parts
queries = codes(3)
before = resident()
index = Index.build(many)
index.search(queries)
print(resident() - before, index.nbytes)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    grown, stated = map(int, result.stdout.split())
    assert stated == pytest.approx(grown, rel=0.2)


def test_searches_while_another_thread_adds_and_deletes() -> None:
    index, codes = small(2000)
    expected = index.search(codes[:3], 5, filter=np.arange(1000))
    with ThreadPoolExecutor(2) as pool:

        def change() -> None:
            for number in range(40):
                index.add(codes[:50], ids=np.arange(50) + 10_000 + 100 * number)
                index.delete([1000 + number])

        job = pool.submit(change)
        while not job.done():
            hits = index.search(codes[:3], 5, filter=np.arange(1000))
            assert np.array_equal(hits.ids, expected.ids)
        job.result()
    assert len(index) == 2000 + 40 * 49
