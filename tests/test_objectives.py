"""Every objective: gradients flow, the sparsity is as asked, the loss falls, and the head it trains is a head like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import TrainerCallback

from bsa_st import BinarySparsityAlignment, BSAError, DistillSettings
from bsa_st.encoding.encode import encode_embeddings
from evaluation.study.baselines import OBJECTIVES, Objective, decode, squared_error, train_by

pytestmark = pytest.mark.evaluation

D, K, WIDTH = 128, 8, 24


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """3,000 unit vectors, each near the sum of three of 60 directions: something that a dictionary can find."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(60, WIDTH))
    mixed = directions[rng.integers(60, size=(3000, 3))].sum(axis=1) + 0.3 * rng.normal(size=(3000, WIDTH))
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def fresh(name: str, rows: np.ndarray) -> tuple[Objective, BinarySparsityAlignment, torch.Tensor]:
    """An objective, a head made ready for it, and a batch."""
    torch.manual_seed(0)
    head = BinarySparsityAlignment(WIDTH, D, K, "topk")
    sample = torch.from_numpy(rows)
    head.initialise(sample)
    objective = OBJECTIVES[name]()
    objective.prepare(head, sample)
    return objective, head, sample[:256]


def trained(name: str, rows: np.ndarray, **settings: object) -> BinarySparsityAlignment:
    chosen = {"selection": "topk", "steps": 40, "noise": 0.0, "refit_rounds": 0, "learning_rate": 3e-3, "batch_size": 256}
    return train_by(OBJECTIVES[name](), rows, DistillSettings(hidden_dim=D, k=K, **{**chosen, **settings}))  # type: ignore[arg-type]


def test_abs_topk_refuses_an_odd_dictionary(rows: np.ndarray) -> None:
    with pytest.raises(BSAError, match="even hidden_dim"):
        train_by(OBJECTIVES["abs-topk"](), rows, DistillSettings(hidden_dim=31, k=4, steps=1))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_reach_encoder_and_decoder(name: str, rows: np.ndarray) -> None:
    objective, head, x = fresh(name, rows)
    torch.stack(list(objective.loss(head, x).values())).sum().backward()
    for parameter in ("decoder_weight",) if name == "matching-pursuit" else ("weight", "decoder_weight"):
        gradient = getattr(head, parameter).grad
        if name == "uhd" and parameter == "decoder_weight":
            assert gradient is None  # similarity only: its decoder is fitted afterwards
            continue
        assert torch.isfinite(gradient).all()
        assert (gradient.abs().sum(dim=1) > 0).float().mean() > (0.4 if name == "abs-topk" else 0.8)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_strengths_are_as_sparse_as_asked_after_training(name: str, rows: np.ndarray) -> None:
    objective, head, x = fresh(name, rows)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.0)
    losses = []
    for _ in range(120):
        parts = objective.loss(head, x)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
        losses.append(float(next(iter(parts.values())).detach()))
    active = (objective.values(head, x) > 0).sum(dim=1).float().mean()
    exact = name in ("topk", "abs-topk", "uhd")
    assert float(active) <= K if exact else K / 1.6 < float(active) < K * 1.6
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_trained_head_fires_k_features_and_reconstructs(name: str, rows: np.ndarray) -> None:
    head = trained(name, rows)
    codes = encode_embeddings(head, rows, refine=False)
    assert (codes.counts == K).all()
    decoded = head.decode(torch.from_numpy(codes.to_dense()))
    assert float(F.cosine_similarity(decoded, torch.from_numpy(rows)).mean().detach()) > 0.5


@pytest.mark.parametrize("name", ["l1-mse", "batch-topk", "jumprelu"])
def test_threshold_heads_fire_k_features_on_average(name: str, rows: np.ndarray) -> None:
    codes = encode_embeddings(trained(name, rows, selection="threshold", steps=20), rows, refine=False)
    assert codes.counts.mean() == pytest.approx(K, rel=0.1)


def test_batch_topk_keeps_as_many_as_topk_but_not_the_same(rows: np.ndarray) -> None:
    objective, head, x = fresh("batch-topk", rows)
    torch.nn.init.ones_(head.bias)  # more than k are positive
    counts = (objective.values(head, x) > 0).sum(dim=1)
    assert int(counts.sum()) == K * len(x)
    assert counts.unique().numel() > 1


def test_jumprelu_threshold_feels_texts_near_it(rows: np.ndarray) -> None:
    objective, head, x = fresh("jumprelu", rows)
    objective.loss(head, x)["sparsity_loss"].backward()
    assert head.bias.grad is not None
    assert (head.bias.grad != 0).float().mean() > 0.5


def test_abs_topk_features_come_in_opposite_pairs(rows: np.ndarray) -> None:
    head = trained("abs-topk", rows, steps=5)
    assert torch.equal(head.weight[: D // 2], -head.weight[D // 2 :])
    codes = encode_embeddings(head, rows, refine=False).to_dense()
    assert not (codes[:, : D // 2] * codes[:, D // 2 :]).any()


def test_abs_topk_decoder_learns_from_both_senses(rows: np.ndarray) -> None:
    objective, head, x = fresh("abs-topk", rows)
    objective.loss(head, x)["reconstruction_loss"].backward()
    assert head.decoder_weight.grad is not None
    learnt = head.decoder_weight.grad[: D // 2].clone()
    head.zero_grad()
    squared_error(x, decode(head, objective.values(head, x))).backward()
    senses = head.decoder_weight.grad
    torch.testing.assert_close(learnt, senses[: D // 2] - senses[D // 2 :], rtol=1e-4, atol=1e-6)


def test_matching_pursuit_logits_are_the_first_step(rows: np.ndarray) -> None:
    objective, head, x = fresh("matching-pursuit", rows)
    with torch.no_grad():
        head.decoder_bias.add_(0.1 * torch.randn(WIDTH))
    objective.finish(head)
    head.k = 1
    first = objective.values(head, x).argmax(dim=1)
    assert (head.logits(x).argmax(dim=1) == first).float().mean() > 0.99


def test_matching_pursuit_leaves_less_with_every_step(rows: np.ndarray) -> None:
    objective, head, x = fresh("matching-pursuit", rows)
    errors = []
    for k in (2, 4, 8):
        head.k = k
        errors.append(float(objective.loss(head, x)["reconstruction_loss"].detach()))
    assert errors[0] > errors[1] > errors[2]


class Losses(TrainerCallback):
    """Keeps what the trainer logs."""

    def __init__(self) -> None:
        self.logged: list[float] = []

    def on_log(
        self, args: object, state: object, control: object, logs: dict[str, float] | None = None, **more: object
    ) -> None:
        if logs and "loss" in logs:
            self.logged.append(logs["loss"])


@pytest.mark.parametrize("name", ["topk", "uhd"])
def test_the_trainer_minimises_the_objective(name: str, rows: np.ndarray) -> None:
    losses = Losses()
    recipe = DistillSettings(hidden_dim=D, k=K, steps=30, batch_size=256, noise=0.0, refit_rounds=0)
    train_by(OBJECTIVES[name](), rows, recipe, callbacks=[losses], training_args={"logging_steps": 5})
    assert losses.logged[-1] < losses.logged[0]
