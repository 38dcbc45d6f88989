"""Only the direction of an embedding counts: encoders of any length give the codes of encoders of length 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize
from torch import nn

import bsa_st
from bsa_st.codes.scoring import decode
from bsa_st.encoding.encode import rebuild, split_model
from bsa_st.head.layer import head_of
from bsa_st.inputs.unit_rows import TOLERANCE, unit_rows
from tests.smallmodel import WIDTH, WORDS, small_encoder

TEXTS = [f"{first} {second}" for first in WORDS for second in WORDS]
SETTINGS = {"hidden_dim": 64, "k": 8, "steps": 20, "refit_rounds": 1, "unroll_trials": 3, "show_progress_bar": False}


@pytest.fixture(scope="module")
def long_encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformer:
    """An encoder whose embeddings have lengths of about 5, and no ``Normalize``."""
    encoder = small_encoder(tmp_path_factory.mktemp("encoder"))
    stretch = Dense(WIDTH, WIDTH, bias=False, activation_function=nn.Identity(), init_weight=5 * torch.eye(WIDTH))
    return rebuild(encoder, [*list(encoder)[:-1], stretch])


@pytest.fixture(scope="module")
def long_model(long_encoder: SentenceTransformer) -> SentenceTransformer:
    return bsa_st.distill(long_encoder, long_encoder.encode(TEXTS, show_progress_bar=False), **SETTINGS)


@given(npst.arrays(np.float32, (5, 7), elements=st.floats(-100, 100, width=16)))
@settings(max_examples=100, deadline=None)
def test_rows_get_length_1_unless_they_have_it_or_are_zero(rows: np.ndarray) -> None:
    found = unit_rows(torch.from_numpy(rows)).numpy()
    lengths, before = np.linalg.norm(found, axis=1), np.linalg.norm(rows, axis=1)
    assert (np.abs(lengths[before > 0] - 1) <= TOLERANCE + 1e-5).all()
    assert not found[before == 0].any()
    near = np.abs(before - 1) < TOLERANCE - 1e-5
    assert np.array_equal(found[near], rows[near])
    assert (np.einsum("nd,nd->n", found, rows) >= 0).all()


def test_lengths_of_training_rows_change_nothing(long_encoder: SentenceTransformer) -> None:
    rows = long_encoder.encode(TEXTS, show_progress_bar=False)
    lengths = np.random.default_rng(0).integers(-3, 4, (len(rows), 1)).astype(np.float32)
    first, second = (head_of(bsa_st.distill(long_encoder, data, **SETTINGS)) for data in (rows, rows * 2**lengths))
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_model_normalises_before_its_head_once(long_encoder: SentenceTransformer, long_model: SentenceTransformer) -> None:
    assert [type(module) for module in list(long_model)[:-1]] == [*(type(module) for module in long_encoder), Normalize]
    encoder, _ = split_model(long_model)
    again = bsa_st.distill(encoder, encoder.encode(TEXTS, show_progress_bar=False), **SETTINGS)
    assert len(again) == len(long_model)
    assert np.array_equal(again.encode(TEXTS[:50]), long_model.encode(TEXTS[:50]))


def test_float_queries_of_any_length_score_cosines(long_encoder: SentenceTransformer, long_model: SentenceTransformer) -> None:
    dense = long_encoder.encode(TEXTS, show_progress_bar=False)
    assert np.linalg.norm(dense, axis=1).min() > 1.5
    codes = bsa_st.encode(long_model, TEXTS, refine=True)
    from_dense = bsa_st.encode_embeddings(head_of(long_model), dense, refine=True)
    assert np.array_equal(codes.ids, from_dense.ids)
    hits = bsa_st.search(long_model, TEXTS[:40], codes, top_k=len(TEXTS))
    unit = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    cosines = np.take_along_axis(unit[:40] @ unit.T, hits.ids, axis=1)
    own = hits.scores[hits.ids == np.arange(40)[:, None]]
    head = head_of(long_model)
    decoded = decode(codes, head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy())
    kept = (unit * decoded).sum(axis=1) / np.sqrt(np.square(decoded).sum(axis=1) + float(head.length_softening))
    assert own == pytest.approx(
        kept[:40], abs=0.004
    )  # a text's own score is its cosine with what its code decodes to, but for the softening
    assert np.corrcoef(hits.scores.ravel(), cosines.ravel())[0, 1] > 0.9


def test_plain_sentence_transformers_gives_the_same_codes(long_model: SentenceTransformer, tmp_path: Path) -> None:
    bsa_st.save(long_model, tmp_path / "model")
    plain = SentenceTransformer(str(tmp_path / "model")).encode(TEXTS)
    assert set(np.unique(plain)) == {0.0, 1.0}
    for model in (long_model, bsa_st.load(tmp_path / "model")):
        assert np.array_equal(plain, model.encode(TEXTS))
    assert plain.sum(axis=1).mean() > 2
