"""The losses: their values, and that each works alone in the sentence-transformers trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import Tensor, nn

from bsa_st import BinarySparsityAlignment, BSAError, BSALoss, CosineReconstructionLoss, SoftTopKCosineLoss
from bsa_st.training.trainer import CachedRows

LOSSES: list[Callable[[SentenceTransformer], nn.Module]] = [SoftTopKCosineLoss, CosineReconstructionLoss, BSALoss]


@pytest.fixture
def student(embeddings: np.ndarray) -> SentenceTransformer:
    torch.manual_seed(0)
    head = BinarySparsityAlignment(384, 256, 16)
    head.initialise(torch.from_numpy(embeddings[:2000]))
    return SentenceTransformer(modules=[CachedRows(embeddings), head], device="cpu")


def batch(student: SentenceTransformer) -> list[dict[str, Tensor]]:
    student.train()
    return [student.preprocess(list(range(64)))]


def numpy_cosine(a: Tensor, b: Tensor) -> float:
    left, right = a.detach().double().numpy(), b.detach().double().numpy()
    return float(((left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)).mean())


def test_values_equal_the_formulas(student: SentenceTransformer) -> None:
    features = student(batch(student)[0])
    alignment = 1 - numpy_cosine(features["bsa_probability"], features["bsa_target"])
    reconstruction = 1 - numpy_cosine(features["bsa_input"], features["bsa_reconstruction"])
    assert SoftTopKCosineLoss(student)(batch(student)).item() == pytest.approx(alignment, abs=1e-5)
    assert CosineReconstructionLoss(student)(batch(student)).item() == pytest.approx(reconstruction, abs=1e-5)
    parts = BSALoss(student, alignment_weight=0.5)(batch(student))
    assert parts["alignment_loss"].item() == pytest.approx(0.5 * alignment, abs=1e-5)
    assert parts["reconstruction_loss"].item() == pytest.approx(reconstruction, abs=1e-5)


def test_alignment_vanishes_when_the_probabilities_are_the_target(student: SentenceTransformer) -> None:
    target = torch.zeros(2, 256)
    target[:, :16] = 1
    assert SoftTopKCosineLoss(student).head_loss({"bsa_probability": target, "bsa_target": target}).item() == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize("loss_class", LOSSES)
def test_each_loss_falls_in_the_trainer(
    loss_class: Callable[[SentenceTransformer], nn.Module], student: SentenceTransformer, tmp_path: Path
) -> None:
    loss = loss_class(student)

    def total() -> float:
        with torch.no_grad():
            value = loss(batch(student))
        return float(sum(value.values()) if isinstance(value, dict) else value)

    before = total()
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path),
        max_steps=30,
        per_device_train_batch_size=128,
        learning_rate=3e-3,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
    )
    rows = Dataset.from_dict({"row": list(range(2500))})
    trainer = SentenceTransformerTrainer(model=student, args=arguments, train_dataset=rows, loss=loss)
    trainer.train()
    assert total() < 0.9 * before
    if loss_class is BSALoss:
        assert {"reconstruction_loss", "alignment_loss"} <= trainer.state.log_history[0].keys()


@pytest.mark.parametrize("loss_class", LOSSES)
def test_losses_describe_themselves(
    loss_class: Callable[[SentenceTransformer], nn.Module], student: SentenceTransformer
) -> None:
    loss = loss_class(student)
    assert "Binary Sparse" in loss.citation or "Sparse Binary" in loss.citation
    assert loss.get_config_dict() == ({"alignment_weight": 1.0} if loss_class is BSALoss else {})


def test_negative_weight_is_refused(student: SentenceTransformer) -> None:
    with pytest.raises(BSAError, match="alignment_weight must not be negative, got -1"):
        BSALoss(student, alignment_weight=-1)
