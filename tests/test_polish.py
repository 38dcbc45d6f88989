"""Dictionary polish: a better decoder for refined codes, with nothing else changed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from bsa_st import BSAError
from bsa_st.module import BinarySparsityAlignment
from bsa_st.polish import CHUNK_TEXTS, polish, refined_cosine
from bsa_st.settings import DistillSettings
from bsa_st.training import train_head


@pytest.fixture(scope="module")
def trained(embeddings: np.ndarray) -> BinarySparsityAlignment:
    settings = DistillSettings(hidden_dim=512, k=32, selection="topk", steps=60, batch_size=256, polish_rounds=0)
    return train_head(embeddings[:4000], settings, show_progress_bar=False)


@pytest.fixture
def head(trained: BinarySparsityAlignment) -> BinarySparsityAlignment:
    return copy.deepcopy(trained)


def test_refined_codes_of_other_texts_decode_better(head: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    before = refined_cosine(head, embeddings[5000:])
    polish(head, embeddings[:4000], embeddings[4000:5000])
    assert refined_cosine(head, embeddings[5000:]) > before + 0.001


def test_a_worse_decoder_is_never_taken(head: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    before = refined_cosine(head, embeddings[4000:])
    polish(head, embeddings[:60], embeddings[4000:], rounds=3)
    assert refined_cosine(head, embeddings[4000:]) >= before


def test_only_the_decoder_changes(head: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    before = copy.deepcopy(head.state_dict())
    polish(head, embeddings[:1000], embeddings[1000:1200])
    changed = {name for name, value in head.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder_weight"}


def test_an_atom_that_never_fires_keeps_its_direction(head: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    with torch.no_grad():
        head.bias[3] = -1e6
        head.decoder_weight[3] = 0.0  # refinement has no use for it either
    polish(head, embeddings[:1000], embeddings[1000:1200])
    assert torch.isfinite(head.decoder_weight).all()
    assert head.decoder_weight[3].abs().max() < 1e-6


def test_the_size_of_a_chunk_does_not_change_the_result(
    head: BinarySparsityAlignment, embeddings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.deepcopy(head)
    assert len(embeddings) > CHUNK_TEXTS
    polish(head, embeddings[:3000], embeddings[3000:3200])
    monkeypatch.setattr("bsa_st.polish.CHUNK_TEXTS", 700)
    polish(other, embeddings[:3000], embeddings[3000:3200])
    # how far two solutions of the same equations lie apart in single weights depends on the processor; what they do does not
    together, apart = (refined_cosine(one, embeddings[3000:3200]) for one in (head, other))
    assert together == pytest.approx(apart, abs=1e-4)


def test_rows_of_another_width_are_refused(head: BinarySparsityAlignment, embeddings: np.ndarray) -> None:
    with pytest.raises(BSAError, match="must have shape"):
        polish(head, embeddings[:10, :100], embeddings[:10, :100])
