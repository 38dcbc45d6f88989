"""Refinement: the error never grows, limits hold, both implementations agree, lengths come out equal, real texts gain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer

import bsa_st
from bsa_st import BinaryCodes, BinarySparsityAlignment, DistillSettings
from bsa_st.head.layer import head_of
from bsa_st.head.refine import LENGTH_WEIGHT, MOMENTUM, Problem, _improve_numba, _improve_torch, _step, refine, weigh_mean
from bsa_st.head.refine_kernel import step_rows
from bsa_st.training.trainer import train_head

IMPLEMENTATIONS = {"numba": _improve_numba, "torch": _improve_torch}


def objective(problem: Problem, x: torch.Tensor, codes: torch.Tensor) -> np.ndarray:
    """What refinement minimises, float64 (n,)."""
    decoded = codes.double() @ problem.decoder.double() + problem.offset.double()
    error = (x.double() - decoded).square().sum(dim=1)
    if problem.length is not None:
        error += LENGTH_WEIGHT * (decoded.square().sum(dim=1) - problem.length * x.double().square().sum(dim=1)).square()
    return error.numpy()


@st.composite
def problems(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    texts, features, width = draw(st.integers(1, 12)), draw(st.sampled_from([1, 5, 40, 200])), draw(st.sampled_from([1, 3, 30]))
    decoder = (rng.normal(size=(features, width)) / np.sqrt(width * features)).astype(np.float32)
    if draw(st.booleans()) and features > 1:
        decoder[1] = decoder[0]  # two equal atoms
    most = draw(st.sampled_from(sorted({0, 1, min(10, features), features})))
    fewest = draw(st.sampled_from(sorted({0, most})))
    x = rng.normal(size=(texts, width)).astype(np.float32)
    v = torch.from_numpy(decoder)
    return {
        "problem": Problem(
            v,
            torch.from_numpy(rng.normal(size=width).astype(np.float32) / 10),
            v @ v.T,
            fewest,
            most,
            (fewest + most) // 2,
            draw(st.sampled_from([None, 0.8])),
        ),
        "x": torch.from_numpy(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)),
        "plain": torch.from_numpy(rng.random((texts, features)) < 0.5),
    }


@pytest.mark.parametrize("name", IMPLEMENTATIONS)
@settings(max_examples=60, deadline=None)
@given(case=problems())
def test_moves_never_increase_the_error_and_keep_the_limits(name: str, case: dict[str, Any]) -> None:
    problem, x, plain = case["problem"], case["x"], case["plain"]
    counts = plain.sum(dim=1)
    allowed = (counts >= problem.fewest) & (counts <= problem.most)
    after = IMPLEMENTATIONS[name](problem, x, plain)
    assert ((after.sum(dim=1) >= problem.fewest) & (after.sum(dim=1) <= problem.most)).all()
    better = objective(problem, x, after) <= objective(problem, x, plain) + 1e-4
    assert better[allowed.numpy()].all()  # a code outside the limits is brought inside, whatever that costs
    again = IMPLEMENTATIONS[name](problem, x, after)
    assert (objective(problem, x, again) <= objective(problem, x, after) + 1e-4).all()


@settings(max_examples=30, deadline=None)
@given(case=problems())
def test_both_implementations_reach_the_same_error(case: dict[str, Any]) -> None:
    errors = [
        objective(case["problem"], case["x"], run(case["problem"], case["x"], case["plain"]))
        for run in IMPLEMENTATIONS.values()
    ]
    # rounding may send them along different moves of equal gain on a few texts
    assert np.mean(np.abs(errors[0] - errors[1]) <= 1e-2) >= 0.7


@settings(max_examples=40, deadline=None)
@given(case=problems(), steps=st.sampled_from([1, 8, 32]))
def test_relaxed_steps_and_moves_keep_the_limits(case: dict[str, Any], steps: int) -> None:
    problem = case["problem"]
    counts = refine(problem, case["x"], case["plain"], steps).sum(dim=1)
    assert ((counts >= problem.fewest) & (counts <= problem.most)).all()


@settings(max_examples=40, deadline=None)
@given(case=problems())
def test_relaxed_steps_are_the_same_in_both_implementations(case: dict[str, Any]) -> None:
    problem, x = case["problem"], case["x"]
    features = len(problem.decoder)
    rng = np.random.default_rng(0)
    state, before, pull, linear = (torch.from_numpy(rng.random((len(x), features), dtype=np.float32)) for _ in range(4))
    for total in (-1, problem.most):
        wanted = _step(pull, state, before, linear, 0.3, 0.1, total)
        now, old = state.clone(), before.clone()
        numbers = (np.float32(value) for value in (0.3, 0.1, MOMENTUM, total))
        step_rows(pull.numpy(), now.numpy(), old.numpy(), linear.numpy(), *numbers)
        torch.testing.assert_close(now, wanted, atol=1e-3, rtol=1e-3)
        assert torch.equal(old, state)


def test_refinement_recovers_a_code_that_was_planted() -> None:
    rng = np.random.default_rng(0)
    decoder = torch.from_numpy(rng.normal(size=(300, 64)).astype(np.float32))
    truth = torch.arange(300)[None] < 6
    wrong = (torch.arange(300)[None] >= 3) & (torch.arange(300)[None] < 9)
    problem = Problem(decoder, torch.zeros(64), decoder @ decoder.T, 6, 6, 6)
    for improve in IMPLEMENTATIONS.values():
        assert torch.equal(improve(problem, truth.float() @ decoder, wrong), truth)


@pytest.mark.parametrize("mode", ["threshold_model", "topk_model", "compact_model"])
def test_real_texts_are_reconstructed_better(mode: str, embeddings: np.ndarray, request: pytest.FixtureRequest) -> None:
    head = head_of(request.getfixturevalue(mode))
    x = embeddings[:500]

    def cosine(codes: BinaryCodes) -> float:
        decoded = head.decode(torch.from_numpy(codes.to_dense())).detach().numpy()
        return float(((decoded * x).sum(1) / np.linalg.norm(decoded, axis=1) / np.linalg.norm(x, axis=1)).mean())

    plain = bsa_st.encode_embeddings(head, x, refine=False)
    greedy, refined, longer = (bsa_st.encode_embeddings(head, x, refine=True, relaxed_steps=steps) for steps in (0, 32, 150))
    assert cosine(refined) > cosine(plain) + 0.03
    assert cosine(greedy) > cosine(plain)
    if mode == "compact_model":
        assert cosine(longer) > cosine(refined) > cosine(greedy)
    assert refined.nbytes <= 1.1 * plain.nbytes


def test_equal_lengths_make_the_plain_product_rank_better(compact_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(compact_model)
    decoder, offset = head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy()
    queries, documents = embeddings[:300], embeddings[300:3000]
    true = np.argsort(-queries @ documents.T, axis=1)[:, :10]

    def found(equal: bool) -> tuple[float, float]:
        codes = bsa_st.encode_embeddings(head, documents, refine=True, equal_lengths=equal).to_dense()
        weighed = [weigh_mean(torch.from_numpy(rows), head.mean).norm(dim=1) for rows in (codes @ decoder + offset, documents)]
        best = np.argsort(-(queries @ decoder.T) @ codes.T, axis=1)[:, :10]
        shared = [len(np.intersect1d(a, b)) for a, b in zip(true, best, strict=True)]
        return float(np.mean(shared)), float((weighed[0] / weighed[1]).std())

    (free, free_spread), (equal, equal_spread) = found(False), found(True)
    assert equal_spread < 0.7 * free_spread
    assert equal > free


def test_codes_are_the_same_for_the_same_seed(embeddings: np.ndarray) -> None:
    settings = DistillSettings.of_bytes(16, refit_rounds=1, unroll_trials=0)
    heads = [train_head(embeddings[:1000], settings, show_progress_bar=False) for _ in range(2)]
    first, second = (bsa_st.encode_embeddings(head, embeddings[:100], refine=True) for head in heads)
    assert first == second


def test_bad_settings_of_the_refinement_are_refused(compact_model: SentenceTransformer, embeddings: np.ndarray) -> None:
    head = head_of(compact_model)
    with pytest.raises(bsa_st.BSAError, match="relaxed_steps must be a whole number, at least 0, got -1"):
        bsa_st.encode_embeddings(head, embeddings[:2], refine=True, relaxed_steps=-1)
    with pytest.raises(bsa_st.BSAError, match="NaN or infinite"):
        bsa_st.encode_embeddings(head, np.full((1, head.input_dim), np.nan), refine=True)
    with pytest.raises(bsa_st.BSAError, match="must be numbers"):
        bsa_st.encode_embeddings(head, np.full((1, head.input_dim), "x"), refine=True)


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
