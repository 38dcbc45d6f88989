"""Engines that run here, against the index: the same documents in, the same scores out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bsa_st import BSAError, Index
from bsa_st.codes.scoring import Hits, asymmetric_scores, idf, inverse_norms, scores, top_k
from bsa_st.engines import Engine, Layout, connect
from tests.engine_server import EngineSample

ENGINES = ["qdrant", "qdrant-edge", "postgres"]


@pytest.fixture(params=ENGINES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine without its collection."""
    url = {"qdrant": ":memory:", "qdrant-edge": str(tmp_path)}.get(request.param)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres")
    else:
        pytest.importorskip(f"{request.param.replace('-', '_')}" + ("_client" if request.param == "qdrant" else ""))
    assert url is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's double says that it has no payload indexes
        with connect(request.param, url, "papers") as engine:
            yield engine
            engine.drop()


@pytest.fixture
def engine(opened: Engine, engine_sample: EngineSample) -> Engine:
    """The same with the sample in it, in two batches, not in the order of their ids."""
    codes, payloads = engine_sample.codes, engine_sample.payloads
    opened.create(Layout(codes.hidden_dim, asymmetric=True))
    for start, stop in ((150, 400), (0, 150)):
        factors = engine_sample.factors(slice(start, stop))
        opened.upsert(range(start, stop), codes[start:stop], payloads[start:stop], factors=factors, source="sample")
    opened.finish()
    return opened


def assert_same(found: Hits, truth: Hits, every: np.ndarray, tolerance: float) -> None:
    """Scores are those of the index at every rank, and each document has the score that it is said to have."""
    np.testing.assert_allclose(found.scores, truth.scores, rtol=0, atol=tolerance)
    assert np.array_equal(found.ids < 0, truth.ids < 0)
    for row in range(len(found.ids)):
        ids = found.ids[row][found.ids[row] >= 0]
        assert len(set(ids.tolist())) == len(ids)
        np.testing.assert_allclose(every[row, ids], found.scores[row][: len(ids)], rtol=0, atol=tolerance)


def test_overlap_is_that_of_the_index(engine: Engine, engine_sample: EngineSample) -> None:
    found, every = engine.search(engine_sample.queries, 20), scores(engine_sample.queries, engine_sample.codes)
    assert_same(found, top_k(every, 20), every, 0.0)


def test_idf_overlap_is_that_of_the_index(engine: Engine, engine_sample: EngineSample) -> None:
    weights = idf(engine_sample.codes)
    found = engine.search(engine_sample.queries, 20, scoring="idf", weights=weights)
    every = scores(engine_sample.queries, engine_sample.codes, weights=weights)
    assert_same(found, top_k(every, 20), every, 1e-4)


def test_asymmetric_scores_are_those_of_the_index(engine: Engine, engine_sample: EngineSample) -> None:
    _, _, dense, decoder, _ = engine_sample
    found, every = engine.search(dense[:2], 20, decoder=decoder), asymmetric_scores(dense[:2], engine_sample.codes, *decoder)
    assert_same(found, top_k(every, 20), every, 1e-5)
    for row, truth in enumerate(Index.build(engine_sample.codes, decoder=decoder).search(dense[:2], 20)):
        assert np.array_equal(found.ids[row], truth.ids)


def test_probes_that_reach_everything_change_nothing(engine: Engine, engine_sample: EngineSample) -> None:
    _, _, dense, decoder, _ = engine_sample
    everything = engine.search(dense[:1], 10, decoder=decoder)
    staged = engine.search(dense[:1], 10, decoder=decoder, probes=1024, candidates=400)
    np.testing.assert_allclose(staged.scores, everything.scores, atol=1e-6)
    few = engine.search(dense[:1], 10, decoder=decoder, probes=4, candidates=30)
    assert few.scores[0, 0] <= everything.scores[0, 0] + 1e-6
    every = asymmetric_scores(dense[:1], engine_sample.codes, *decoder)[0]
    np.testing.assert_allclose(every[few.ids[0]], few.scores[0], atol=1e-5)


