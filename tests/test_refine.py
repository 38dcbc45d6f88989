"""Refinement: the error never grows, the budget holds, both implementations agree, real texts gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BinaryCodes, BinarySparsityAlignment, refine
from bsa_st.monitor import head_of


def squared_error(codes: BinaryCodes, targets: np.ndarray, decoder: np.ndarray) -> np.ndarray:
    """Error with the best amplitude that is not negative, float64 (n,)."""
    sums = codes.to_dense().astype(np.float64) @ decoder
    length = (sums**2).sum(axis=1)
    agreement = np.maximum((sums * targets).sum(axis=1), 0)
    return (targets**2).sum(axis=1) - np.divide(agreement**2, length, out=np.zeros_like(length), where=length > 1e-9)


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    texts, hidden_dim, d = draw(st.integers(1, 12)), draw(st.sampled_from([1, 5, 40, 200])), draw(st.sampled_from([1, 3, 30]))
    decoder = rng.normal(size=(hidden_dim, d)).astype(np.float32)
    if draw(st.booleans()) and hidden_dim > 1:
        decoder[1] = decoder[0]  # two equal atoms
    dense = rng.random((texts, hidden_dim)) < rng.random((texts, 1)) * draw(st.sampled_from([0.1, 1.0]))
    return {
        "codes": BinaryCodes.from_dense(dense.astype(np.float32)),
        "targets": rng.normal(size=(texts, d)).astype(np.float32),
        "decoder": decoder,
        "max_moves": draw(st.sampled_from([0, 1, 7, 100])),
        "budget": draw(st.sampled_from([None, 0, 1, 10, hidden_dim])),
    }


def run(problem: dict[str, Any], numba: bool) -> BinaryCodes:
    decoder = torch.from_numpy(problem["decoder"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine, "HAS_NUMBA", numba)
        return refine.refine_codes(
            problem["codes"],
            torch.from_numpy(problem["targets"]),
            decoder,
            decoder @ decoder.T,
            max_moves=problem["max_moves"],
            budget=problem["budget"],
        )


@pytest.mark.parametrize("numba", [True, False])
@settings(max_examples=150, deadline=None)
@given(problem=problems())
def test_refinement_never_increases_the_error_and_keeps_the_budget(numba: bool, problem: dict[str, Any]) -> None:
    before, after = problem["codes"], run(problem, numba)
    errors = [squared_error(codes, problem["targets"], problem["decoder"]) for codes in (before, after)]
    assert (errors[1] <= errors[0] + 1e-4 * (1 + (problem["targets"] ** 2).sum(axis=1))).all()
    if problem["budget"] is None:
        assert np.array_equal(after.counts, before.counts)
    else:
        assert (after.counts <= np.maximum(before.counts, problem["budget"])).all()
    if problem["max_moves"] == 0:
        assert after == before


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_both_implementations_reach_the_same_error(problem: dict[str, Any]) -> None:
    errors = [squared_error(run(problem, numba), problem["targets"], problem["decoder"]) for numba in (True, False)]
    scale = 1 + (problem["targets"] ** 2).sum(axis=1)
    # rounding may send them along different moves of equal gain on a few texts
    assert np.mean(np.abs(errors[0] - errors[1]) <= 1e-3 * scale) >= 0.8


def test_refinement_recovers_a_code_that_was_planted() -> None:
    rng = np.random.default_rng(0)
    decoder = rng.normal(size=(300, 64)).astype(np.float32)
    truth = BinaryCodes.from_dense((np.arange(300) < 6).astype(np.float32)[None])
    wrong = BinaryCodes.from_dense(((np.arange(300) >= 3) & (np.arange(300) < 9)).astype(np.float32)[None])
    problem = {"codes": wrong, "targets": 2 * truth.to_dense() @ decoder, "decoder": decoder, "max_moves": 20, "budget": None}
    assert run(problem, numba=True) == run(problem, numba=False) == truth


@pytest.mark.parametrize("mode", ["threshold_model", "topk_model"])
def test_real_texts_are_reconstructed_better(mode: str, embeddings: np.ndarray, request: pytest.FixtureRequest) -> None:
    head = head_of(request.getfixturevalue(mode))
    plain, refined = (bsa_st.encode_embeddings(head, embeddings[:500], refine=flag) for flag in (False, True))

    def cosine(codes: BinaryCodes) -> float:
        decoded = head.decode(torch.from_numpy(codes.to_dense())).detach().numpy()
        x = embeddings[:500]
        return float(((decoded * x).sum(1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(x, axis=1)).mean())

    assert cosine(refined) > cosine(plain) + 0.03
    assert refined.nbytes <= 1.05 * plain.nbytes


def test_encode_refines_texts(threshold_model: SentenceTransformer, texts: list[str]) -> None:
    plain, refined = (bsa_st.encode(threshold_model, texts[:50], refine=flag) for flag in (False, True))
    assert plain != refined


def test_gram_matrix_is_kept_until_the_decoder_changes() -> None:
    head = BinarySparsityAlignment(8, 20, 3)
    first = head.gram()
    assert head.gram() is first
    torch.testing.assert_close(first, head.decoder_weight.detach() @ head.decoder_weight.detach().T)
    with torch.no_grad():
        head.decoder_weight.mul_(2)
    torch.testing.assert_close(head.gram(), 4 * first)
