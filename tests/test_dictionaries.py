"""The study of dictionary sizes: budgets are kept, recall means what it says, the page is the results file's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bsa_st import BinaryCodes, BSAError
from evaluation import dictionaries
from evaluation.dictionaries import RESULTS, k_for_bytes, recalls, split
from evaluation.dictionaries_report import write_report
from evaluation.methods import choose_methods
from evaluation.methods.base import best


@pytest.mark.parametrize(("hidden_dim", "budget"), [(512, 64), (768, 48), (1536, 110), (4096, 64), (16384, 64)])
def test_codes_of_the_chosen_k_fit_the_budget_and_hardly_less(hidden_dim: int, budget: int) -> None:
    k = k_for_bytes(hidden_dim, budget)
    ids = np.sort(np.argsort(np.random.default_rng(0).random((3000, hidden_dim)), axis=1)[:, :k], axis=1)
    codes = BinaryCodes(ids.ravel(), np.arange(0, ids.size + 1, k), hidden_dim)
    assert budget - 1.5 < codes.nbytes / len(codes) <= budget + 0.5


def test_float_vectors_find_all_of_their_neighbours_and_sign_bits_some(embeddings: np.ndarray) -> None:
    queries, documents = embeddings[:50], embeddings[50:1000]
    truth = best(queries @ documents.T)
    (whole,), (sign,) = choose_methods(["float16"]), choose_methods(["sign"])
    whole.fit(documents)
    sign.fit(documents)
    assert recalls(whole, queries, documents, truth)["symmetric"] > 99
    assert 30 < recalls(sign, queries, documents, truth)["symmetric"] < 90


def test_the_three_parts_share_no_text(embeddings: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionaries, "QUERIES", 100)
    monkeypatch.setattr(dictionaries, "DOCUMENTS", 400)
    split(embeddings, tmp_path / "rows.npz", 2000)
    with np.load(tmp_path / "rows.npz") as parts:
        sizes = {name: len(parts[name]) for name in parts.files}
        together = np.concatenate([parts[name].astype(np.float16) for name in parts.files])
    assert sizes == {"queries": 100, "documents": 400, "training": 2000}
    assert len(np.unique(together, axis=0)) == len(np.unique(embeddings[:], axis=0).astype(np.float16)[: len(together)])
    with pytest.raises(BSAError, match="at least 1000 texts, got 900"):
        split(embeddings[:900], tmp_path / "few.npz", 2000)


def test_the_committed_page_is_that_of_the_results(tmp_path: Path) -> None:
    shutil.copy(RESULTS, tmp_path)
    assert write_report(tmp_path / RESULTS.name).read_text() == (RESULTS.parent / "DICTIONARIES.md").read_text()
