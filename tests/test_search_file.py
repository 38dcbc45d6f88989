"""The index file: round trips, damage, processes that are killed, several writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bsa_st import BinaryCodes, BSAError, Index
from bsa_st.search import file

DECODER = (np.linspace(-1, 1, 64 * 5).reshape(64, 5).astype(np.float32), np.ones(5, np.float32))
QUERY = np.array([[1, -1, 0.5, 2, 0.1]], np.float32)


def example(count: int, seed: int = 0, ids: np.ndarray | None = None, lists: int | None = None) -> Index:
    rng = np.random.default_rng(seed)
    codes = BinaryCodes.from_dense(rng.random((count, 64)) < 0.5)
    texts, tags = (
        [f"text {name} \u00e4" for name in range(count)],
        [[f"tag {name % 7} \u00e4"] * (name % 3) for name in range(count)],
    )
    return Index.build(codes, texts, ids=ids, tags=tags, decoder=DECODER, lists=lists)


def sparse_example(count: int) -> Index:
    """Lists of ids, without a decoder."""
    return Index.build(BinaryCodes.from_dense(np.random.default_rng(0).random((count, 2000)) < 0.01))


def found_ids(index: Index) -> list[int]:
    if index.decoder is None:
        index = Index.build(index.codes(np.sort(index.ids)), decoder=(np.linspace(-1, 1, 10_000).reshape(2000, 5), np.ones(5)))
    return index.search(QUERY, 20)[0].ids.tolist()


def same(left: Index, right: Index) -> bool:
    ids = np.sort(left.ids)
    return (
        np.array_equal(ids, np.sort(right.ids))
        and found_ids(left) == found_ids(right)
        and left.codes(ids) == right.codes(ids)
        and left.texts(ids) == right.texts(ids)
        and [left.facets([name]) for name in ids[:100]] == [right.facets([name]) for name in ids[:100]]
    )


@pytest.mark.parametrize("count", [0, 1, 5000, 70_000])
def test_what_is_saved_comes_back(count: int, tmp_path: Path) -> None:
    index = example(count)
    size = index.save(tmp_path / "a.index")
    assert size == (tmp_path / "a.index").stat().st_size
    assert same(Index.open(tmp_path / "a.index"), index)


@pytest.mark.parametrize("lists", [None, 0, 9])
def test_lists_ids_and_deletions_come_back(lists: int | None, tmp_path: Path) -> None:
    index = example(3000, ids=np.random.default_rng(1).permutation(50_000)[:3000] + (1 << 33), lists=lists)
    index.delete(index.ids[::50])
    index.add(index.codes(index.ids[:10]))
    index.save(tmp_path / "a.index")
    again = Index.open(tmp_path / "a.index")
    assert same(again, index)
    assert again.stats() == index.stats()
    Index.open(tmp_path / "a.index").save(tmp_path / "b.index")
    assert (tmp_path / "b.index").read_bytes() == (tmp_path / "a.index").read_bytes()


def test_sparse_codes_come_back(tmp_path: Path) -> None:
    index = sparse_example(500)
    index.save(tmp_path / "a.index")
    assert same(Index.open(tmp_path / "a.index"), index)


def test_compact_codes_stay_in_the_file(tmp_path: Path) -> None:
    example(5000).save(tmp_path / "a.index")
    packed = Index.open(tmp_path / "a.index")._segment.codes.to_packed()
    assert not packed.flags.owndata
    assert not packed.flags.writeable


@pytest.mark.parametrize("kind", ["compact", "lists", "sparse"])
def test_every_changed_byte_gives_the_same_results_or_one_error(kind: str, tmp_path: Path) -> None:
    index = {"compact": lambda: example(12), "lists": lambda: example(12, lists=3), "sparse": lambda: sparse_example(9)}[kind]()
    path = tmp_path / "a.index"
    index.save(path)
    whole, messages = path.read_bytes(), []
    expected = found_ids(index)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 + place % 255
        path.write_bytes(damaged)
        try:
            found = found_ids(Index.open(path))
        except BSAError as error:
            messages.append(str(error))
        else:
            assert found == expected
    assert not any("\n" in message for message in messages)
    assert len(messages) > 0.6 * len(whole)  # the rest is what zip says twice, or of which nobody asks


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(12).save(path)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(BSAError):
            Index.open(path)
    with pytest.raises(BSAError, match="index not found"):
        Index.open(tmp_path / "none.index")
    (tmp_path / "other").write_bytes(b"something else, no index")
    with pytest.raises(BSAError, match="not an index file"):
        Index.open(tmp_path / "other")
    with pytest.raises(BSAError, match="cannot read the index"):
        Index.open(tmp_path)


def test_numpy_reads_the_arrays_and_they_are_aligned(tmp_path: Path) -> None:
    index = example(50, lists=3)
    index.save(tmp_path / "a.index")
    with np.load(tmp_path / "a.index") as arrays:
        assert np.array_equal(arrays["packed"], index.codes(index.ids).to_packed())
    mapped, _ = file.read(tmp_path / "a.index")
    assert all(values.ctypes.data % file.ALIGNMENT == 0 for values in mapped.values())


@pytest.mark.parametrize("kind", ["compact", "lists", "sparse"])
def test_arrays_that_do_not_fit_together_are_refused(kind: str, tmp_path: Path) -> None:
    """Whole files with right checksums, as a stranger may make them: no array may lead outside another."""
    index = {"compact": lambda: example(12), "lists": lambda: example(12, lists=3), "sparse": lambda: sparse_example(9)}[kind]()
    path = tmp_path / "a.index"
    index.save(path)
    whole = {name: np.array(values) for name, values in file.read(path)[0].items()}
    free = {"decoder", "offset", "length_scale", "centroids", "counters"}  # numbers that may be any
    for name, values in whole.items():
        if not values.size or name == "softening":
            continue
        changes = [values[:-1], np.append(values, values)]
        changes += [] if name in free else [values.astype(np.float32) + 0.5]
        changes += [values + values.dtype.type(100)] if name.endswith("starts") or name in ("tags", "features") else []
        for change in changes:
            file.write(path, {**whole, name: change})
            with pytest.raises(BSAError, match="do not fit together"):
                Index.open(path)
    for missing in whole.keys() - {"tags", "texts", "decoder"}:
        file.write(path, {name: values for name, values in whole.items() if name != missing})
        with pytest.raises(BSAError, match="do not fit together"):
            Index.open(path)
    file.write(path, {**whole, "ids": np.array(["a"] * len(index))})
    with pytest.raises(BSAError, match="no plain array"):
        Index.open(path)
    (tmp_path / "b.index").write_bytes(b"BSAINDEX of an earlier version")
    with pytest.raises(BSAError, match=r"not an index file of this bsa_st; build it again \(bsa-st index build\)"):
        Index.open(tmp_path / "b.index")


def test_an_index_that_was_built_again_shows_no_earlier_texts(tmp_path: Path) -> None:
    example(30).save(tmp_path / "a.index")
    rng = np.random.default_rng(9)
    Index.build(BinaryCodes.from_dense(rng.random((30, 64)) < 0.5), decoder=DECODER).save(tmp_path / "a.index")
    assert Index.open(tmp_path / "a.index").texts([3]) == [""]


RESIDENT = """
import ctypes, gc, sys
from pathlib import Path
import numpy as np
from bsa_st import Index

