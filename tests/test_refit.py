"""The refit: rounds help on texts held out, bad input is refused, settings mean what they say."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BSAError, DistillSettings
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.training.refit import refit
from bsa_st.training.trainer import train_head


def refined_cosine(head: BinarySparsityAlignment, embeddings: np.ndarray) -> float:
    """Mean cosine of dense embeddings, float (n, d) of length 1, with what their refined codes decode to."""
    decoded = head.decode(torch.from_numpy(bsa_st.encode_embeddings(head, embeddings).to_dense())).detach().numpy()
    return float(((decoded * embeddings).sum(axis=1) / np.linalg.norm(decoded, axis=1)).mean())


@pytest.fixture(scope="module")
def initial(embeddings: np.ndarray) -> BinarySparsityAlignment:
    torch.manual_seed(0)
    head = BinarySparsityAlignment(embeddings.shape[1], 128, 64)
    head.initialise(torch.from_numpy(embeddings[:2000]))
    return head.eval()


def test_no_round_is_kept_that_hurts_held_out_texts(initial: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    head = copy.deepcopy(initial)
    held_out = embeddings[2500:]
    before = refined_cosine(head, held_out)
    history = refit(head, embeddings[:2500], held_out, rounds=4)
    after = refined_cosine(head, held_out)
    cosines = [entry["cosine"] for entry in history]
    assert cosines[0] == pytest.approx(before, abs=1e-4)
    assert after == pytest.approx(max(cosines), abs=1e-4)
    assert after > before + 0.02


def test_a_refit_of_two_texts_changes_nothing_for_the_worse(initial: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    head = copy.deepcopy(initial)
    before = refined_cosine(head, embeddings[2500:])
    refit(head, embeddings[:2], embeddings[2500:], rounds=3)
    assert refined_cosine(head, embeddings[2500:]) >= before - 1e-4


def test_a_compact_head_has_the_bytes_asked_for_and_half_its_features_active(
    compact_model: SentenceTransformer, embeddings: np.ndarray
) -> None:
    head = head_of(compact_model)
    codes = bsa_st.encode_embeddings(head, embeddings, refine=True)
    assert codes.to_packed().shape == (len(embeddings), 32)
    assert codes.nbytes / len(codes) < 32.5
    assert 0.4 < codes.counts.mean() / 256 < 0.6
    assert head.report["settings"]["steps"] == 0
    assert head.report["figures"]["found_at_10"] > 0.5
    assert [entry["cosine"] for entry in head.report["refit"]][-1] > 0.8


def test_plain_codes_of_a_compact_head_beat_random_signs(compact_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(compact_model)
    assert head.report["figures"]["reconstruction_cosine"] > 0.7


def test_the_published_training_alone_can_be_chosen(embeddings: np.ndarray) -> None:
    head = train_head(
        embeddings[:1500], DistillSettings(hidden_dim=64, k=8, steps=3, refit_rounds=0, batch_size=64), show_progress_bar=False
    )
    assert head.report["refit"] == []
    assert head.report["settings"]["refit_rounds"] == 0


def test_sizes_follow_from_bytes_or_are_given() -> None:
    compact = DistillSettings.of_bytes(64)
    assert (compact.hidden_dim, compact.k, compact.selection, compact.steps) == (512, 256, "threshold", 0)
    assert DistillSettings().hidden_dim <= 1024
    with pytest.raises(BSAError, match="leave out k"):
        DistillSettings.of_bytes(64, k=8)
    with pytest.raises(BSAError, match="code_bytes must be a whole number from 1 to 8192, got 0"):
        DistillSettings.of_bytes(0)
    with pytest.raises(BSAError, match="k must be a whole number, got '8'"):
        DistillSettings(k="8")  # type: ignore[arg-type]
    with pytest.raises(BSAError, match="seed must be a whole number, at least 0, got -1"):
        DistillSettings(seed=-1)
    with pytest.raises(BSAError, match="at most 1, got 1000000000"):
        DistillSettings(learning_rate=1e9)
    with pytest.raises(BSAError, match="nested budgets need a sparse head"):
        DistillSettings(hidden_dim=64, k=32, nested=((32, 16),))


@pytest.mark.parametrize("row", [0.0, np.nan, np.inf])
def test_rows_without_a_direction_are_refused_by_number(embeddings: np.ndarray, row: float) -> None:
    rows = embeddings[:500].copy()
    rows[41] = row
    with pytest.raises(BSAError, match="row 42"):
        train_head(rows, DistillSettings.of_bytes(8), show_progress_bar=False)


def test_equal_rows_are_refused(embeddings: np.ndarray) -> None:
    with pytest.raises(BSAError, match="are equal"):
        train_head(np.repeat(embeddings[:1], 300, axis=0), DistillSettings.of_bytes(8), show_progress_bar=False)


def test_few_rows_and_duplicates_give_a_finite_head(embeddings: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    rows = np.repeat(embeddings[:20], 5, axis=0)
    head = train_head(rows, DistillSettings.of_bytes(16, refit_rounds=1, unroll_trials=0), show_progress_bar=False)
    assert "texts for 128 features" in caplog.text
    assert all(torch.isfinite(tensor).all() for tensor in head.state_dict().values())


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_length_of_embeddings_does_not_matter(embeddings: np.ndarray, scale: float) -> None:
    head = train_head(
        embeddings[:500] * np.float32(scale),
        DistillSettings.of_bytes(8, refit_rounds=1, unroll_trials=0),
        show_progress_bar=False,
    )
    assert all(torch.isfinite(tensor).all() for tensor in head.state_dict().values())
    small, usual = (
        bsa_st.encode_embeddings(head, embeddings[:50] * np.float32(factor), refine=True) for factor in (scale, 1.0)
    )
    assert np.mean(small.to_dense() == usual.to_dense()) > 0.99


def test_memory_that_is_not_there_is_told_before(embeddings: np.ndarray) -> None:
    with pytest.raises(BSAError, match=r"hidden_dim = 4194304 needs about \d+ GB of memory"):
        train_head(embeddings[:100], DistillSettings(hidden_dim=1 << 22, k=8, steps=0), show_progress_bar=False)


def test_more_features_than_dimensions_or_fewer_both_work(embeddings: np.ndarray) -> None:
    for code_bytes in (8, 64):
        settings = DistillSettings.of_bytes(code_bytes, refit_rounds=1, unroll_trials=0)
        head = train_head(embeddings[:1000], settings, show_progress_bar=False)
        assert bsa_st.encode_embeddings(head, embeddings[:10], refine=True).to_packed().shape == (10, code_bytes)
