"""Real models and real text for the tests: all-MiniLM-L6-v2 and the Human Phenotype Ontology, both from packages."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st.cache import cached_embeddings
from bsa_st.demo.hpo import SynonymTask, load_concepts, synonym_task
from bsa_st.demo.run import packaged_teacher
from bsa_st.explain.atlas import FeatureAtlas
from bsa_st.explain.labels import label_features
from bsa_st.explain.store import write_features


@pytest.fixture(scope="session")
def teacher() -> SentenceTransformer:
    return packaged_teacher()


@pytest.fixture(scope="session")
def task() -> SynonymTask:
    return synonym_task(load_concepts(), held_out=300)


@pytest.fixture(scope="session")
def texts(task: SynonymTask) -> list[str]:
    """6,000 real texts of the ontology: names, synonyms and definitions, shuffled."""
    order = np.random.default_rng(7).permutation(len(task.training))[:6000]
    return [task.training[place] for place in order]


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def embeddings(teacher: SentenceTransformer, texts: list[str], cache_dir: Path) -> np.ndarray:
    return np.asarray(cached_embeddings(teacher, texts, cache_dir=cache_dir, show_progress_bar=False), dtype=np.float32)


@pytest.fixture(scope="session")
def threshold_model(teacher: SentenceTransformer, embeddings: np.ndarray) -> SentenceTransformer:
    return bsa_st.distill(teacher, embeddings, hidden_dim=1024, k=32, steps=60, show_progress_bar=False)


@pytest.fixture(scope="session")
def topk_model(teacher: SentenceTransformer, embeddings: np.ndarray) -> SentenceTransformer:
    return bsa_st.distill(teacher, embeddings, hidden_dim=1024, k=32, steps=60, selection="topk", show_progress_bar=False)


@pytest.fixture(scope="session")
def threshold_folder(threshold_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "threshold"
    bsa_st.save(threshold_model, folder)
    return folder


@pytest.fixture(scope="session")
def topk_folder(topk_model: SentenceTransformer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "topk"
    bsa_st.save(topk_model, folder)
    return folder


@pytest.fixture(scope="session")
def atlas(threshold_model: SentenceTransformer, texts: list[str], embeddings: np.ndarray) -> FeatureAtlas:
    """Labels of the features of ``threshold_model``, from the texts that it was trained on."""
    return label_features(threshold_model, texts, embeddings=embeddings, show_progress_bar=False)


@pytest.fixture(scope="session")
def labelled_folder(
    threshold_model: SentenceTransformer, atlas: FeatureAtlas, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "labelled"
    bsa_st.save(threshold_model, folder)
    write_features(atlas, folder / "bsa")
    return folder
