"""Labels in the model folder: whole or not at all, checked when read, and only with the head they are about."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.explain.atlas import FeatureAtlas
from bsa_st.explain.store import from_json, read_features, to_json, write_features
from bsa_st.head.layer import head_of


@pytest.fixture
def folder(labelled_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(labelled_folder, tmp_path / "model"))


def test_labels_travel_with_the_model(folder: Path, atlas: FeatureAtlas, tmp_path: Path) -> None:
    model = bsa_st.load(folder)
    assert head_of(model).labels == atlas
    bsa_st.save(model, tmp_path / "again")
    assert head_of(bsa_st.load(tmp_path / "again")).labels == atlas
    SentenceTransformer(str(folder)).encode(["plain sentence-transformers does not mind the file"])


def test_explanations_use_the_labels(folder: Path, atlas: FeatureAtlas) -> None:
    result = bsa_st.explain(bsa_st.load(folder), "Short stature", "Small hands", words=0)
    for part in (*result.shared, *result.only_a):
        assert part.name == atlas.features[part.feature].name
        assert part.auc == atlas.features[part.feature].auc
    assert "bsa-st explore" not in str(result)


def test_json_round_trip(atlas: FeatureAtlas) -> None:
    assert from_json(json.loads(json.dumps(to_json(atlas)))) == atlas


def _break(path: Path, change: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("strings"), "damaged"),
        (lambda c: c.pop("format_version"), "no format_version"),
        (lambda c: c.update(format_version=99), "format version 99 is newer"),
        (lambda c: c.update(head="00000000"), "of another head"),
        (lambda c: c["features"].pop(), "damaged|labels of 1023 features"),
        (lambda c: c["features"][3].update(auc=float("nan")), "damaged"),
        (lambda c: c["features"][3].update(label=17), "damaged"),
        (lambda c: c["features"][3].update(family=9999), "damaged"),
        (lambda c: c["features"][3]["strongest"].append([10**9, 0.5]), "damaged"),
        (lambda c: c["features"][3]["neighbours"].append([-1, 3, 0.5]), "damaged"),
        (lambda c: c["examples"].append([0, [5000]]), "damaged"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, change: Any, message: str) -> None:
    path = folder / "bsa" / "features.json"
    _break(path, change)
    with pytest.raises(BSAError, match=rf"features\.json: .*({message})"):
        bsa_st.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b"\xff\xfe", b"null"])
def test_bytes_that_are_no_labels_are_named(folder: Path, content: bytes) -> None:
    (folder / "bsa" / "features.json").write_bytes(content)
    with pytest.raises(BSAError, match=r"features\.json: damaged"):
        bsa_st.load(folder)


def test_labels_go_only_into_a_model_folder(atlas: FeatureAtlas, tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="no folder of a BSA head"):
        write_features(atlas, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_the_old_labels(folder: Path, threshold_model: SentenceTransformer, atlas: FeatureAtlas) -> None:
    program = (
        "import sys, pathlib, pickle\n"
        "from bsa_st.explain.store import write_features\n"
        "atlas = pickle.load(sys.stdin.buffer)\n"
        "print('ready', flush=True)\n"
        "while True: write_features(atlas, pathlib.Path(sys.argv[1]))\n"
    )
    import pickle

    path = folder / "bsa"
    for wait in (0.0, 0.03, 0.11):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps(atlas))
        process.stdin.close()
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read_features(path / "features.json", head_of(threshold_model)) == atlas