def resident():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return 1024 * int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

def ask(index):
    for start in range(8):
        index.search(np.random.default_rng(start).standard_normal((16, 12)), probes=10**6, threads=1)

ask(Index.open(sys.argv[1]))  # the libraries' own memory comes before
before = resident()
index = Index.open(sys.argv[2])
opened = resident() - before
ask(index)
print(opened, resident() - before, index.stats().memory_bytes)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("lists", [0, 64])
def test_memory_is_what_stats_say(lists: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = BinaryCodes.from_packed(rng.integers(0, 256, (400_000, 64), dtype=np.uint8))
    decoder = rng.standard_normal((512, 12)).astype(np.float32), np.zeros(12, np.float32)
    Index.build(codes, decoder=decoder, lists=lists).save(tmp_path / "a.index")
    Index.build(codes[:5000], decoder=decoder, lists=lists and 8).save(tmp_path / "small.index")
    command = [sys.executable, "-c", RESIDENT, str(tmp_path / "small.index"), str(tmp_path / "a.index")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    opened, resident, told = map(int, done.stdout.split())
    assert opened < 0.1 * told, "opening reads the file beside the map"
    assert 0.85 * told < resident < 1.15 * told


# -- several processes --------------------------------------------------------------------------------------------------

ADD = """
import sys, numpy as np
from bsa_st import Index
for _ in range(int(sys.argv[2])):
    with Index.edit(sys.argv[1]) as index:
        index.add(index.codes(index.ids[:5]))
"""


def run(program: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)])


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(100).save(path)
    writers = [run(ADD, path, 10) for _ in range(2)]
    assert [writer.wait(timeout=300) for writer in writers] == [0, 0]
    assert len(Index.open(path)) == 100 + 2 * 10 * 5


