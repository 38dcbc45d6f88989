"""What is sent to engines, as pure data: no server, no client."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError
from bsa_st.codes.scoring import asymmetric_scores, inverse_norms, scores
from bsa_st.engines import lucene, qdrant_points
from bsa_st.engines.documents import Documents, Layout, check_name, filter_values
from bsa_st.engines.queries import SparseQuery, sparse_queries
from bsa_st.engines.url import shown_url
from tests.engine_stub import score_of

D = 40


@st.composite
def some_codes(draw: st.DrawFn, least: int = 1) -> BinaryCodes:
    rows = draw(st.lists(st.sets(st.integers(0, D - 1), max_size=12), min_size=least, max_size=6))
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    ids = np.array([name for row in rows for name in sorted(row)], dtype=np.int64)
    return BinaryCodes(ids, indptr, D)


def documents_of(codes: BinaryCodes, factors: Any = None) -> Documents:
    values = None if factors is None else np.asarray(factors).tolist()
    return Documents(list(range(len(codes))), codes, values, [{"lang": "en"}] * len(codes), "abc")


def decoder_of(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal(shape).astype(np.float32) for shape in ((D, 8), (8,), (3, 8)))  # type: ignore[return-value]


def dot(document: dict[str, Any], asked: qdrant_points.Request) -> float:
    vector = document["vector"][asked.using]
    weights = dict(zip(asked.indices, asked.values, strict=True))
    return sum(weights.get(index, 0.0) * value for index, value in zip(vector["indices"], vector["values"], strict=True))


@settings(max_examples=50, deadline=None)
@given(some_codes(), some_codes(), st.integers(0, 100))
def test_dot_products_of_points_are_the_scores(documents: BinaryCodes, queries: BinaryCodes, seed: int) -> None:
    layout = Layout(D, asymmetric=True)
    weight, offset, dense = decoder_of(seed)
    given_factors = documents_of(documents, inverse_norms(documents, weight, offset))
    points = [qdrant_points.point(given_factors, row) for row in range(len(documents))]
    truth = scores(queries, documents)
    for row, query in enumerate(sparse_queries(queries, D)):
        asked = qdrant_points.request(query, layout, 10)
        assert [dot(point, asked) for point in points] == truth[row].tolist()
    every = asymmetric_scores(dense, documents, weight, offset)
    for row, query in enumerate(sparse_queries(dense, D, decoder=(weight, offset))):
        asked = qdrant_points.request(query, layout, 10)
        np.testing.assert_allclose([dot(point, asked) for point in points], every[row], atol=1e-4)


def test_a_point_is_what_qdrant_takes() -> None:
    codes, factor = BinaryCodes([3, 9], [0, 2], 16), 1.25
    assert qdrant_points.point(documents_of(codes, [factor]), 0) == {
        "id": 0,
        "vector": {
            "bsa_16": {"indices": [3, 9], "values": [1.0, 1.0]},
            "bsa_16_scaled": {"indices": [3, 9, 16], "values": [factor] * 3},
        },
        "payload": {"lang": "en", "bsa_st_source": "abc"},
    }
    assert list(qdrant_points.point(documents_of(codes), 0)["vector"]) == ["bsa_16"]


@pytest.mark.parametrize("layout", [Layout(4096, True), Layout(768, False)])
def test_vector_names_tell_the_layout(layout: Layout) -> None:
    names = qdrant_points.vector_names(layout)[: 1 + layout.asymmetric]
    assert qdrant_points.layout_of(names, "papers") == layout
    with pytest.raises(BSAError, match="collection papers was not made by bsa_st"):
        qdrant_points.layout_of(["text"], "papers")


@settings(max_examples=50, deadline=None)
@given(some_codes(), some_codes(), st.integers(0, 100), st.sampled_from(["elasticsearch", "opensearch"]))
def test_bodies_for_lucene_score_exactly(documents: BinaryCodes, queries: BinaryCodes, seed: int, engine: str) -> None:
    weight, offset, dense = decoder_of(seed)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    weight, offset = weight / 40, offset / 40  # so that scores are about those of unit vectors
    factors = inverse_norms(documents, weight, offset)
    found = [lucene.document(documents_of(documents, factors), row, engine) for row in range(len(documents))]
    truth = scores(queries, documents)
    for row, query in enumerate(sparse_queries(queries, D)):
        body = lucene.search_body(query, 10, None, engine)
        assert [score_of(body["query"], document) or 0.0 for document in found] == truth[row].tolist()
    every = asymmetric_scores(dense, documents, weight, offset)
    for row, query in enumerate(sparse_queries(dense, D, decoder=(weight, offset))):
        body = lucene.search_body(query, 10, None, engine)
        lifted = [score_of(body["query"], document) for document in found]
        expected = np.maximum(every[row] + lucene.lift_of(query), 0)
        np.testing.assert_allclose(lifted, expected, atol=1e-4)  # type: ignore[arg-type]


def test_the_mappings_are_those_that_score_exactly() -> None:
    body = lucene.index_body(Layout(64, True), "elasticsearch", shards=3, replicas=1)
    assert body["settings"] == {"index": {"number_of_shards": 3, "number_of_replicas": 1}}
    code = body["mappings"]["properties"]["code"]
    assert code == {"type": "text", "analyzer": "whitespace", "similarity": "boolean", "norms": False, "index_options": "docs"}
    assert body["mappings"]["_meta"] == Layout(64, True).to_json()
    body = lucene.index_body(Layout(64), "opensearch")
    assert body["settings"] == {"index": {}}
    assert body["mappings"]["properties"]["code"] == {"type": "rank_features"}
    assert "factor" not in body["mappings"]["properties"]


def test_bulk_lines_are_pairs_of_action_and_document() -> None:
    codes = BinaryCodes([3, 9, 1], [0, 2, 3], 16)
    lines = [json.loads(line) for line in lucene.bulk_lines(documents_of(codes), "elasticsearch")]
    assert lines[0] == {"index": {"_id": "0"}}
    assert lines[1] == {"code": "3 9", "payload": {"lang": "en"}, "source": "abc"}
    assert [lines[2]["index"]["_id"], lines[3]["code"]] == ["1", "1"]


def test_no_weight_that_lucene_refuses_is_sent() -> None:
    weight, offset, dense = decoder_of(0)
    for query in sparse_queries(dense, D, decoder=(weight, offset), probes=10, candidates=50):
        body = lucene.search_body(query, 10, {"lang": "en"}, "elasticsearch")
        should = body["query"]["bool"]["must"][0]["bool"]["should"]
        assert 0 < len(should) <= 10
        assert all(clause["term"]["code"]["boost"] > 0 for clause in should)
        assert body["rescore"]["window_size"] == 50
        tokens = lucene.search_body(query, 10, None, "opensearch")["query"]["neural_sparse"]["code"]["query_tokens"]
        assert all(0 < value <= 64 for value in tokens.values())


def test_probes_are_the_largest_positive_weights() -> None:
    query = SparseQuery(np.arange(5), np.float32([0.1, -9, 3, 2, 0]), 0.0, 1.0, "asymmetric", 3, 10)
    assert query.heaviest().features.tolist() == [0, 2, 3]
    assert query._replace(probes=1).heaviest().features.tolist() == [2]


@settings(max_examples=50, deadline=None)
@given(some_codes())
def test_texts_for_postgres_hold_the_same_features(codes: BinaryCodes) -> None:
    postgres = pytest.importorskip("bsa_st.engines.postgres", reason="psycopg is not installed")
    for row in range(len(codes)):
        features = codes.ids[codes.indptr[row] : codes.indptr[row + 1]]
        text = postgres.sparsevec_text(features.tolist(), None, D)
        entries = [part.split(":") for part in text[1 : text.index("}")].split(",") if part]
        assert [(int(name) - 1, value) for name, value in entries] == [(int(name), "1") for name in features]
        assert text.endswith(f"/{D}")
        assert np.flatnonzero(np.array(list(postgres.bit_text(features, D))) == "1").tolist() == features.tolist()


def test_rows_for_postgres_are_columns_in_order() -> None:
    postgres = pytest.importorskip("bsa_st.engines.postgres", reason="psycopg is not installed")
    codes = BinaryCodes([3, 9], [0, 2], 16)
    (row,) = postgres.rows(documents_of(codes), Layout(16, form="bit"))
    assert row == (0, "0001000001000000", None, "abc", '{"lang": "en"}')
    assert postgres.sparsevec_text([0, 2, 5], [0.5, 0.0, -2.0], 8) == "{1:0.5,6:-2.0}/8"
    assert postgres.condition({"a": ["x", 1]}) == ("(payload @> %s::jsonb OR payload @> %s::jsonb)", ['{"a": "x"}', '{"a": 1}'])
    assert postgres.condition(None) == ("true", [])


@pytest.mark.parametrize("name", ["", "Papers", "9lives", "a/b", "a;drop table x", "x" * 49, "../a"])
def test_names_that_an_engine_could_misread_are_refused(name: str) -> None:
    with pytest.raises(BSAError, match="small letters"):
        check_name(name)


def test_filters_are_lists_of_plain_values() -> None:
    assert filter_values({"a": 1, "b": ["x", True]}) == {"a": [1], "b": ["x", True]}
    for bad in ({"a": None}, {"a": []}, {"a": [1.5]}, {"a": {"b": 1}}):
        with pytest.raises(BSAError, match="filter 'a' must be"):
            filter_values(bad)


def test_layouts_of_newer_or_other_programs_are_refused() -> None:
    assert Layout.from_json(Layout(8, True, "bit").to_json(), "here") == Layout(8, True, "bit")
    with pytest.raises(BSAError, match="here has format 2, newer than this bsa_st reads"):
        Layout.from_json({"bsa_st_format": 2}, "here")
    for foreign in (None, {}, "x", {"bsa_st_format": "1"}):
        with pytest.raises(BSAError, match="here was not made by bsa_st"):
            Layout.from_json(foreign, "here")


def test_passwords_are_not_shown() -> None:
    assert shown_url("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert shown_url("http://host:6333") == "http://host:6333"
