"""faiss and usearch, in memory and from their files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bsa_st import BSAError
from bsa_st.codes.scoring import Measure, scores
from bsa_st.engines.documents import Layout
from bsa_st.engines.packed import FaissEngine, PackedEngine, UsearchEngine
from tests.engine_server import EngineSample


def filled(engine: PackedEngine, sample: EngineSample) -> PackedEngine:
    engine.create(Layout(sample.codes.hidden_dim))
    engine.upsert(np.arange(400) + 1000, sample.codes)
    engine.upsert([1000, 1001], sample.codes[:2])
    assert engine.count() == 400
    return engine


@pytest.mark.parametrize("measure", ["hamming", "jaccard"])
@pytest.mark.parametrize("kind", ["faiss", "usearch"])
def test_scores_are_exact_and_survive_the_file(
    kind: str, measure: Measure, engine_sample: EngineSample, tmp_path: Path
) -> None:
    pytest.importorskip(kind)
    if kind == "faiss" and measure == "jaccard":
        pytest.skip("faiss knows Hamming only")

    def made() -> PackedEngine:
        path = tmp_path / "bits"
        return FaissEngine(path) if kind == "faiss" else UsearchEngine(path, scoring=measure, exact=True)

    truth = scores(engine_sample.queries, engine_sample.codes, measure)
    engine = filled(made(), engine_sample)
    engine.finish()
    for opened in (engine, made()):
        hits = opened.search(engine_sample.queries, 30, scoring=measure)
        np.testing.assert_allclose(hits.scores, -np.sort(-truth, axis=1)[:, :30], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(truth, hits.ids - 1000, axis=1), hits.scores, atol=1e-6)
    engine.delete(hits.ids[0, :3].tolist())
    assert engine.count() == 397
    assert not set(hits.ids[0, :3]) & set(engine.search(engine_sample.queries, 397, scoring=measure).ids[0].tolist())


def test_the_graph_finds_nearly_everything(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("usearch")
    engine = filled(UsearchEngine(tmp_path / "bits"), engine_sample)
    found = engine.search(engine_sample.codes[:50], 1, scoring="jaccard")
    assert np.mean(found.scores[:, 0] > 0.999) > 0.9


def test_what_packed_bits_cannot_do_is_said(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(BSAError, match="faiss compares bits with bits only"):
        FaissEngine(tmp_path / "a").create(Layout(1024, asymmetric=True))
    engine = filled(FaissEngine(tmp_path / "a"), engine_sample)
    with pytest.raises(BSAError, match="faiss knows the scorings hamming, not overlap"):
        engine.search(engine_sample.queries, scoring="overlap")
    with pytest.raises(BSAError, match="cannot filter"):
        engine.search(engine_sample.queries, scoring="hamming", filter={"a": 1})
    with pytest.raises(BSAError, match="keeps no payload"):
        engine.upsert([1], engine_sample.codes[:1], [{"a": 1}])
    (tmp_path / "b").write_bytes(b"no index")
    with pytest.raises(BSAError, match="not a binary index of faiss"):
        FaissEngine(tmp_path / "b")


def test_documents_of_an_opened_faiss_file_are_replaced_and_deleted(engine_sample: EngineSample, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    codes = engine_sample.codes[:20]
    with FaissEngine(tmp_path / "a.faiss") as engine:
        engine.create(Layout(codes.hidden_dim))
        engine.upsert(range(20), codes)
        engine.finish()
    with FaissEngine(tmp_path / "a.faiss") as engine:
        engine.upsert(range(15, 25), codes[:10])
        engine.delete([0, 99])
        assert engine.count() == 24
        hits = engine.search(codes[:10], 24, scoring="hamming")
    kept = [*range(1, 15), *range(15, 25)]
    truth = scores(codes[:10], codes[[*range(1, 15), *range(10)]], "hamming")
    for row in range(10):
        assert dict(zip(hits.ids[row].tolist(), hits.scores[row].tolist(), strict=True)) == dict(
            zip(kept, truth[row].tolist(), strict=True)
        )
