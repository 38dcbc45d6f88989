"""Pushing and downloading against a real server on the loopback interface: see :mod:`tests.loopback_hub`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError
from bsa_st.cli.main import app, main
from bsa_st.head.layer import head_of
from tests.loopback_hub import TOKEN, Fault, LoopbackHub, loopback_hub
from tests.smallmodel import small_model

NAME = "org/model-bsa"
TEXTS = ["Short stature", "Tall stature", "Febrile seizure", "Cleft palate", "Deafness"]
WEIGHTS = r"^GET /org/model-bsa/resolve/[^/]+/model\.safetensors$"

# What somebody does who never heard of bsa_st.
STRANGER = """
import json, sys
sys.modules["bsa_st"] = None
import numpy as np
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
np.save(sys.argv[3], model.encode(json.loads(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return small_model(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    return small_model(tmp_path_factory.mktemp("encoder"), seed=1)


@pytest.fixture(scope="module")
def folder(model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    bsa_st.save(model, path)
    return path


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A running Hub that this process is logged in to, an empty cache, and no waiting between retries."""
    with loopback_hub() as server:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield server


def environment(hub: LoopbackHub, home: Path, token: str | None = TOKEN) -> dict[str, str]:
    """Variables of another process that uses the same Hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    login = {"HF_TOKEN": token} if token else {}
    return {**kept, **login, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}


def codes_of(model: SentenceTransformer) -> np.ndarray:
    codes = np.asarray(model.encode(TEXTS))
    assert codes.any(axis=1).all()
    return codes


def cached_blobs(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("blobs/*"))


def test_round_trip_from_the_command_line_to_strangers_and_back(
    hub: LoopbackHub, folder: Path, model: SentenceTransformer, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "bsa_st", "push", str(folder), NAME]
    result = subprocess.run(command, capture_output=True, text=True, env=environment(hub, tmp_path / "home"), check=False)
    assert result.returncode == 0, result.stderr
    repository = hub.repositories[NAME]
    assert result.stdout.strip() == f"Pushed to {hub.endpoint}/{NAME}/commit/{repository.refs['main']}"
    assert len(repository.commits) == 2  # the empty one that creates the repository, and one for everything
    assert TOKEN not in result.stdout + result.stderr
    files = repository.commits[repository.refs["main"]]
    assert files["bsa/model.safetensors"] == (folder / "bsa/model.safetensors").read_bytes()

    (tmp_path / "stranger.py").write_text(STRANGER)
    stranger = subprocess.run(
        [sys.executable, "stranger.py", NAME, json.dumps(TEXTS), "codes.npy"],
        cwd=tmp_path, env=environment(hub, tmp_path / "home2", token=None), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert stranger.returncode == 0, stranger.stderr
    assert np.array_equal(np.load(tmp_path / "codes.npy"), codes_of(model))

    loaded = bsa_st.load(NAME)
    assert np.array_equal(codes_of(loaded), codes_of(model))
    assert head_of(loaded).report == head_of(model).report
    assert loaded.model_card_data.base_model == "org/small-encoder"


def test_load_takes_only_what_it_needs(hub: LoopbackHub, model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.push_to_hub(model, NAME)
    extra = {"onnx/model.onnx": b"0", "pytorch_model.bin": b"0", "checkpoint-5/model.safetensors": b"0", "figure.png": b"0"}
    files = hub.repositories[NAME]
    files.commit({**files.commits[files.refs["main"]], **extra}, "main", "more")
    bsa_st.load(NAME)
    taken = {path for line, _ in hub.requests for path in re.findall(r"^GET .*/resolve/[^/]+/(.*)$", line)}
    assert "model.safetensors" in taken
    assert not taken & {*extra, "README.md"}


def test_a_loaded_model_works_offline_from_the_cache(
    hub: LoopbackHub, model: SentenceTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bsa_st.push_to_hub(model, NAME)
    with pytest.raises(BSAError, match=f"cannot download the model '{NAME}'"):
        bsa_st.load(NAME, cache_folder=tmp_path / "own", local_files_only=True)
    bsa_st.load(NAME, cache_folder=tmp_path / "own")
    asked = len(hub.requests)
    again = bsa_st.load(NAME, cache_folder=tmp_path / "own", local_files_only=True)
    assert len(hub.requests) == asked
    hub.faults.append(Fault(".*", status=503))  # the Hub is down
    assert np.array_equal(codes_of(bsa_st.load(NAME, cache_folder=tmp_path / "own")), codes_of(again))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert np.array_equal(codes_of(bsa_st.load(NAME, cache_folder=tmp_path / "own")), codes_of(again))


def test_a_second_push_updates_and_removes_what_is_stale(
    hub: LoopbackHub, model: SentenceTransformer, other_model: SentenceTransformer
) -> None:
    bsa_st.push_to_hub(model, NAME)
    repository = hub.repositories[NAME]
    first = repository.refs["main"]
    more = {"bsa/labels-of-the-old-head.json": b"{}", "model-00001-of-00002.safetensors": b"0", "NOTES.md": b"mine"}
    repository.commit({**repository.commits[first], **more}, "main", "more")
    bsa_st.push_to_hub(other_model, NAME, commit_message="Train again")
    files = repository.commits[repository.refs["main"]]
    assert repository.messages[repository.refs["main"]] == "Train again"
    assert set(more) & set(files) == {"NOTES.md"}
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(other_model))
    assert np.array_equal(codes_of(bsa_st.load(NAME, revision=first)), codes_of(model))
    assert not np.array_equal(codes_of(model), codes_of(other_model))


def test_branches_and_pull_requests(hub: LoopbackHub, model: SentenceTransformer, other_model: SentenceTransformer) -> None:
    bsa_st.push_to_hub(model, NAME)
    bsa_st.push_to_hub(other_model, NAME, revision="next")
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(model))
    assert np.array_equal(codes_of(bsa_st.load(NAME, revision="next")), codes_of(other_model))
    address = bsa_st.push_to_hub(other_model, NAME, create_pr=True)
    assert address == f"{hub.endpoint}/{NAME}/discussions/1"
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(model))
    assert np.array_equal(codes_of(bsa_st.load(NAME, revision="refs/pr/1")), codes_of(other_model))


def test_the_card_names_the_repository_and_is_valid(hub: LoopbackHub, model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.push_to_hub(model, "someone/other-name")
    repository = hub.repositories["someone/other-name"]
    content = repository.commits[repository.refs["main"]]["README.md"].decode()
    assert 'SentenceTransformer("someone/other-name")' in content
    assert NAME not in content
    assert hub.asked("POST /api/validate-yaml")
    ModelCard(content).validate()
    with pytest.raises(ValueError, match="must be a string"):
        ModelCard(content.replace("license: apache-2.0", "license: [1]")).validate()


def test_a_card_of_ones_own_is_pushed(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    app(["push", str(folder), NAME, "--card", f"{tmp_path}/card.md", "--private", "--message", "M"], standalone_mode=False)
    repository = hub.repositories[NAME]
    assert repository.private
    assert repository.messages[repository.refs["main"]] == "M"
    assert repository.commits[repository.refs["main"]]["README.md"].decode().endswith("# Mine\n")
    assert "# Mine" not in (folder / "README.md").read_text()


# -- refusals and failures ----------------------------------------------------------------------------------------------


def test_a_private_model_needs_a_token(hub: LoopbackHub, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> None:
    bsa_st.push_to_hub(model, NAME, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(BSAError, match="is called 'org/model-bsa'; a private one needs a token"):
        bsa_st.load(NAME)
    with pytest.raises(BSAError, match="is called 'org/model-bsa'") as caught:
        bsa_st.load(NAME, token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)
    assert np.array_equal(codes_of(bsa_st.load(NAME, token=TOKEN)), codes_of(model))


def test_pushing_without_a_token_is_refused(
    hub: LoopbackHub, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongtoken")
    monkeypatch.setattr(sys, "argv", ["bsa-st", "push", str(folder), NAME])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert re.fullmatch(f"bsa-st: cannot push to '{NAME}': .*hf auth login.*\n", printed.err)
    assert "hf_wrongtoken" not in printed.out + printed.err
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(BSAError, match=f"cannot push to '{NAME}': .*hf auth login"):
        bsa_st.push_to_hub(folder, NAME)
    assert not hub.repositories


def test_what_is_not_there_is_named(hub: LoopbackHub, model: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="no model on the Hub is called 'org/absent'"):
        bsa_st.load("org/absent")
    bsa_st.push_to_hub(model, NAME)
    with pytest.raises(BSAError, match=f"the model '{NAME}' on the Hub has no revision 'v9'"):
        bsa_st.load(NAME, revision="v9")


def test_a_model_without_a_head_costs_no_download(hub: LoopbackHub, model: SentenceTransformer) -> None:
    bsa_st.push_to_hub(model, NAME)
    repository = hub.repositories[NAME]
    files = repository.commits[repository.refs["main"]]
    repository.commit({name: data for name, data in files.items() if not name.startswith("bsa/")}, "main", "plain")
    with pytest.raises(BSAError, match=r"is no BSA model: it has no bsa/config\.json"):
        bsa_st.load(NAME)
    config = json.loads(files["bsa/config.json"])
    repository.commit({**files, "bsa/config.json": json.dumps({**config, "hidden_dim": 10**9}).encode()}, "main", "hostile")
    with pytest.raises(BSAError, match="hidden_dim must lie between"):
        bsa_st.load(NAME)
    assert not hub.asked(WEIGHTS)


def test_a_connection_cut_in_the_middle_is_resumed(
    hub: LoopbackHub, model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    bsa_st.push_to_hub(model, NAME)
    hub.faults.append(Fault(WEIGHTS, status=0, times=2, cut_after=100_000))
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(model))
    assert [headers.get("Range") for headers in hub.asked(WEIGHTS)] == [None, "bytes=100000-", "bytes=200000-"]


def test_half_a_file_is_never_taken_for_whole(hub: LoopbackHub, model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.push_to_hub(model, NAME)
    hub.faults.append(Fault(WEIGHTS, status=0))
    with pytest.raises(BSAError, match=f"cannot download the model '{NAME}': "):
        bsa_st.load(NAME)
    with pytest.raises(BSAError, match=f"cannot download the model '{NAME}': "):
        bsa_st.load(NAME, local_files_only=True)
    assert not list((tmp_path / "cache").rglob("snapshots/*/model.safetensors"))
    hub.faults.clear()
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(model))


def test_a_server_error_is_retried_then_told(
    hub: LoopbackHub, model: SentenceTransformer, other_model: SentenceTransformer
) -> None:
    bsa_st.push_to_hub(model, NAME)
    hub.faults.append(Fault("^GET /api/models/", status=500, times=2))
    assert np.array_equal(codes_of(bsa_st.load(NAME)), codes_of(model))
    hub.faults[:] = [Fault("^GET /api/models/org/other", status=500)]
    with pytest.raises(BSAError, match=r"cannot download the model 'org/other': .*500"):
        bsa_st.load("org/other")
    assert len(hub.asked("^GET /api/models/org/other")) == 3
    hub.faults[:] = [Fault("POST .*/commit/", status=500)]
    before = dict(hub.repositories[NAME].refs)
    with pytest.raises(BSAError, match=f"cannot push to '{NAME}': .*500"):
        bsa_st.push_to_hub(other_model, NAME)
    assert hub.repositories[NAME].refs == before


def test_paths_that_lead_out_of_the_cache_are_refused(hub: LoopbackHub, model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.push_to_hub(model, NAME)
    repository = hub.repositories[NAME]
    files = repository.commits[repository.refs["main"]]
    for path in ("../../../../evil.json", "/" + str(tmp_path).strip("/") + "/evil.json", "bsa/../../../../../evil.json"):
        repository.commit({**files, path: b"{}"}, "main", path)
        with pytest.raises(BSAError):
            bsa_st.load(NAME)
    assert not list(tmp_path.rglob("evil.json"))


@pytest.mark.parametrize("name", ["model", "a/b/c", "org/--bad--", "org/", "../x"])
def test_malformed_names_are_refused(name: str, hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BSAError, match=r"the name on the Hub must read organization/name|is no name on the Hub"):
        bsa_st.push_to_hub(folder, name)
    assert not hub.requests


def test_only_whole_bsa_models_are_pushed(hub: LoopbackHub, tmp_path: Path, teacher: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="model folder not found"):
        bsa_st.push_to_hub(tmp_path / "absent", NAME)
    with pytest.raises(BSAError, match="holds no BSA model"):
        bsa_st.push_to_hub(tmp_path, NAME)
    with pytest.raises(BSAError, match="the model has no BSA head"):
        bsa_st.push_to_hub(teacher, NAME)
    assert not hub.requests
