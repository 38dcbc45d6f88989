"""Training a head from dense embeddings, by sentence-transformers' own trainer."""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.modules import InputModule
from torch import nn
from transformers import TrainerCallback, set_seed
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from bsa_st.atomic import write_json
from bsa_st.errors import BSAError
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.losses import BSALoss
from bsa_st.head.settings import DistillSettings
from bsa_st.head.unrolled import MAX_DIM
from bsa_st.inputs.distributed import PATIENCE, join, share
from bsa_st.inputs.embed import has_fast_bfloat16
from bsa_st.inputs.row_shards import Embeddings
from bsa_st.inputs.unit_rows import unit_rows
from bsa_st.training.budgets import measure_budgets
from bsa_st.training.monitor import FOUND_DOCUMENTS, FOUND_QUERIES, HeadEvaluator, choose_softening, hardware_name, head_figures
from bsa_st.training.refit import refit
from bsa_st.training.symmetric import fit_symmetric
from bsa_st.training.unroll import fit_unrolled

INITIAL_SAMPLE = 8192
FIRING_SAMPLE = 20_000
FINAL_SAMPLE = 100_000
REFIT_ROWS = 50_000
CHECKED_ROWS = 1 << 16
REFIT_BYTES = 40
"""Memory of a refit per squared feature: products of codes in single and double precision, their factor and the decoder's Gram matrix."""

logger = logging.getLogger(__name__)


class Student(SentenceTransformer):
    """Cached rows and a head while they are trained. Its checkpoints carry no model card, which would need texts to run on."""

    def save_pretrained(self, path: str, *args: Any, **kwargs: Any) -> None:
        super().save_pretrained(path, *args, **{**kwargs, "create_model_card": False})