def test_saving_over_the_changes_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(100).save(path)
    first, second = Index.open(path), Index.open(path)
    first.add(first.codes([1]))
    first.save(path)
    first.save(path)
    second.delete([1])
    with pytest.raises(BSAError, match="was changed since this index was opened"):
        second.save(path)
    assert len(Index.open(path)) == 101
    second.save(tmp_path / "b.index")
    with pytest.raises(BSAError, match="id 200 is not in the index"), Index.edit(path) as index:
        index.update([2, 200], index.codes([2, 3]))
    assert len(Index.open(path)) == 101


def test_a_lock_that_is_held_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.index"
    example(10).save(path)
    holder = "import sys, time; from pathlib import Path\nfrom bsa_st.search.file import writing\nwith writing(Path(sys.argv[1])):\n print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BSAError, match="another process has been changing the index"), file.writing(path, seconds=0.1):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with file.writing(path, seconds=5):  # the system frees what the dead held
        pass


WRITER = """
import sys
from bsa_st import Index
while True:
    with Index.edit(sys.argv[1]) as index:
        index.add(index.codes(index.ids[:100]), texts=["again"] * 100)
        index.delete(index.ids[:50])
    print("saved", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_writer_leaves_the_old_index_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(20_000).save(path)
    rng = np.random.default_rng(0)
    for _ in range(25):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(float(rng.uniform(0, 0.25)))
            process.kill()
        index = Index.open(path)
        assert (len(index) - 20_000) % 50 == 0
        assert len(index.search(QUERY, 5)[0].ids) == 5
    with Index.edit(path) as index:
        index.add(index.codes(index.ids[:1]))
    assert {one.name for one in tmp_path.iterdir()} <= {"a.index", "a.index.lock"}


READER = """
import sys, numpy as np
from bsa_st import Index
index = Index.open(sys.argv[1])
query = np.array([[1, -1, 0.5, 2, 0.1]], np.float32)
first = index.search(query, 10)[0].ids.tolist()
print("ready", flush=True)
sys.stdin.readline()
print(first == index.search(query, 10)[0].ids.tolist(), flush=True)
"""


def test_a_reader_keeps_what_it_opened_while_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.index"
    example(2000).save(path)
    with subprocess.Popen([sys.executable, "-c", READER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"ready\n"
        with Index.edit(path) as index:
            index.delete(index.ids[:1000])
        os.sync()
        reader.stdin.write(b"\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == b"True\n"


def test_a_failed_save_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.index"
    index = example(50)
    index.save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    index.delete([1])
    with pytest.raises(BSAError, match=r"cannot write .*a\.index: No space left"):
        index.save(path)
    assert path.read_bytes() == before
    with pytest.raises(BSAError, match="cannot write"):
        index.save(tmp_path / "none" / "a.index")
