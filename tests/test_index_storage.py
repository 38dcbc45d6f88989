"""Index files: what is saved comes back, damage is named, and a killed process loses nothing."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bsa_st import BinaryCodes, BSAError, Index
from tests.test_index import random_codes

DECODER = (np.linspace(-1, 1, 96 * 5).reshape(96, 5).astype(np.float32), np.ones(5, np.float32))


def example(count: int, seed: int = 0, ids: np.ndarray | None = None) -> Index:
    codes = random_codes(np.random.default_rng(seed), count, 96, 0.1, fixed=False)
    return Index.build(codes, ids=ids, decoder=DECODER)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two blocks, listed ids, deletions and a decoder."""
    path = tmp_path_factory.mktemp("index") / "two.index"
    index = example(33_000, ids=np.random.default_rng(1).permutation(50_000)[:33_000])
    index.delete(index.ids[::50])
    index.save(path)
    return path


@pytest.mark.parametrize("count", [0, 1, 5000, 32_768, 33_000])
def test_what_is_saved_comes_back(count: int, tmp_path: Path) -> None:
    index = example(count) if count else Index.build(BinaryCodes([], [0], 96), decoder=DECODER)
    if count > 1:
        index.delete([0, count - 1])
    size = index.save(tmp_path / "a.index")
    assert size == (tmp_path / "a.index").stat().st_size
    again = Index.open(tmp_path / "a.index")
    assert np.array_equal(again.ids, index.ids)
    assert again.codes(again.ids) == index.codes(index.ids)
    queries = np.eye(5, dtype=np.float32)
    for left, right in zip(again.search(queries), index.search(queries), strict=True):
        assert np.array_equal(left, right)
    again.add(index.codes(index.ids[:10]))
    again.save(tmp_path / "a.index")
    assert len(Index.open(tmp_path / "a.index")) == len(index) + min(10, len(index))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.index"]


def test_the_file_is_near_the_ideal_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ids = np.sort(np.argpartition(rng.random((20_000, 4096), dtype=np.float32), 64, axis=1)[:, :64], axis=1)
    codes = BinaryCodes(ids.ravel(), np.arange(20_001) * 64, 4096)
    index = Index.build(codes)
    assert index.save(tmp_path / "a.index") < 1.2 * codes.ideal_nbytes
    assert index.stats().ideal_code_bytes == pytest.approx(codes.ideal_nbytes)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_flipped_bits_and_cuts_are_found(place: float, bit: int, cut: bool, saved: Path, tmp_path: Path) -> None:
    data = bytearray(saved.read_bytes())
    at = int(place * (len(data) - 8))
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    path = tmp_path / "damaged.index"
    path.write_bytes(data)
    with pytest.raises(BSAError, match=r"damaged\.index"):
        Index.open(path)


def test_the_damaged_block_is_named(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    start = 20 + struct.unpack("<I", whole[12:16])[0] + DECODER[0].nbytes + DECODER[1].nbytes
    first = int(Index.open(saved)._state.documents.store.table[0, -1])
    for at, name in ((start + 5, "block 0 of 2"), (start + first + 5, "block 1 of 2"), (start - 9, "the decoder")):
        data = bytearray(whole)
        data[at] ^= 4
        (tmp_path / "x.index").write_bytes(data)
        with pytest.raises(BSAError, match=f"x.index: {name} is damaged"):
            Index.open(tmp_path / "x.index")
    for content, message in ((b"", "an empty file"), (b"BSACODES" + bytes(40), "not an index file"), (whole[:14], "cut short")):
        (tmp_path / "x.index").write_bytes(content)
        with pytest.raises(BSAError, match=message):
            Index.open(tmp_path / "x.index")
    with pytest.raises(BSAError, match="index not found"):
        Index.open(tmp_path / "none.index")


def test_a_newer_version_and_impossible_headers_are_refused(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    length = struct.unpack("<I", whole[12:16])[0]

    def refused(version: int, text: bytes, message: str) -> None:
        head = whole[:8] + struct.pack("<II", version, len(text)) + text
        (tmp_path / "x.index").write_bytes(head + struct.pack("<I", zlib.crc32(head)) + whole[20 + length :])
        with pytest.raises(BSAError, match=message):
            Index.open(tmp_path / "x.index")

    text = whole[16 : 16 + length]
    refused(4, text, "newer")
    refused(2, text, "of an earlier bsa_st")
    refused(3, text.replace(b'"hidden_dim":96', b'"hidden_dim":"x"'), "lacks a field")
    refused(3, text.replace(b"[32768,", b"[32767,"), "impossible sizes")
    refused(3, text.replace(b'"documents":33000', b'"documents":33001'), "promises 33001 documents")
    refused(3, b"[]", "lacks a field")


WRITER = """
import sys, numpy as np
from bsa_st import BinaryCodes, Index
path = sys.argv[1]
while True:
    index = Index.open(path)
    index.add(index.codes(index.ids[:100]))
    index.save(path)
    print("saved", flush=True)
"""


KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from bsa_st import BinaryCodes, Index
path = Path(sys.argv[1])
documents = Index.open(path).codes(np.arange(3000))
random.seed(0)
size, leftovers = 3000, 0
for _ in range(2):
    started = time.perf_counter()
    index = Index.open(path)
    index.add(documents[:100])
    index.save(path)
    once = time.perf_counter() - started
Index.build(documents).save(path)
for number in range(100):
    writer = os.fork()
    if writer == 0:
        while True:
            index = Index.open(path)
            index.add(documents[:100])
            index.save(path)
    time.sleep(random.random() * max(0.06, 3 * once))  # a busy machine needs longer to save
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    leftovers += len(os.listdir(path.parent)) > 1
    index = Index.open(path)
    added = len(index) - 3000
    assert len(index) >= size and added % 100 == 0, (size, len(index))
    size = len(index)
    assert index.codes(np.arange(3000)) == documents
    for start in range(3000, size, 100):
        assert index.codes(np.arange(start, start + 100)) == documents[:100]
    if size > 20000:
        Index.build(documents).save(path)
        size = 3000
        grown = True
print(added, leftovers)
"""


def test_a_process_killed_while_it_adds_and_saves_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    index = example(3000)
    index.save(path)
    result = subprocess.run([sys.executable, "-c", KILLER, str(path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    added, leftovers = map(int, result.stdout.split())
    assert added > 0
    assert leftovers > 0, "no process was killed while it was writing"
    Index.open(path).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.index"], "a later save clears away what killed ones left"


def test_readers_during_saves_see_a_whole_index(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(3000).save(path)
    early = Index.open(path)
    expected = early.search(np.eye(5, dtype=np.float32))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "saved\n"
    seen = set()
    stop = time.monotonic() + 20
    while len(seen) < 4 and time.monotonic() < stop:
        index = Index.open(path)
        assert (len(index) - 3000) % 100 == 0
        assert np.array_equal(
            index.search(np.eye(5, dtype=np.float32), scoring="asymmetric").scores[:, 0], expected.scores[:, 0]
        )
        seen.add(len(index))
    writer.kill()
    writer.wait()
    writer.stdout.close()
    assert len(seen) > 1
    assert np.array_equal(early.search(np.eye(5, dtype=np.float32)).ids, expected.ids)


def test_a_failed_save_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.index"
    example(100).save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BSAError, match=r"cannot write .*No space left"):
        example(200).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.index"]