def test_filters_leave_what_has_the_values(engine: Engine, engine_sample: EngineSample) -> None:
    _, queries, dense, decoder, payloads = engine_sample
    assert engine.count({"part": [1, 2], "kind": "odd"}) == 100
    assert engine.count({"kind": "neither"}) == 0
    found = engine.search(queries, 50, filter={"part": 3})
    assert {payloads[name]["part"] for name in found.ids.ravel() if name >= 0} == {3}
    index = Index.build(engine_sample.codes, decoder=decoder)
    only = [place for place, fields in enumerate(payloads) if fields["part"] in (0, 3)]
    (truth,) = index.search(dense[:1], 10, filter=only)
    for probes in (None, 1024):
        found = engine.search(dense[:1], 10, decoder=decoder, filter={"part": [0, 3]}, probes=probes)
        assert np.array_equal(found.ids[0], truth.ids)


def test_booleans_are_filtered_or_refused_but_never_passed_over(engine: Engine) -> None:
    if engine.name == "Qdrant Edge":
        with pytest.raises(BSAError, match="takes a boolean for a number"):
            engine.count({"first": True})
    else:
        assert engine.count({"first": True}) == 10


def test_sending_again_doubles_nothing_and_new_content_replaces(engine: Engine, engine_sample: EngineSample) -> None:
    codes = engine_sample.codes
    engine.upsert(
        range(100), codes[:100], engine_sample.payloads[:100], factors=engine_sample.factors(slice(100)), source="sample"
    )
    assert engine.count() == 400
    engine.upsert([7], codes[399], [{"part": 77}], factors=engine_sample.factors([399]), source="other")
    assert engine.count() == 400
    assert engine.count({"part": 77}) == 1
    assert engine.sources([6, 7, 8, 4000]) == {"sample": 2, "other": 1}
    assert engine.payloads([7, 8]) == {7: {"part": 77}, 8: engine_sample.payloads[8]}
    hits = engine.search(codes[399], 400)
    at = {name: score for name, score in zip(hits.ids[0].tolist(), hits.scores[0].tolist(), strict=True) if name >= 0}
    assert at[7] == at[399] == codes[399].counts[0]


def test_deleted_documents_are_gone(engine: Engine, engine_sample: EngineSample) -> None:
    best = engine.search(engine_sample.queries, 1).ids.ravel().tolist()
    engine.delete([*best, 5000])
    assert engine.count() == 400 - len(set(best))
    assert not set(engine.search(engine_sample.queries, 400).ids.ravel().tolist()) & set(best)


def test_a_query_with_few_hits_is_padded(engine: Engine, engine_sample: EngineSample) -> None:
    hits = engine.search(engine_sample.queries, 1000)
    assert hits.ids.shape == (5, 1000)
    assert (hits.ids[:, -1] == -1).all()
    assert (hits.scores[hits.ids == -1] == -np.inf).all()
    assert (hits.scores[hits.ids >= 0] > 0).all()


def test_large_ids_survive(opened: Engine, engine_sample: EngineSample) -> None:
    opened.create(Layout(engine_sample.codes.hidden_dim))
    largest = 2**63 - 1
    opened.upsert([0, largest], engine_sample.codes[:2])
    assert opened.search(engine_sample.codes[1], 1).ids.tolist() == [[largest]]
    with pytest.raises(BSAError, match="ids must lie between"):
        opened.upsert([-1], engine_sample.codes[:1])


