"""Codes as files of faiss, usearch and parquet: what other programs find in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bsa_st import BinaryCodes, BSAError
from bsa_st.codes.export import export_codes
from tests.engine_server import EngineSample


def nearest(sample: EngineSample, bits: np.ndarray) -> np.ndarray:
    """Distances of the ten nearest documents, sorted."""
    return np.sort(np.bitwise_count(sample.codes.to_packed() ^ bits).sum(axis=1))[:10]


def test_faiss_opens_the_file_and_finds_the_nearest(engine_sample: EngineSample, tmp_path: Path) -> None:
    import faiss

    export_codes(engine_sample.codes, tmp_path / "a.faiss")
    index, asked = faiss.read_index_binary(str(tmp_path / "a.faiss")), engine_sample.codes.to_packed()[:5]
    distances, ids = index.search(asked, 10)
    for bits, far, names in zip(asked, distances, ids, strict=True):
        assert np.array_equal(far, nearest(engine_sample, bits))
        assert np.array_equal(np.bitwise_count(engine_sample.codes.to_packed()[names] ^ bits).sum(axis=1), far)


def test_usearch_opens_the_file_and_finds_the_nearest(engine_sample: EngineSample, tmp_path: Path) -> None:
    module = pytest.importorskip("usearch.index")
    export_codes(engine_sample.codes, tmp_path / "a.usearch")
    index, bits = module.Index.restore(str(tmp_path / "a.usearch")), engine_sample.codes.to_packed()[3]
    found = index.search(bits, 10, exact=True)
    assert int(found.keys[0]) == 3
    assert np.array_equal(np.asarray(found.distances), nearest(engine_sample, bits))


def test_lancedb_and_duckdb_take_the_table_as_it_is(engine_sample: EngineSample, tmp_path: Path) -> None:
    lancedb, duckdb = pytest.importorskip("lancedb"), pytest.importorskip("duckdb")
    parquet = pytest.importorskip("pyarrow.parquet")
    export_codes(engine_sample.codes, tmp_path / "a.parquet")
    bits = engine_sample.codes.to_packed()[3]
    table = lancedb.connect(tmp_path / "lance").create_table("texts", parquet.read_table(tmp_path / "a.parquet"))
    found = table.search(bits, vector_column_name="bits").distance_type("hamming").limit(10).to_arrow()
    assert found["id"][0].as_py() == 3
    assert np.array_equal(found["_distance"].to_numpy(), nearest(engine_sample, bits))
    ((count, same),) = duckdb.sql(
        f"SELECT count(*), max(id) FILTER (bits = {bits.tolist()}) FROM '{tmp_path / 'a.parquet'}'"
    ).fetchall()
    assert (count, same) == (len(engine_sample.codes), 3)


def test_codes_that_are_no_whole_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="whole bytes, not codes of 20 bits"):
        export_codes(BinaryCodes([3], [0, 1], 20), tmp_path / "a.faiss")
    assert not list(tmp_path.iterdir())
