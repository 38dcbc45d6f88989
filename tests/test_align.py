"""Aligning a new encoder with an old dictionary: the map is the best orthogonal one, old codes stay searchable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense

import bsa_st
from bsa_st import BSAError
from bsa_st.align import orthogonal_map
from tests.smallmodel import WORDS, small_encoder, small_model

TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_map_keeps_angles_within_the_narrower_space(new: int, old: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mapping = orthogonal_map(rng.normal(size=(30, new)), rng.normal(size=(30, old))).astype(np.float64)
    gram = mapping @ mapping.T if new <= old else mapping.T @ mapping
    np.testing.assert_allclose(gram, np.eye(len(gram)) * gram[0, 0], atol=1e-5 * gram[0, 0])


@given(st.integers(2, 12), st.floats(0.1, 10), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_a_turned_and_scaled_space_is_turned_and_scaled_back(width: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    old = rng.normal(size=(40, width))
    new = old @ ortho_group.rvs(width, random_state=seed) * scale
    np.testing.assert_allclose(new @ orthogonal_map(new, old), old, atol=1e-4)


def test_no_other_rotation_fits_better() -> None:
    rng = np.random.default_rng(3)
    old = rng.normal(size=(200, 6)) * [3, 2, 1, 1, 1, 1]
    new = np.hstack([old, np.zeros((200, 2))]) @ ortho_group.rvs(8, random_state=1) + rng.normal(size=(200, 8))
    mapping = orthogonal_map(new, old)
    scale = np.linalg.norm(mapping, axis=0)[0]
    agreement = ((new @ mapping / scale) * old).sum()
    assert all(((new @ ortho_group.rvs(8, random_state=seed)[:, :6]) * old).sum() < agreement for seed in range(50))


@pytest.mark.parametrize(
    ("new", "old", "message"),
    [
        (np.ones((5, 3)), np.ones((6, 3)), r"same texts on both sides, got \(5, 3\) and \(6, 3\)"),
        (np.ones(5), np.ones((5, 3)), r"got \(5,\) and \(5, 3\)"),
        (np.ones((5, 8)), np.ones((5, 6)), "8 with 6 dimensions needs at least 6 texts, got 5"),
        (np.full((9, 3), np.nan), np.ones((9, 3)), "NaN or infinite"),
        (np.ones((9, 3)), np.zeros((9, 3)), "all zero"),
    ],
)
def test_embeddings_that_cannot_be_aligned_are_refused(new: np.ndarray, old: np.ndarray, message: str) -> None:
    with pytest.raises(BSAError, match=message):
        orthogonal_map(new, old)


def test_a_turned_encoder_finds_in_old_codes_what_the_old_one_found(tmp_path: Path) -> None:
    old = small_model(tmp_path / "old")
    turn = Dense(16, 16, bias=False, activation_function=torch.nn.Identity())
    turn.linear.weight.data = torch.from_numpy(ortho_group.rvs(16, random_state=0)).float()
    new = SentenceTransformer(modules=[*list(old)[:-1], turn], device="cpu")
    codes = bsa_st.encode(old, TEXTS, refine=True)
    aligned = bsa_st.align(new, old, TEXTS, cache_dir=tmp_path / "cache", show_progress_bar=False)
    expected, found = (bsa_st.search(model, TEXTS[:20], codes, top_k=300).scores for model in (old, aligned))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    untouched = SentenceTransformer(modules=[*new, old[-1]], device="cpu")
    assert np.abs(bsa_st.search(untouched, TEXTS[:20], codes, top_k=300).scores - expected).max() > 0.1


def test_an_aligned_model_of_another_width_saves_loads_and_searches(tmp_path: Path) -> None:
    old = small_model(tmp_path / "old")
    wide = Dense(16, 24, activation_function=torch.nn.Tanh())
    new = SentenceTransformer(modules=[*small_encoder(tmp_path / "new"), wide], device="cpu")
    before = {name: value.clone() for name, value in new.state_dict().items()}
    aligned = bsa_st.align(new, old, TEXTS, cache_dir=tmp_path / "cache", show_progress_bar=False)
    codes = bsa_st.encode(old, TEXTS, refine=True)
    bsa_st.save(aligned, tmp_path / "aligned")
    loaded = bsa_st.load(tmp_path / "aligned")
    hits, again = (bsa_st.search(model, TEXTS[:9], codes, top_k=3) for model in (aligned, loaded))
    np.testing.assert_allclose(hits.scores, again.scores, atol=1e-6)
    index = bsa_st.Index.build(codes, decoder=old)
    index.save(tmp_path / "index")
    found = bsa_st.Index.open(tmp_path / "index", model=loaded).search(TEXTS[:9], top_k=3)
    np.testing.assert_allclose([ranking.scores for ranking in found], hits.scores, atol=1e-5)
    mapped = np.asarray(SentenceTransformer(modules=list(loaded)[:-1], device="cpu").encode(TEXTS[:9]))
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    assert all(torch.equal(value, new.state_dict()[name]) for name, value in before.items())


def test_the_head_of_a_new_bsa_model_is_left_out(tmp_path: Path) -> None:
    old, new = small_model(tmp_path / "old"), small_model(tmp_path / "new", seed=1)
    aligned = bsa_st.align(new, old, TEXTS, cache_dir=tmp_path / "cache", show_progress_bar=False)
    assert aligned[-1] is old[-1]
    assert sum(isinstance(module, bsa_st.BinarySparsityAlignment) for module in aligned) == 1


def test_what_cannot_be_aligned_is_refused(tmp_path: Path) -> None:
    old, encoder = small_model(tmp_path / "old"), small_encoder(tmp_path / "new")
    with pytest.raises(BSAError, match="head"):
        bsa_st.align(old, encoder, TEXTS, cache_dir=tmp_path / "cache", show_progress_bar=False)
    with pytest.raises(BSAError, match="needs at least 16 texts, got 3"):
        bsa_st.align(encoder, old, TEXTS[:3], cache_dir=tmp_path / "cache", show_progress_bar=False)
    with pytest.raises(BSAError, match=r"not found: .*nothing"):
        bsa_st.align("./nothing", old, TEXTS, show_progress_bar=False)