class CachedRows(InputModule):
    """Stands in for the frozen encoder while the head is trained: row numbers in, cached dense embeddings out, read when they are needed.

    Args:
        embeddings: float (n, d), usually a memory map, brought to length 1; ``None`` after loading a checkpoint, which holds no data.
        noise: Length of the Gaussian noise added to each row in training, relative to the row's length; the row keeps its length. It stands
            for texts that are not there, and keeps a wide head from learning a small collection by heart.
    """

    save_in_root = False

    def __init__(self, embeddings: Embeddings | None = None, noise: float = 0.0) -> None:
        super().__init__()
        self.embeddings, self.noise = embeddings, noise

    def preprocess(self, inputs: Sequence[int], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        assert self.embeddings is not None, "a checkpoint holds no embeddings to read rows from"
        rows = torch.from_numpy(np.asarray(self.embeddings[np.asarray(inputs)], dtype=np.float32))
        return {"sentence_embedding": unit_rows(rows)}

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        if self.training and self.noise > 0:
            rows = features["sentence_embedding"]
            length = rows.norm(dim=1, keepdim=True)
            noisy = rows + torch.randn_like(rows) * (self.noise * length / math.sqrt(rows.shape[1]))
            features["sentence_embedding"] = noisy * (length / noisy.norm(dim=1, keepdim=True))
        return features

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        self.save_config(output_path)


def train_head(
    embeddings: Embeddings,
    settings: DistillSettings,
    *,
    loss: Callable[[SentenceTransformer, torch.Tensor], nn.Module] | None = None,
    device: torch.device | str = "cpu",
    checkpoint_dir: str | Path | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    training_args: dict[str, Any] | None = None,
    show_progress_bar: bool = True,
) -> BinarySparsityAlignment:
    """Train a head from dense embeddings, float (n, d); see :func:`distill` for the other arguments.

    Training runs on embeddings of length 1 (:mod:`bsa_st.inputs.unit_rows`), so that learning rates mean the same for every encoder. ``loss`` makes
    another loss than :class:`~bsa_st.head.losses.BSALoss` for cached rows and the initialised head, with rows to prepare it by, float32 (n, d).

    Raises:
        BSAError: If a row holds NaN or infinite values, or ``checkpoint_dir`` holds checkpoints of other settings.
    """
    started = time.perf_counter()
    _check_rows(embeddings)
    needed = REFIT_BYTES * settings.hidden_dim**2 if settings.refit_rounds else 0
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > there:
        raise BSAError(
            f"a refit of hidden_dim = {settings.hidden_dim} needs about {needed / 1e9:.0f} GB of memory, this machine has {there / 1e9:.0f}: "
            "choose a smaller hidden_dim, or refit_rounds = 0"
        )
    checkpoint = None if checkpoint_dir is None else _last_checkpoint(Path(checkpoint_dir), settings)
    rank, processes = join()
    set_seed(settings.seed)
    order = np.random.default_rng(settings.seed).permutation(len(embeddings))
    held_out_rows, train_rows = np.split(order, [min(5000, max(1, round(len(order) * settings.held_out)))])
    if processes > 1 and settings.steps and len(train_rows) < processes * settings.batch_size:
        raise BSAError(f"{len(train_rows)} texts cannot fill a batch of {settings.batch_size} in each of {processes} processes")
    if len(train_rows) < settings.hidden_dim:
        logger.warning("%d texts for %d features: a useful head wants tens of thousands", len(train_rows), settings.hidden_dim)
    sample, held_out = _unit(embeddings, train_rows[:FINAL_SAMPLE]), _unit(embeddings, held_out_rows)
    head = BinarySparsityAlignment(embeddings.shape[1], settings.hidden_dim, settings.k, settings.selection, settings.nested)
    initial = torch.from_numpy(sample[:INITIAL_SAMPLE])
    head.initialise(initial)
    if settings.steps:
        student = Student(modules=[CachedRows(embeddings, noise=settings.noise), head], device=str(device))
        student.model_card_data.widget = [{}]  # so that the trainer looks for no examples among row numbers
        with tempfile.TemporaryDirectory() as scratch:
            arguments: dict[str, Any] = {
                "output_dir": str(checkpoint_dir or scratch),
                "max_steps": settings.steps,
                "per_device_train_batch_size": settings.batch_size,
                "ddp_find_unused_parameters": False,
                "ddp_timeout": int(PATIENCE.total_seconds()),
                "learning_rate": settings.learning_rate,
                "warmup_steps": max(1, round(settings.steps * 0.05)),
                "bf16": has_fast_bfloat16(torch.device(device)),
                "use_cpu": torch.device(device).type == "cpu",
                "eval_strategy": "steps",
                "eval_steps": settings.eval_steps,
                "logging_steps": min(100, settings.steps),
                "save_strategy": "steps" if checkpoint_dir else "no",
                "save_steps": settings.eval_steps,
                "save_total_limit": 2,
                "report_to": "none",
                "seed": settings.seed,
                "disable_tqdm": not show_progress_bar,
            }
            trainer = SentenceTransformerTrainer(
                model=student,
                args=SentenceTransformerTrainingArguments(**{**arguments, **(training_args or {})}),
                train_dataset=Dataset.from_dict({"row": np.sort(train_rows)}),
                loss=loss(student, initial) if loss else BSALoss(student, settings.alignment_weight),
                evaluator=HeadEvaluator(held_out, sample[:FIRING_SAMPLE]),
                callbacks=list(callbacks),
            )
            trainer.remove_callback(trainer.model_card_callback_class)  # it would run the student on widget texts
            if not show_progress_bar:
                trainer.remove_callback(PrinterCallback)
            if rank > 0:  # other noise than the first process adds
                torch.manual_seed(settings.seed + rank)
            trainer.train(resume_from_checkpoint=checkpoint)
        if not all(torch.isfinite(parameter).all() for parameter in head.parameters()):
            raise BSAError(f"training diverged: weights are not finite after {settings.steps} steps; lower the learning rate")
    head.to(device).eval()
    if rank == 0:
        head.report = _finish(head, sample, held_out, settings, show_progress_bar)
        head.report |= {"texts": len(embeddings), "texts_held_out": len(held_out), "hardware": hardware_name(device)}
        head.report["seconds_training"] = round(time.perf_counter() - started, 1)
    share(head)
    return head


def _finish(
    head: BinarySparsityAlignment, sample: np.ndarray, held_out: np.ndarray, settings: DistillSettings, bar: bool
) -> dict[str, Any]:
    """Refit, calibrate and measure a trained head; what its report says of that."""
    rounds = settings.refit_rounds
    history = refit(head, sample[:REFIT_ROWS], held_out, rounds=rounds, show_progress_bar=bar) if rounds else []
    head.calibrate(torch.from_numpy(sample).to(head.weight.device), keep_decoder=bool(rounds))
    measure_budgets(head, sample)
    queries, documents = held_out[:FOUND_QUERIES], np.concatenate([held_out[FOUND_QUERIES:], sample[:FOUND_DOCUMENTS]])
    found = {"found_at_10": choose_softening(head, queries, documents)}
    unrolled = None
    if rounds and settings.unroll_trials:
        if unrolled := fit_unrolled(head, sample, queries, documents, settings.unroll_trials, settings.seed):
            found["found_at_10_unrolled"] = unrolled.pop("found_at_10")
        if settings.hidden_dim <= MAX_DIM:
            head.symmetric = fit_symmetric(head, sample, settings.unroll_trials, settings.seed)
    figures = {name: round(value, 4) for name, value in (head_figures(head, held_out, sample) | found).items()}
    return {"settings": settings.to_dict(), "refit": history, "unrolled": unrolled, "figures": figures}


def _unit(embeddings: Embeddings, rows: np.ndarray) -> np.ndarray:
    return unit_rows(torch.from_numpy(np.array(embeddings[rows], dtype=np.float32))).numpy()


def _check_rows(embeddings: Embeddings) -> None:
    """There must be two rows that differ, and each must have a direction."""
    if len(embeddings) < 2:
        raise BSAError(f"training needs at least 2 texts, got {len(embeddings)}")
    differ = False
    for start in range(0, len(embeddings), CHECKED_ROWS):
        part = np.asarray(embeddings[start : start + CHECKED_ROWS])
        bad = ~np.isfinite(part).all(axis=1) | ~part.any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            what = "is all zeros" if not part[row].any() else "holds NaN or infinite values"
            raise BSAError(f"an embedding {what}: row {start + row + 1}, {int(bad.sum())} such up to row {start + len(part)}")
        differ = differ or bool((part != embeddings[:1]).any())
    if not differ:
        raise BSAError(f"all {len(embeddings)} embeddings are equal: there is nothing to learn from")


def _last_checkpoint(folder: Path, settings: DistillSettings) -> str | None:
    """The last checkpoint in a folder, which from now on belongs to these settings."""
    owner = folder / "settings.json"
    try:
        if not owner.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(owner, settings.to_dict())
        elif json.loads(owner.read_text()) != settings.to_dict():
            raise BSAError(f"{folder} holds checkpoints of other settings ({owner}); choose another folder")
    except (OSError, json.JSONDecodeError) as error:
        raise BSAError(f"cannot use the checkpoint folder {folder}: {error}") from error
    return get_last_checkpoint(str(folder))