def test_asymmetric_scores_need_factors(opened: Engine, engine_sample: EngineSample) -> None:
    _, _, dense, decoder, _ = engine_sample
    codes = engine_sample.codes[:100]
    opened.create(Layout(codes.hidden_dim, asymmetric=True))
    with pytest.raises(BSAError, match="asymmetric scores need factors="):
        opened.upsert(range(100), codes)
    opened.upsert(range(100), codes, factors=inverse_norms(codes, *decoder))
    (truth,) = Index.build(codes, decoder=decoder).search(dense[:1], 5)
    found = opened.search(dense[:1], 5, decoder=decoder)
    np.testing.assert_allclose(found.scores[0], truth.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda engine, sample: engine.create(Layout(512, True)), "holds codes of 1024 features with factors"),
        (lambda engine, sample: engine.create(Layout(1024, False)), "choose another collection"),
        (lambda engine, sample: engine.create(Layout(1024, True, "blob")), "has no form 'blob'"),
        (lambda engine, sample: engine.upsert([1, 1], sample.codes[:2]), "id 1 is given more than once"),
        (lambda engine, sample: engine.upsert([1], sample.codes[:2]), "2 documents need 2 ids, got 1"),
        (lambda engine, sample: engine.upsert([1], sample.codes[:1], []), "1 documents need 1 payloads"),
        (lambda engine, sample: engine.search(sample.queries, 0), "top_k must be a whole number"),
        (lambda engine, sample: engine.search(sample.queries, scoring="bm25"), "not by 'bm25'"),
        (lambda engine, sample: engine.search(sample.queries, scoring="idf"), "idf scores need weights"),
        (lambda engine, sample: engine.search(sample.dense), "need a decoder"),
        (lambda engine, sample: engine.search(sample.dense[:, :9], decoder=sample.decoder), "must have shape"),
        (lambda engine, sample: engine.search(sample.dense * np.nan, decoder=sample.decoder), "NaN"),
        (lambda engine, sample: engine.search(sample.queries, filter={"part": 1.5}), "filter 'part' must be"),
    ],
)
def test_wrong_calls_are_refused_by_name(
    engine: Engine, engine_sample: EngineSample, call: Callable[[Engine, EngineSample], object], message: str
) -> None:
    with pytest.raises(BSAError, match=message):
        call(engine, engine_sample)
    assert engine.count() == 400


def test_a_collection_that_is_not_there_is_named(opened: Engine, engine_sample: EngineSample) -> None:
    assert opened.layout() is None
    with pytest.raises(BSAError, match="no such collection"):
        opened.search(engine_sample.queries)


def test_a_symmetric_collection_refuses_float_queries(opened: Engine, engine_sample: EngineSample) -> None:
    opened.create(Layout(engine_sample.codes.hidden_dim))
    opened.upsert(range(10), engine_sample.codes[:10])
    with pytest.raises(BSAError, match="created without factors"):
        opened.search(engine_sample.dense, decoder=engine_sample.decoder)


def test_what_was_loaded_is_there_after_closing(engine: Engine, engine_sample: EngineSample) -> None:
    if engine.name == "Qdrant":
        pytest.skip("the client's double keeps nothing")
    before = engine.search(engine_sample.queries, 5)
    engine.close()
    assert engine.layout() == Layout(engine_sample.codes.hidden_dim, True)
    assert np.array_equal(engine.search(engine_sample.queries, 5).scores, before.scores)
    assert engine.disk_bytes() > engine_sample.codes.nbytes


def test_unknown_engines_and_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="engine must be one of qdrant, qdrant-edge"):
        connect("sphinx", "http://localhost", "papers")
    with pytest.raises(BSAError, match="small letters"):
        connect("qdrant-edge", str(tmp_path), "../papers")


def test_a_folder_of_others_is_not_touched(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    with connect("qdrant-edge", str(tmp_path), "ours") as engine:
        engine.create(Layout(engine_sample.codes.hidden_dim, False))
    (tmp_path / "ours").rename(tmp_path / "theirs")
    (tmp_path / "theirs" / "bsa_st.json").unlink()
    with connect("qdrant-edge", str(tmp_path), "theirs") as engine, pytest.raises(BSAError, match="is no collection"):
        engine.create(Layout(engine_sample.codes.hidden_dim, False))
    assert (tmp_path / "theirs" / "segments").is_dir()
    (tmp_path / ".theirs.creating").touch()  # as a creation of ours leaves it when it is killed
    with connect("qdrant-edge", str(tmp_path), "theirs") as engine:
        engine.create(Layout(engine_sample.codes.hidden_dim, False))
        assert engine.count() == 0
    assert not (tmp_path / ".theirs.creating").exists()
