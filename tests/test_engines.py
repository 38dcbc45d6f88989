"""Engines that run here, against scoring every code: the same documents in, the same scores out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bsa_st import BinaryCodes, BSAError
from bsa_st.codes.scoring import asymmetric_scores, top_k
from bsa_st.engines import Engine, connect
from tests.engine_server import EngineSample

ENGINES = ["lancedb", "postgresql", "qdrant", "qdrant-edge", "duckdb"]
PACKAGES = {
    "lancedb": "lancedb",
    "postgresql": "psycopg",
    "qdrant": "qdrant_client",
    "qdrant-edge": "qdrant_edge",
    "duckdb": "duckdb",
}


@pytest.fixture(params=ENGINES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An engine without its collection."""
    pytest.importorskip(PACKAGES[request.param])
    place = ":memory:" if request.param == "qdrant" else tmp_path / "store"
    url = request.getfixturevalue("postgres") if request.param == "postgresql" else f"{request.param}://{place}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client's double says that it has no payload indexes
        with connect(url, "papers") as engine:
            yield engine
            engine.drop()


@pytest.fixture
def engine(opened: Engine, engine_sample: EngineSample) -> Engine:
    """The same with the sample in it, in two batches, not in the order of their ids."""
    codes, payloads = engine_sample.codes, engine_sample.payloads
    opened.create(codes.hidden_dim)
    for start, stop in ((150, 400), (0, 150)):
        opened.upsert(range(start, stop), codes[start:stop], payloads[start:stop])
    opened.finish()
    return opened


def truth(sample: EngineSample, rows: list[int] | None = None) -> np.ndarray:
    """Scores of all documents, or minus infinity of those that are not allowed: float32 (q, n)."""
    every = asymmetric_scores(sample.dense, sample.codes, *sample.decoder)
    if rows is not None:
        every[:, [row for row in range(len(sample.codes)) if row not in set(rows)]] = -np.inf
    return every


def test_scores_and_order_are_those_of_scoring_every_code(engine: Engine, engine_sample: EngineSample) -> None:
    rankings = engine.search(engine_sample.dense, 20, model=engine_sample.decoder, candidates=400)
    expected = top_k(truth(engine_sample), 20)
    for ranking, ids, scores in zip(rankings, *expected, strict=True):
        assert np.array_equal(ranking.ids, ids)
        np.testing.assert_allclose(ranking.scores, scores, atol=1e-6)


def test_candidates_are_the_nearest_by_hamming_distance(engine: Engine, engine_sample: EngineSample) -> None:
    signs = np.packbits(engine_sample.dense @ engine_sample.decoder.weight.T > 0, axis=1)
    for bits in signs:
        found = engine._candidates(bits, 30, [])
        distances = np.bitwise_count(engine_sample.codes.to_packed() ^ bits).sum(axis=1)
        assert np.array_equal(found.bits, engine_sample.codes.to_packed()[found.ids])
        assert len(set(found.ids.tolist())) == 30
        assert np.array_equal(np.sort(distances[found.ids]), np.sort(distances)[:30])


def test_filters_leave_what_has_the_values(engine: Engine, engine_sample: EngineSample) -> None:
    payloads = engine_sample.payloads
    assert engine.count({"part": [1, 2], "kind": "odd"}) == 100
    assert engine.count({"first": True}) == 10
    assert engine.count({"tags": ["seizure", "nothing"]}) == 134
    assert engine.count({"tags": 'it\'s "quoted"'}) == 1
    assert engine.count({"kind": "neither"}) == 0
    rows = [place for place, fields in enumerate(payloads) if fields["part"] in (0, 3) and "seizure" in fields["tags"]]
    rankings = engine.search(
        engine_sample.dense, 10, model=engine_sample.decoder, candidates=400, filter={"part": [0, 3], "tags": "seizure"}
    )
    for ranking, ids in zip(rankings, top_k(truth(engine_sample, rows), 10).ids, strict=True):
        assert np.array_equal(ranking.ids, ids)
    (few,) = engine.search(engine_sample.dense[0], 10, model=engine_sample.decoder, filter={"tags": 'it\'s "quoted"'})
    assert few.ids.tolist() == [5]
    (none,) = engine.search(engine_sample.dense[0], 10, model=engine_sample.decoder, filter={"tags": "nothing"})
    assert none.ids.shape == none.scores.shape == (0,)


