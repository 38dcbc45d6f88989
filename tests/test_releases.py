"""The first release of sentence-transformers whose stock modules load an exported folder: 5.4. Both sides are real releases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from tests.smallmodel import small_model

pytestmark = pytest.mark.slow
TEXTS = ["Short stature", "Tall stature", "Febrile seizure"]
PROGRAM = """
import json, sys
import sentence_transformers
model = sentence_transformers.SentenceTransformer(sys.argv[1])
texts = json.loads(sys.argv[2])
bits = [model.encode_document(texts, precision="ubinary"), model.encode(texts, precision="ubinary")]
print(json.dumps({"release": sentence_transformers.__version__, "bits": [part.tolist() for part in bits], "queries": model.encode_query(texts).tolist()}))
"""


def run_with(release: str, folder: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    """The program with another release of sentence-transformers, everything else as installed; skips where it cannot be had."""
    place = scratch / release
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(place),
        f"sentence-transformers=={release}",
    ]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"sentence-transformers {release} cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    program = [sys.executable, "-c", PROGRAM, str(folder), json.dumps(TEXTS)]
    return subprocess.run(program, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(place)})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    bsa_st.save(small_model(tmp_path_factory.mktemp("encoder")), folder)
    return folder


@pytest.mark.parametrize("release", ["5.4.0", "5.7.0"])
def test_version_5_gives_the_same_bits_from_5_4_on(release: str, folder: Path, tmp_path: Path) -> None:
    ran = run_with(release, folder, tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    shown = json.loads(ran.stdout.splitlines()[-1])
    assert shown["release"] == release
    model = SentenceTransformer(str(folder))
    assert shown["bits"] == [
        model.encode_document(TEXTS, precision="ubinary").tolist(),
        model.encode(TEXTS, precision="ubinary").tolist(),
    ]
    np.testing.assert_allclose(shown["queries"], model.encode_query(TEXTS), atol=1e-5)


def test_earlier_releases_do_not_load_it(folder: Path, tmp_path: Path) -> None:
    assert run_with("5.3.0", folder, tmp_path).returncode != 0
