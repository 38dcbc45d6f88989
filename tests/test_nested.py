"""Elastic budgets: one head, several sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch.nn import functional as F

import bsa_st
from bsa_st import BSAError, DistillSettings
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.nested import prefix_head, truncate_head
from bsa_st.training.trainer import train_head
from tests.test_refit import refined_cosine

SETTINGS = DistillSettings(
    hidden_dim=512,
    k=40,
    selection="topk",
    nested=((256, 32), (128, 24)),
    steps=60,
    refit_rounds=1,
    unroll_trials=0,
    batch_size=256,
    held_out=0.1,
)


@pytest.fixture(scope="module")
def nested(embeddings: np.ndarray) -> BinarySparsityAlignment:
    return train_head(embeddings[:2400], SETTINGS, show_progress_bar=False)


@pytest.fixture
def model(teacher: SentenceTransformer, nested: BinarySparsityAlignment) -> SentenceTransformer:
    return bsa_st.encoding.encode.rebuild(teacher, [*teacher, nested])


def test_a_nested_budget_comes_close_to_a_head_of_its_own(nested: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    alone = DistillSettings(
        hidden_dim=128, k=24, selection="topk", steps=60, refit_rounds=1, unroll_trials=0, batch_size=256, held_out=0.1
    )
    own = train_head(embeddings[:2400], alone, show_progress_bar=False)
    rows = embeddings[2400:]
    assert refined_cosine(truncate_head(nested, 128, 24), rows) > refined_cosine(own, rows) - 0.02


def test_training_along_is_what_makes_a_prefix_good(
    nested: BinarySparsityAlignment, topk_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    rows = embeddings[2400:]
    assert refined_cosine(truncate_head(nested, 128, 24), rows) > refined_cosine(
        prefix_head(head_of(topk_model), 128, 24), rows
    )


@pytest.mark.parametrize("budget", [(512, 40), (512, 20), (256, 32), (256, 10), (128, 24), (128, 48)])
def test_every_budget_gives_its_number_of_features(
    nested: BinarySparsityAlignment, embeddings: np.ndarray, budget: tuple[int, int]
) -> None:
    small = truncate_head(nested, *budget)
    codes = bsa_st.encode_embeddings(small, embeddings[:200], refine=True)
    assert codes.hidden_dim == budget[0]
    assert set(codes.counts) == {budget[1]}


@pytest.mark.parametrize("k", [40, 30, 20, 12, 6])
def test_the_decoded_length_fits_at_every_k(nested: BinarySparsityAlignment, embeddings: np.ndarray, k: int) -> None:
    small = truncate_head(nested, 256, k)
    rows = torch.from_numpy(embeddings[:500])
    codes = torch.from_numpy(bsa_st.encode_embeddings(small, embeddings[:500], refine=True).to_dense())
    decoded = small.decode(codes)
    amplitude = ((decoded - small.decoder_bias) * (rows - small.decoder_bias)).sum() / (
        (decoded - small.decoder_bias).square().sum()
    )
    assert 0.85 < float(amplitude) < 1.15
    assert float(F.cosine_similarity(decoded, rows).mean()) > 0.4


def test_a_threshold_head_fires_as_often_as_asked(threshold_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(threshold_model)
    small = truncate_head(head, k=head.k // 2)
    counts = bsa_st.encode_embeddings(small, embeddings, refine=False).counts
    assert head.k / 2 * 0.8 < counts.mean() < head.k / 2 * 1.2
    assert counts.std() > 0


def test_truncating_twice_is_truncating_once(nested: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    once, twice = truncate_head(nested, 256, 20), truncate_head(truncate_head(nested, 256, 32), 256, 20)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(value, twice.state_dict()[name], msg=name)


def test_a_truncated_model_saves_and_encodes_like_the_budget(
    model: SentenceTransformer, texts: list[str], tmp_path: Path
) -> None:
    small = bsa_st.truncate(model, hidden_dim=256, max_active_dims=16)
    bsa_st.save(small, tmp_path / "small")
    bsa_st.save(model, tmp_path / "whole")
    whole = bsa_st.load(tmp_path / "whole")
    assert head_of(whole).nested == SETTINGS.nested
    here = bsa_st.encode(bsa_st.load(tmp_path / "small"), texts[:50], refine=True)
    there = bsa_st.encode(whole, texts[:50], refine=True, hidden_dim=256, max_active_dims=16)
    assert np.array_equal(here.ids, there.ids)
    assert SentenceTransformer(str(tmp_path / "small")).encode(texts[:5]).shape == (5, 256)


def test_a_compact_head_has_one_size(compact_model: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="a compact head has one size, hidden_dim = 256"):
        bsa_st.truncate(compact_model, max_active_dims=16)


def test_the_whole_budget_is_the_model_itself(nested: BinarySparsityAlignment) -> None:
    assert truncate_head(nested) is nested
    assert truncate_head(nested, 512, 40) is nested


def test_budgets_that_do_not_fit_are_refused(nested: BinarySparsityAlignment) -> None:
    with pytest.raises(BSAError, match="trained for a hidden_dim of 128, 256, 512, not 300"):
        truncate_head(nested, 300)
    with pytest.raises(BSAError, match="k must lie between 1 and hidden_dim = 256, got 257"):
        truncate_head(nested, 256, 257)
    with pytest.raises(BSAError, match="its hidden_dim <= 64, got 128:8"):
        DistillSettings(hidden_dim=64, k=8, nested=((128, 8),))
    with pytest.raises(BSAError, match="a pair"):
        DistillSettings(hidden_dim=64, k=8, nested=((8, 2.5),))  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="HIDDEN_DIM:K, got 12"):
        bsa_st.head.settings.parse_nested(["12"])
