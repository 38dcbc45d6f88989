"""Features of the CSR recipe of sentence-transformers."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers.sparse_encoder import SparseEncoder
from sentence_transformers.sparse_encoder.losses import CSRLoss, SparseMultipleNegativesRankingLoss
from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder
from sentence_transformers.sparse_encoder.trainer import SparseEncoderTrainer
from sentence_transformers.sparse_encoder.training_args import SparseEncoderTrainingArguments
from transformers import set_seed
from transformers.trainer_callback import PrinterCallback

from bsa_st.head.settings import DistillSettings
from bsa_st.inputs.embed import has_fast_bfloat16
from bsa_st.training.trainer import CachedRows
from evaluation.interpretability.methods import Features, Texts, directions, distinctive_terms, in_parts


def scaled(rows: torch.Tensor) -> torch.Tensor:
    """Rows of length 1, (n, d), with a length of ``sqrt(d)``."""
    return rows / (1 / math.sqrt(rows.shape[1]))


class ScaledRows(CachedRows):
    """Cached rows whose entries, not their lengths, are near 1."""

    def preprocess(self, inputs: Sequence[int], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {name: scaled(rows) for name, rows in super().preprocess(inputs, prompt).items()}


def csr(settings: DistillSettings, train: Texts) -> Features:
    """Contrastive Sparse Representation: sentence-transformers' ``SparseAutoEncoder`` trained with its ``CSRLoss``, labelled afterwards.

    Training is like BSA's: the same embeddings, steps, batch size, learning rate and input noise. Without labelled pairs the two
    views of the contrastive part are two noisy copies of a text. Inputs are scaled to unit variance, without which the mean squared
    error of unit-norm embeddings vanishes beside the contrastive loss.

    Source: Wen et al., "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation" (2025).
    """
    set_seed(settings.seed)
    size = settings.hidden_dim
    coder = SparseAutoEncoder(train.embeddings.shape[1], size, settings.k, k_aux=min(512, size))
    modules: list[torch.nn.Module] = [ScaledRows(train.embeddings, settings.noise), coder]
    model = SparseEncoder(modules=modules, device="cpu", similarity_fn_name="dot")
    rows = np.arange(len(train.embeddings))
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SparseEncoderTrainer(
            model=model,
            args=SparseEncoderTrainingArguments(
                output_dir=scratch,
                max_steps=settings.steps,
                per_device_train_batch_size=settings.batch_size,
                learning_rate=settings.learning_rate,
                warmup_steps=max(1, round(settings.steps * 0.05)),
                use_cpu=True,
                bf16=has_fast_bfloat16(torch.device("cpu")),
                save_strategy="no",
                report_to="none",
                seed=settings.seed,
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"anchor": rows, "positive": rows}),
            loss=CSRLoss(model, SparseMultipleNegativesRankingLoss(model, scale=20.0), gamma=0.1),
        )
        trainer.remove_callback(trainer.model_card_callback_class)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    coder.eval()
    strengths = partial(in_parts, lambda x: coder.top_k(coder.encode_pre_act(scaled(x)), compute_aux=False)[0])
    return Features(strengths, distinctive_terms(strengths(train), train), directions(next(coder.encoder.parameters())))
