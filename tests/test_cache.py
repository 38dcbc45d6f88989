"""The embedding cache: computed once, resumable, never trusted blindly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from bsa_st import BSAError
from bsa_st.inputs import embed as embedding
from bsa_st.inputs import embeddings
from bsa_st.inputs.embeddings import cached_embeddings
from tests.smallmodel import WIDTH, small_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return small_encoder(tmp_path_factory.mktemp("encoder"))


class Counting:
    """Counts the texts that an encoder really encodes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop_after: int | None = None) -> None:
        self.texts = 0
        real = embeddings.embed

        def counted(encoder: SentenceTransformer, texts: list[str], **options: Any) -> np.ndarray:
            if stop_after is not None and self.texts >= stop_after:
                raise KeyboardInterrupt
            self.texts += len(texts)
            return real(encoder, texts, **options)

        monkeypatch.setattr(embeddings, "embed", counted)


class Unstable(torch.nn.Module):
    """What an encoder does whose sums overflow in bfloat16: its embeddings point elsewhere."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        rows = features["sentence_embedding"]
        return {**features, "sentence_embedding": rows.roll(1, dims=1) if rows.dtype == torch.bfloat16 else rows}


def only_entry(folder: Path) -> Path:
    (entry,) = folder.iterdir()
    return entry


def embed(encoder: SentenceTransformer, texts: list[str], folder: Path) -> np.ndarray:
    return cached_embeddings(encoder, texts, cache_dir=folder, precision="float32", show_progress_bar=False, chunk_rows=20)


def test_embeddings_are_those_of_the_encoder_in_order_and_computed_once(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = embed(encoder, texts[:60], tmp_path)
    assert rows.dtype == np.float16
    np.testing.assert_allclose(rows, encoder.encode(texts[:60]), atol=1e-3)
    counting = Counting(monkeypatch)
    assert np.array_equal(embed(encoder, texts[:60], tmp_path), rows)
    assert counting.texts == 0


def test_other_texts_order_or_model_do_not_share_an_entry(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    embed(encoder, texts[:3], tmp_path)
    embed(encoder, texts[:3][::-1], tmp_path)
    assert embeddings.texts_fingerprint(["ab", "c"]) != embeddings.texts_fingerprint(["a", "bc"])
    before = embeddings.encoder_fingerprint(encoder)
    with torch.no_grad():
        parameter = next(iter(encoder.parameters()))
        parameter[0, 0] += 1
        changed = embeddings.encoder_fingerprint(encoder)
        parameter[0, 0] -= 1
    assert changed != before
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupted_run_continues_where_it_stopped(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Counting(patch, stop_after=40)
        with pytest.raises(KeyboardInterrupt):
            embed(encoder, texts[:60], tmp_path)
    counting = Counting(monkeypatch)
    rows = embed(encoder, texts[:60], tmp_path)
    assert counting.texts == 20
    np.testing.assert_allclose(rows, encoder.encode(texts[:60]), atol=1e-3)


@pytest.mark.parametrize("damage", ["flip", "cut", "manifest", "no manifest", "newer", "half written"])
def test_a_damaged_entry_is_found_and_rebuilt(
    damage: str, encoder: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    good = np.array(embed(encoder, texts[:60], tmp_path))
    entry = only_entry(tmp_path)
    data, manifest = entry / "embeddings.bin", entry / "manifest.json"
    if damage == "flip":
        raw = bytearray(data.read_bytes())
        raw[len(raw) // 2] ^= 1
        data.write_bytes(raw)
    elif damage == "cut":
        os.truncate(data, data.stat().st_size - 1)
    elif damage == "manifest":
        manifest.write_text("{")
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "newer":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    else:
        with data.open("ab") as file:
            file.write(b"half a chunk")
    assert np.array_equal(embed(encoder, texts[:60], tmp_path), good)


def test_a_killed_process_leaves_whole_chunks_to_build_on(texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(texts[:3000]))
    program = (
        "import sys; from bsa_st.inputs import embeddings; from demo.run import packaged_teacher; from bsa_st.inputs.texts import read_texts; from pathlib import Path\n"
        f"t = read_texts(Path(r'{tmp_path / 'texts.txt'}')); m = packaged_teacher()\n"
        f"embeddings.cached_embeddings(m, t, cache_dir=r'{tmp_path / 'cache'}', precision='float32', show_progress_bar=False, chunk_rows=20)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ.copy())
    deadline = time.monotonic() + 120
    manifests: list[Path] = []
    while not manifests and time.monotonic() < deadline and process.poll() is None:
        manifests = list(tmp_path.glob("cache/*/manifest.json"))
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert manifests
    manifest = embeddings._manifest(manifests[0].parent, 3000, "float32")
    assert 0 < len(manifest.checksums) < 150


def test_processes_that_want_the_same_texts_share_one_entry(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    encoder.save_pretrained(str(tmp_path / "encoder"), create_model_card=False)
    (tmp_path / "texts.json").write_text(json.dumps(texts[:400]))
    program = (
        "import json, sys, numpy as np; from sentence_transformers import SentenceTransformer; from bsa_st.inputs import embeddings\n"
        f"t, m = json.load(open(r'{tmp_path / 'texts.json'}')), SentenceTransformer(r'{tmp_path / 'encoder'}', device='cpu')\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        f"rows = embeddings.cached_embeddings(m, t, cache_dir=r'{tmp_path / 'cache'}', precision='float32', show_progress_bar=False, chunk_rows=20)\n"
        "np.save(sys.argv[1], rows)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / name)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("one.npy", "two.npy")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()
    assert [process.wait() for process in processes] == [0, 0]
    one, two = np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy")
    assert np.array_equal(one, two)
    np.testing.assert_allclose(one, encoder.encode(texts[:400]), atol=1e-3)
    assert (only_entry(tmp_path / "cache") / "embeddings.bin").stat().st_size == one.nbytes


def test_a_full_disk_is_named_and_finished_chunks_stay(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = os.fsync

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:  # of the third chunk: each is written, and then the manifest
            raise OSError(28, "No space left on device")
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(BSAError, match=r"cannot write the embedding cache in .*: No space left on device"):
            embed(encoder, texts[:60], tmp_path)
    counting = Counting(monkeypatch)
    embed(encoder, texts[:60], tmp_path)
    assert counting.texts == 20


def test_an_encoder_that_gives_nan_is_refused(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "embed", lambda *_, **__: np.full((20, WIDTH), np.nan, dtype=np.float32))
    with pytest.raises(BSAError, match="NaN or infinite values within texts 1 to 20"):
        embed(encoder, texts[:20], tmp_path)


def test_values_beyond_float16_are_kept_in_float32(
    encoder: SentenceTransformer, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "embed", lambda *_, **__: np.full((20, WIDTH), 1e6, dtype=np.float32))
    rows = embed(encoder, texts[:20], tmp_path)
    assert rows.dtype == np.float32
    assert rows[0, 0] == 1e6


def test_bfloat16_is_taken_only_where_it_points_the_same_way(
    encoder: SentenceTransformer, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "has_fast_bfloat16", lambda device: True)
    fast, name = embedding.encoder_for_caching(encoder, texts[:50])
    assert name == "bfloat16"
    assert next(fast.parameters()).dtype == torch.bfloat16
    assert next(encoder.parameters()).dtype == torch.float32
    unstable = SentenceTransformer(modules=[*encoder, Unstable()], device="cpu")
    assert embedding.encoder_for_caching(unstable, texts[:50]) == (unstable, "float32")
    monkeypatch.setattr(embedding, "has_fast_bfloat16", lambda device: False)
    assert embedding.encoder_for_caching(encoder, texts[:50]) == (encoder, "float32")
    with pytest.raises(BSAError, match="precision must be auto, float32 or bfloat16, got 'int4'"):
        embedding.encoder_for_caching(encoder, texts[:50], "int4")