def test_sending_again_doubles_nothing_and_new_content_replaces(engine: Engine, engine_sample: EngineSample) -> None:
    codes = engine_sample.codes
    engine.upsert(range(100), codes[:100], engine_sample.payloads[:100])
    assert engine.count() == 400
    engine.upsert([7], codes[399], [{"part": 77, "text": "another"}])
    assert engine.count() == 400
    assert engine.count({"part": 77}) == 1
    assert engine.payloads([8, 7, 5000]) == [engine_sample.payloads[8], {"part": 77, "text": "another"}, {}]
    found, _ = engine.fetch([7])
    assert np.array_equal(found.bits, codes[399].to_packed())


def test_what_an_interrupted_optimisation_left_is_removed(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    with connect(f"qdrant-edge://{tmp_path}", "papers") as engine:
        engine.create(engine_sample.codes.hidden_dim)
        left = tmp_path / "papers" / "temp_segments" / "segment_builder"
        left.mkdir(parents=True)
        engine.upsert(range(100), engine_sample.codes[:100], engine_sample.payloads[:100])
        engine.finish()
        assert not left.exists()
        assert engine.count() == 100


def test_deleted_documents_are_gone(engine: Engine, engine_sample: EngineSample) -> None:
    best = [int(one.ids[0]) for one in engine.search(engine_sample.dense, 1, model=engine_sample.decoder)]
    engine.delete([*set(best), 5000])
    assert engine.count() == 400 - len(set(best))
    rankings = engine.search(engine_sample.dense, 400, model=engine_sample.decoder)
    assert all(len(one.ids) == engine.count() for one in rankings)
    assert not {name for one in rankings for name in one.ids.tolist()} & set(best)


def test_large_ids_survive(opened: Engine, engine_sample: EngineSample) -> None:
    opened.create(engine_sample.codes.hidden_dim)
    largest = 2**63 - 1
    opened.upsert([0, largest], engine_sample.codes[:2])
    found, payloads = opened.fetch([largest])
    assert (found.ids.tolist(), payloads) == ([largest], [{}])
    with pytest.raises(BSAError, match="ids must lie between"):
        opened.upsert([-1], engine_sample.codes[:1])


def test_an_index_finds_what_a_scan_finds(engine: Engine, engine_sample: EngineSample) -> None:
    if engine.name == "DuckDB":
        with pytest.raises(BSAError, match="DuckDB has no index"):
            connect("duckdb:///x", index=True)
        return
    before = engine.search(engine_sample.dense, 10, model=engine_sample.decoder)
    engine.index = True
    engine.finish()
    after = engine.search(engine_sample.dense, 10, model=engine_sample.decoder)
    shared = [len(set(one.ids.tolist()) & set(other.ids.tolist())) for one, other in zip(before, after, strict=True)]
    assert min(shared) >= 9
    engine.upsert([1000], engine_sample.codes[:1])  # what comes after the index is found too
    engine.finish()
    assert engine.count() == 401
    (nearest,) = engine.search(engine_sample.dense[:1], 401, model=engine_sample.decoder)
    assert 1000 in nearest.ids


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda engine, sample: engine.create(512), "holds codes of 256 bits, not of 512; choose another collection"),
        (lambda engine, sample: engine.create(4096), "engines hold codes of at most 1024 bits, these have 4096"),
        (lambda engine, sample: engine.create(100), "hidden_dim must be a multiple of 8, got 100"),
        (lambda engine, sample: engine.upsert([1], BinaryCodes([1], [0, 1], 512)), "holds codes of 256 bits, not of 512"),
        (lambda engine, sample: engine.upsert([1, 1], sample.codes[:2]), "id 1 is given more than once"),
        (lambda engine, sample: engine.upsert([1], sample.codes[:2]), "2 documents need 2 ids, got 1"),
        (lambda engine, sample: engine.upsert([1], sample.codes[:1], []), "1 documents need 1 payloads"),
        (lambda engine, sample: engine.upsert([1], sample.codes[:1], [{"tags": [1]}]), "tags must be a list of strings"),
        (lambda engine, sample: engine.search(sample.dense, 0, model=sample.decoder), "top_k must be a whole number"),
        (lambda engine, sample: engine.search(sample.dense, model=sample.decoder, candidates=0), "candidates must be"),
        (lambda engine, sample: engine.search(sample.dense[:, :9], model=sample.decoder), "must have shape"),
        (lambda engine, sample: engine.search(sample.dense * np.nan, model=sample.decoder), "NaN"),
        (lambda engine, sample: engine.search("a text", model=sample.decoder), "needs the model"),
        (
            lambda engine, sample: engine.search(sample.dense, model=sample.decoder, filter={"part": 1.5}),
            "filter 'part' must be",
        ),
    ],
)
def test_wrong_calls_are_refused_by_name(
    engine: Engine, engine_sample: EngineSample, call: Callable[[Engine, EngineSample], object], message: str
) -> None:
    with pytest.raises(BSAError, match=message):
        call(engine, engine_sample)
    assert engine.count() == 400


