"""The theory's formulas against independent computation, and the measurements against data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.losses import SoftTopKCosineLoss
from evaluation.embeddings import unit_rows
from evaluation.paper.contrastive import LOSSES, alignment, bounded, gradients, info_nce, trained_with
from evaluation.paper.overlapmeasured import CENTRES, Pairs, random_scores, sign_agreement, spread, topk_overlap
from evaluation.paper.overlapmodel import (
    bits_needed,
    fixed_variance,
    free_variance,
    joint_rate,
    postings_touched,
    sign_resolution,
    slope,
)

ROWS = np.random.default_rng(5).normal(size=(600, 384)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)


@given(st.floats(0.01, 0.5), st.floats(-0.9, 0.95))
@settings(max_examples=30, deadline=None)
def test_the_joint_rate_is_that_of_the_bivariate_normal(rate: float, cosine: float) -> None:
    threshold = norm.isf(rate)
    expected = multivariate_normal([0, 0], [[1, cosine], [cosine, 1]]).cdf([-threshold, -threshold])
    assert joint_rate(rate, np.array([cosine]))[0] == pytest.approx(expected, abs=1e-5)


def test_the_slope_is_the_derivative_and_sign_bits_are_the_case_of_half() -> None:
    cosine = np.linspace(-0.8, 0.9, 15)
    for rate in (0.02, 0.2, 0.5):
        difference = (joint_rate(rate, cosine + 1e-4) - joint_rate(rate, cosine - 1e-4)) / 2e-4
        np.testing.assert_allclose(slope(rate, cosine), difference, rtol=1e-2)
    np.testing.assert_allclose(joint_rate(0.5, cosine), 0.5 - np.arccos(cosine) / (2 * np.pi), atol=1e-5)


def test_the_variance_of_random_topk_codes_is_predicted_and_below_that_of_free_ones() -> None:
    rng = np.random.default_rng(0)
    width, k, cosine = 512, 32, 0.6
    left = rng.normal(size=(4000, width))
    right = cosine * left + np.sqrt(1 - cosine**2) * rng.normal(size=left.shape)
    overlap = topk_overlap(k)(left, right)
    at = np.array([cosine])
    assert overlap.mean() == pytest.approx(width * joint_rate(k / width, at)[0], rel=0.03)
    assert overlap.var() == pytest.approx(width * fixed_variance(k / width, at)[0], rel=0.08)
    assert fixed_variance(k / width, at)[0] < 0.8 * free_variance(k / width, at)[0]


def test_sparse_codes_need_more_bits_at_middle_cosines_and_read_less() -> None:
    cosine = np.array([0.2, 0.5, 0.95])
    sign, dense, sparse = (bits_needed(rate, cosine, 0.05) for rate in (None, 0.1, 0.01))
    assert (sign < dense).all()
    assert (dense < sparse).all()
    assert sparse[0] / sign[0] > 2 * sparse[2] / sign[2]
    assert postings_touched(0.01, 0.5, 0.05) < postings_touched(0.1, 0.5, 0.05) < sign[1]


def test_the_resolution_measured_on_random_sign_bits_is_the_predicted_one() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(len(CENTRES)), 200)
    cosine = np.array(CENTRES)[group] + rng.uniform(-0.05, 0.05, size=len(group))
    left = unit_rows(rng.normal(size=(len(group), 64)))
    other = rng.normal(size=left.shape)
    other = unit_rows(other - (other * left).sum(axis=1, keepdims=True) * left)
    right = cosine[:, None] * left + np.sqrt(1 - cosine**2)[:, None] * other
    pairs = Pairs(left, right.astype(np.float32), cosine, group, np.zeros(64, np.float32))
    found = spread(pairs, random_scores(pairs, 256, sign_agreement, draws=8))
    for row in found[1:-1]:
        assert row["resolution"] == pytest.approx(sign_resolution(np.array([row["cosine"]]))[0] / 16, rel=0.15)
    assert found[4]["mean"] == pytest.approx(256 * 2 / 3, rel=0.02)


def test_the_alignment_gradient_is_the_contrastive_one_times_the_cosine() -> None:
    torch.manual_seed(0)
    a = torch.randn(20, 50, dtype=torch.float64) * 3
    target = torch.zeros_like(a).scatter_(-1, a.topk(5).indices, 1.0)
    np.testing.assert_allclose(bounded(a, target), -torch.log(1 - alignment(a, target)), atol=1e-12)
    low = a / 3 - 14  # where sigmoid(a) is close to e^a all three agree
    np.testing.assert_allclose(info_nce(low, target), -torch.log(1 - alignment(low, target)), atol=1e-4)


def test_the_loss_studied_is_the_one_of_the_library() -> None:
    head = BinarySparsityAlignment(384, 256, 16)
    x = torch.from_numpy(ROWS[:64])
    head.initialise(x)
    features = head.train()({"sentence_embedding": x})
    theirs = SoftTopKCosineLoss(torch.nn.Identity()).head_loss(features)  # type: ignore[arg-type]
    a = head.log_scale.exp() * features["bsa_logits"]
    assert alignment(a, features["bsa_target"]).mean().item() == pytest.approx(theirs.item(), abs=1e-6)
    found = gradients(head, ROWS[:64])
    assert found["exact"] < 1e-4
    assert 0 < found["cosine"] <= 1
    assert all(one["measured"] == pytest.approx(one["predicted"], rel=1e-3, abs=1e-9) for one in found["bins"])


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_trains_a_head(name: str) -> None:
    head, active = trained_with(name, ROWS[:500], 64, 8, steps=3)
    assert len(active) == 3
    assert not head.training
