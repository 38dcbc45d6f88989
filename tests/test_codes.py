"""Codes and their file format: round trips, honest sizes, damage."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError
from bsa_st.codes import file as codefile


@st.composite
def any_codes(draw: st.DrawFn) -> BinaryCodes:
    """Codes of any width and any number of active features, empty ones included, in either form."""
    hidden_dim = draw(st.sampled_from([1, 7, 8, 64, 1000, 65_536, 70_000]))
    texts = draw(st.integers(0, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    most = draw(st.sampled_from([0, 1, 5, min(hidden_dim, 300)]))
    rows = [np.sort(rng.choice(hidden_dim, rng.integers(0, min(most, hidden_dim) + 1), replace=False)) for _ in range(texts)]
    ids = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    codes = BinaryCodes(ids, indptr, hidden_dim)
    return BinaryCodes.from_packed(codes.to_packed(), hidden_dim) if draw(st.booleans()) else codes


def random_codes(texts: int, hidden_dim: int, k: int, seed: int = 0) -> BinaryCodes:
    order = np.random.default_rng(seed).random((texts, hidden_dim), dtype=np.float32).argpartition(k, axis=1)[:, :k]
    return BinaryCodes(np.sort(order, axis=1).ravel(), np.arange(texts + 1) * k, hidden_dim)


@settings(max_examples=200, deadline=None)
@given(any_codes())
def test_every_form_round_trips(codes: BinaryCodes) -> None:
    assert codefile.decode(BinaryCodes, codefile.encode(codes)) == codes
    assert BinaryCodes(codes.ids, codes.indptr, codes.hidden_dim) == codes
    assert BinaryCodes.from_dense(codes.to_dense()) == codes
    assert BinaryCodes.from_packed(codes.to_packed(), codes.hidden_dim) == codes
    csr = codes.to_scipy()
    assert BinaryCodes(csr.indices, csr.indptr, csr.shape[1]) == codes
    assert BinaryCodes.from_dense(torch.from_numpy(codes.to_dense())) == codes


def test_packed_layout_is_that_of_sentence_transformers() -> None:
    from sentence_transformers.util import quantize_embeddings

    codes = random_codes(50, 256, 20)
    assert np.array_equal(codes.to_packed(), quantize_embeddings(codes.to_dense(), precision="ubinary"))


@settings(max_examples=100, deadline=None)
@given(any_codes(), st.integers(-25, 25), st.integers(-25, 25), st.integers(0, 2**32 - 1))
def test_slices_and_concatenation_agree_with_the_dense_matrix(codes: BinaryCodes, start: int, stop: int, seed: int) -> None:
    dense, rng = codes.to_dense(), np.random.default_rng(seed)
    assert np.array_equal(codes[start:stop].to_dense(), dense[start:stop])
    mask = rng.random(len(codes)) < 0.5
    assert np.array_equal(codes[mask].to_dense(), dense[mask])
    if len(codes):
        places = rng.integers(0, len(codes), 7)
        assert np.array_equal(codes[places].to_dense(), dense[places])
        assert np.array_equal(codes[places].counts, dense[places].sum(axis=1))
    assert BinaryCodes.concatenate([codes[:3], codes[3:]]) == codes


@pytest.mark.parametrize("k", [2, 16])
def test_files_span_several_blocks(k: int, tmp_path: Path) -> None:
    few = random_codes(1000, 32, k)
    codes = few[np.random.default_rng(0).integers(0, 1000, 2 * codefile.BLOCK_TEXTS + 50)]
    codes.save(tmp_path / "x.codes")
    assert BinaryCodes.load(tmp_path / "x.codes") == codes


@pytest.mark.parametrize(("hidden_dim", "k"), [(4096, 64), (4096, 32), (768, 135), (16384, 64)])
def test_file_size_stays_within_ten_percent_of_the_binomial_floor(hidden_dim: int, k: int, tmp_path: Path) -> None:
    codes = random_codes(3000, hidden_dim, k)
    floor = 3000 * (math.log2(math.comb(hidden_dim, k)) / 8)
    codes.save(tmp_path / "x.codes")
    assert (tmp_path / "x.codes").stat().st_size < 1.1 * floor


def test_sizes_are_those_of_the_real_forms(tmp_path: Path) -> None:
    codes = random_codes(500, 4096, 64)
    codes.save(tmp_path / "x.codes")
    assert codes.nbytes == (tmp_path / "x.codes").stat().st_size
    assert codes.nbytes_as("packed") == codes.to_packed().nbytes == 500 * 512
    assert codes.nbytes_as("ids") == 500 * (64 * 2 + 4)


def test_compact_codes_take_their_bits_in_memory_and_in_the_file(tmp_path: Path) -> None:
    dense = np.random.default_rng(0).random((20_000, 512)) < 0.5
    codes = BinaryCodes.from_dense(dense)
    assert codes.is_packed
    assert codes.to_packed().nbytes == 64 * len(codes)
    codes.save(tmp_path / "x.codes")
    assert (tmp_path / "x.codes").stat().st_size / len(codes) < 64.02
    sparse_codes = BinaryCodes.from_dense(dense & (np.random.default_rng(1).random(dense.shape) < 0.05))
    assert not sparse_codes.is_packed


@pytest.mark.parametrize(
    ("ids", "indptr", "hidden_dim", "message"),
    [
        ([1, 9], [0, 2], 8, "feature id 9 does not fit hidden_dim = 8"),
        ([-1, 2], [0, 2], 8, "does not fit"),
        ([2, 1], [0, 2], 8, "ascending and distinct"),
        ([1, 1], [0, 2], 8, "ascending and distinct"),
        ([1, 2], [0, 1], 8, "indptr must rise from 0 to the number of ids, 2"),
        ([1, 2], [0, 2, 1, 2], 8, "indptr must rise"),
        ([0.5], [0, 1], 8, "ids must be integers"),
        ([0], [0, 1], 0, "hidden_dim must be at least 1"),
    ],
)
def test_arrays_that_are_no_codes_are_refused(ids: list[int], indptr: list[int], hidden_dim: int, message: str) -> None:
    with pytest.raises(BSAError, match=message):
        BinaryCodes(np.array(ids), np.array(indptr), hidden_dim)


def test_first_ids_of_a_text_may_be_smaller_than_the_last_of_the_text_before() -> None:
    assert len(BinaryCodes([5, 6, 0, 1, 0], [0, 2, 2, 4, 5], 8)) == 4


def test_other_forms_must_be_binary() -> None:
    with pytest.raises(BSAError, match="only 0 and 1"):
        BinaryCodes.from_dense(np.array([[0.0, 0.5]]))
    with pytest.raises(BSAError, match="bit set beyond feature 6"):
        BinaryCodes.from_packed(np.array([[1]], dtype=np.uint8), 7)
    with pytest.raises(BSAError, match="share one hidden_dim, got"):
        BinaryCodes.concatenate([random_codes(1, 8, 1), random_codes(1, 16, 1)])


# -- damage -------------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_flipped_bit_or_a_cut_is_always_noticed(data: st.DataObject) -> None:
    codes = random_codes(40, 300, data.draw(st.sampled_from([9, 150])))
    raw = bytearray(codefile.encode(codes))
    if data.draw(st.booleans()):
        place = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[place // 8] ^= 1 << (place % 8)
    else:
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    with pytest.raises(BSAError):
        codefile.decode(BinaryCodes, bytes(raw))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_hostile_header_with_valid_checksums_raises_only_the_library_error(data: st.DataObject) -> None:
    codes = random_codes(20, 300, data.draw(st.sampled_from([9, 150])))
    raw = codefile.encode(codes)
    length = struct.unpack("<I", raw[12:16])[0]
    header = json.loads(raw[16 : 16 + length])
    part = data.draw(st.sampled_from([header, header["blocks"][0]]))
    field = data.draw(st.sampled_from(sorted(part)))
    value = data.draw(st.sampled_from([-1, 0, 1, 31, 10**6, 10**12, 10**30, 0.5, None, "x", [], {}]))
    wider = field == "hidden_dim" and value == 10**6 and "rice" in header["blocks"][0]  # a wider code is a valid one
    changed = part[field] != value and not wider
    part[field] = value
    text = json.dumps(header).encode()
    head = raw[:12] + struct.pack("<I", len(text)) + text
    hostile = head + struct.pack("<I", zlib.crc32(head)) + raw[16 + length + 4 :]
    if changed:
        with pytest.raises(BSAError):
            codefile.decode(BinaryCodes, hostile)


def test_a_damaged_file_is_named_with_its_block(tmp_path: Path) -> None:
    path = tmp_path / "x.codes"
    random_codes(100, 300, 9).save(path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 255
    path.write_bytes(raw)
    with pytest.raises(BSAError, match=r"x\.codes: block 0 of 1 is damaged"):
        BinaryCodes.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(BSAError, match="not a codes file"):
        BinaryCodes.load(path)
    with pytest.raises(BSAError, match="cannot read codes file"):
        BinaryCodes.load(tmp_path / "missing")


def test_a_newer_format_says_so(tmp_path: Path) -> None:
    raw = codefile.MAGIC + struct.pack("<II", codefile.VERSION + 1, 0) + b"\0" * 8
    with pytest.raises(BSAError, match="newer than this bsa_st reads"):
        codefile.decode(BinaryCodes, raw)


def test_an_earlier_format_says_to_encode_again() -> None:
    raw = codefile.MAGIC + struct.pack("<II", codefile.VERSION - 1, 0) + b"\0" * 8
    with pytest.raises(BSAError, match="is of an earlier bsa_st; encode the texts again"):
        codefile.decode(BinaryCodes, raw)


def test_a_failed_save_leaves_the_earlier_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.codes"
    first = random_codes(10, 300, 9)
    first.save(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(BSAError, match=r"cannot write .*x\.codes: No space left"):
        random_codes(20, 300, 9).save(path)
    monkeypatch.undo()
    assert BinaryCodes.load(path) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.codes"]


def test_working_with_codes_does_not_import_torch() -> None:
    program = "import sys, bsa_st.codes, bsa_st.codes.scoring; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
