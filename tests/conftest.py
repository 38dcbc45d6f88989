"""Real models and real text for the tests: all-MiniLM-L6-v2 and the Human Phenotype Ontology, both from packages."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["OMP_NUM_THREADS"] = "1"  # as many processes as cores: more threads than that would only wait for each other

import copy
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from filelock import FileLock
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st.cli.main import main
from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.concepts.names import name_features, names_of
from bsa_st.encoding.encode import put_behind, split_model
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.inputs.embeddings import cached_embeddings
from demo.hpo import SynonymTask, load_concepts, synonym_task
from demo.run import packaged_teacher
from tests.engine_server import EngineSample, running_postgres, sample_documents

torch.set_num_threads(1)  # a plugin may have loaded OpenMP before the variable was set
faiss.omp_set_num_threads(1)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., CompletedProcess[str]]:
    """Runs a command in a folder as its own process would end, but in this one, which has loaded torch already."""

    def run(*arguments: object, cwd: Path) -> CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["bsa-st", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return CompletedProcess(arguments, int(ended.value.code or 0), shown.out, shown.err)

    return run


@pytest.fixture
def refusal(command: Callable[..., CompletedProcess[str]]) -> Callable[..., str]:
    """Runs a command in a folder and gives what it says when it refuses: status 2, and no traceback."""

    def run(arguments: Sequence[str], folder: Path) -> str:
        done = command(*arguments, cwd=folder)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr

    return run


@pytest.fixture(scope="session")
def teacher() -> SentenceTransformer:
    return packaged_teacher()


@pytest.fixture(scope="session")
def task() -> SynonymTask:
    return synonym_task(load_concepts(), held_out=300)


@pytest.fixture(scope="session")
def texts(task: SynonymTask) -> list[str]:
    """3,000 real texts of the ontology: names, synonyms and definitions, shuffled."""
    order = np.random.default_rng(7).permutation(len(task.training))[:3000]
    return [task.training[place] for place in order]


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of this run that all its processes see, for what is made once: under a file lock, by the first that needs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def embeddings(teacher: SentenceTransformer, texts: list[str], shared_dir: Path, cache_dir: Path) -> np.ndarray:
    with FileLock(shared_dir / "embeddings.lock"):
        rows = cached_embeddings(teacher, texts, cache_dir=shared_dir / "embeddings", show_progress_bar=False)
    shutil.copytree(shared_dir / "embeddings", cache_dir, dirs_exist_ok=True)
    return np.asarray(rows, dtype=np.float32)


def trained_once(
    name: str, shared_dir: Path, teacher: SentenceTransformer, rows: np.ndarray, **settings: Any
) -> SentenceTransformer:
    """The teacher behind which a head stands that one process of this run has trained."""
    path = shared_dir / f"{name}.pickle"
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            path.write_bytes(pickle.dumps(bsa_st.distill(teacher, rows, show_progress_bar=False, **settings)[-1]))
    return put_behind(teacher, pickle.loads(path.read_bytes()))


SPARSE: dict[str, Any] = {"hidden_dim": 512, "k": 32, "steps": 40, "batch_size": 256, "refit_rounds": 1, "unroll_trials": 5}


@pytest.fixture(scope="session")
def threshold_model(teacher: SentenceTransformer, embeddings: np.ndarray, shared_dir: Path) -> SentenceTransformer:
    return trained_once("threshold", shared_dir, teacher, embeddings, **SPARSE)


@pytest.fixture(scope="session")
def topk_model(teacher: SentenceTransformer, embeddings: np.ndarray, shared_dir: Path) -> SentenceTransformer:
    return trained_once("topk", shared_dir, teacher, embeddings, selection="topk", **SPARSE)


@pytest.fixture(scope="session")
def compact_model(teacher: SentenceTransformer, embeddings: np.ndarray, shared_dir: Path) -> SentenceTransformer:
    return trained_once("compact", shared_dir, teacher, embeddings, code_bytes=32, refit_rounds=3, unroll_trials=40)


def saved(model: SentenceTransformer, factory: pytest.TempPathFactory) -> Path:
    """A model's folder."""
    folder = factory.mktemp("models") / "model"
    bsa_st.save(model, folder)
    return folder


@pytest.fixture(scope="session")
def compact_folder(compact_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(compact_model, tmp_path_factory)


@pytest.fixture(scope="session")
def threshold_folder(threshold_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(threshold_model, tmp_path_factory)


@pytest.fixture(scope="session")
def topk_folder(topk_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(topk_model, tmp_path_factory)


@pytest.fixture(scope="session")
def named_texts(task: SynonymTask) -> list[str]:
    """1,500 real texts of the ontology, for names."""
    order = np.random.default_rng(8).permutation(len(task.training))[:1500]
    return [task.training[place] for place in order]


@pytest.fixture(scope="session")
def named_rows(teacher: SentenceTransformer, named_texts: list[str]) -> np.ndarray:
    return np.asarray(teacher.encode(named_texts, show_progress_bar=False))


@pytest.fixture
def nameless_model(nameless: SentenceTransformer) -> SentenceTransformer:
    """A model without names whose head may be given some."""
    encoder, head = split_model(nameless)
    return put_behind(encoder, copy.deepcopy(head))


@pytest.fixture(scope="session")
def nameless(teacher: SentenceTransformer, named_rows: np.ndarray) -> SentenceTransformer:
    """An untrained head, fitted to a sample: codes that work, at no cost."""
    head = BinarySparsityAlignment(named_rows.shape[1], 256, 24)
    rows = torch.from_numpy(named_rows)
    head.initialise(rows)
    head.calibrate(rows)
    return put_behind(teacher, head.eval())


@pytest.fixture(scope="session")
def named_model(nameless: SentenceTransformer, named_texts: list[str], named_rows: np.ndarray) -> SentenceTransformer:
    """The same with 300 words of its texts as named features."""
    encoder, head = split_model(nameless)
    named = put_behind(encoder, copy.deepcopy(head))
    name_features(named, named_texts, hidden_dim=300, embeddings=named_rows)
    return named


@pytest.fixture(scope="session")
def dictionary(named_model: SentenceTransformer) -> NamedDictionary:
    return names_of(named_model)


@pytest.fixture(scope="session")
def nameless_folder(nameless: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(nameless, tmp_path_factory)


@pytest.fixture(scope="session")
def named_folder(named_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(named_model, tmp_path_factory)


@pytest.fixture(scope="session")
def engine_sample() -> EngineSample:
    return sample_documents()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real PostgreSQL server with pgvector, from a package that carries one."""
    with running_postgres(tmp_path_factory.mktemp("postgres") / "data") as server:
        yield server.get_uri()