def test_a_collection_that_is_not_there_is_named(opened: Engine, engine_sample: EngineSample) -> None:
    assert opened.hidden_dim() is None
    with pytest.raises(BSAError, match="there is no collection papers"):
        opened.search(engine_sample.dense, model=engine_sample.decoder)


def test_what_was_loaded_is_there_after_closing(engine: Engine, engine_sample: EngineSample, tmp_path: Path) -> None:
    if engine.name == "Qdrant":
        pytest.skip("the client's double keeps nothing")
    before = engine.search(engine_sample.dense, 5, model=engine_sample.decoder)
    engine.close()
    again = engine.search(engine_sample.dense, 5, model=engine_sample.decoder)
    assert all(np.array_equal(one.ids, other.ids) for one, other in zip(before, again, strict=True))


def test_a_collection_of_others_is_not_touched(engine_sample: EngineSample, tmp_path: Path, postgres: str) -> None:
    psycopg, duckdb, lancedb = (pytest.importorskip(name) for name in ("psycopg", "duckdb", "lancedb"))
    pytest.importorskip("qdrant_edge")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").touch()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE TABLE theirs (id bigint)")
    duckdb.connect(str(tmp_path / "d.duckdb")).execute("CREATE TABLE theirs (id bigint)").close()
    lancedb.connect(str(tmp_path / "lance")).create_table("theirs", [{"id": 1}])
    for url in (postgres, f"duckdb://{tmp_path / 'd.duckdb'}", f"lancedb://{tmp_path / 'lance'}", f"qdrant-edge://{tmp_path}"):
        with connect(url, "theirs") as engine:
            with pytest.raises(BSAError, match="choose another"):
                engine.create(engine_sample.codes.hidden_dim)
            with pytest.raises(BSAError, match="choose another"):
                engine.drop()
    assert (tmp_path / "theirs" / "file").is_file()


@pytest.mark.parametrize(
    ("url", "collection", "options", "message"),
    [
        ("http://user:secret@localhost:6333", "a", {}, r"begins with lancedb://, .* got 'http://user:\*\*\*@localhost:6333'"),
        ("/some/folder", "a", {}, "an engine's address begins with"),
        ("lancedb:///x", "../papers", {}, "small letters"),
        ("duckdb:///x", "papers", {"shards": 3}, "duckdb has no option 'shards'"),
    ],
)
def test_wrong_addresses_are_refused(url: str, collection: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(BSAError, match=message):
        connect(url, collection, **options)
