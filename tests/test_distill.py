"""Training on real text: it works, it repeats, it resumes, it refuses bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import bsa_st
from bsa_st import BSAError
from bsa_st.head.layer import BinarySparsityAlignment, head_of
from bsa_st.head.settings import DistillSettings
from bsa_st.training.trainer import train_head


class Log(TrainerCallback):
    """Keeps what the trainer logs; interrupts it after some steps if asked to."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.entries: list[dict[str, Any]] = []
        self.stop_at = stop_at
        self.steps = 0

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        self.entries.append({key: float(value) for key, value in logs.items()})

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.steps += 1
        if state.global_step == self.stop_at:
            raise KeyboardInterrupt


def test_real_text_trains_to_a_faithful_code_without_dead_features(embeddings: np.ndarray) -> None:
    log = Log()
    settings = DistillSettings(
        hidden_dim=1024, k=32, steps=100, refit_rounds=1, unroll_trials=0, batch_size=256, held_out=0.1, eval_steps=50
    )
    head = train_head(embeddings, settings, callbacks=[log], training_args={"logging_steps": 10}, show_progress_bar=False)
    losses = [entry for entry in log.entries if "alignment_loss" in entry]
    assert losses[-1]["alignment_loss"] < 0.9 * losses[0]["alignment_loss"]
    assert losses[-1]["reconstruction_loss"] < 0.8 * losses[0]["reconstruction_loss"]
    figures = head.report["figures"]
    assert figures["reconstruction_cosine"] >= 0.75
    assert figures["never_fired"] == 0
    assert 20 < figures["active_mean"] < 45
    evaluations = [entry for entry in log.entries if "eval_reconstruction_cosine" in entry]
    assert len(evaluations) == 2
    assert {"eval_active_mean", "eval_active_p5", "eval_active_p95", "eval_never_fired", "eval_highest_rate"} <= evaluations[
        -1
    ].keys()


def same(left: BinarySparsityAlignment, right: BinarySparsityAlignment) -> bool:
    return all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_the_same_seed_gives_the_same_weights(embeddings: np.ndarray) -> None:
    settings = DistillSettings(hidden_dim=64, k=8, refit_rounds=1, unroll_trials=0, steps=10, batch_size=256)
    first, second, other = (
        train_head(embeddings[:1000], replace(settings, seed=seed), show_progress_bar=False) for seed in (0, 0, 1)
    )
    assert same(first, second)
    assert not same(first, other)


def test_an_interrupted_training_resumes_to_the_same_weights(embeddings: np.ndarray, tmp_path: Path) -> None:
    settings = DistillSettings(hidden_dim=64, k=8, refit_rounds=1, unroll_trials=0, steps=30, batch_size=256, eval_steps=10)
    rows = embeddings[:1000]
    with pytest.raises(KeyboardInterrupt):
        train_head(rows, settings, checkpoint_dir=tmp_path, callbacks=[Log(stop_at=25)], show_progress_bar=False)
    assert (tmp_path / "checkpoint-20").is_dir()
    log = Log()
    resumed = train_head(rows, settings, checkpoint_dir=tmp_path, callbacks=[log], show_progress_bar=False)
    assert log.steps == 10
    straight = train_head(rows, settings, show_progress_bar=False)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_checkpoints_of_other_settings_are_not_mixed(embeddings: np.ndarray, tmp_path: Path) -> None:
    settings = DistillSettings(hidden_dim=64, k=4, refit_rounds=1, unroll_trials=0, steps=2)
    options: dict[str, Any] = {"checkpoint_dir": tmp_path / "c", "show_progress_bar": False}
    train_head(embeddings[:1000], settings, **options)
    with pytest.raises(BSAError, match="holds checkpoints of other settings"):
        train_head(embeddings[:1000], replace(settings, k=5), **options)


@pytest.mark.parametrize("width", [5, 700])
def test_any_width_and_unnormalised_embeddings_can_be_learnt(width: int) -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, width))
    data = 20 * (centres[rng.integers(0, 30, 1000)] + 0.1 * rng.normal(size=(1000, width)) + 0.5)
    head = train_head(
        data.astype(np.float32),
        DistillSettings(hidden_dim=128, k=8, refit_rounds=1, unroll_trials=0, steps=100, batch_size=128),
        show_progress_bar=False,
    )
    assert head.report["figures"]["reconstruction_cosine"] > 0.9


def test_distill_from_texts_puts_the_head_behind_an_unchanged_teacher(
    teacher: SentenceTransformer, texts: list[str], cache_dir: Path
) -> None:
    before = teacher.encode(texts[:5])
    model = bsa_st.distill(
        teacher,
        texts[:150],
        hidden_dim=64,
        k=8,
        steps=5,
        batch_size=64,
        refit_rounds=1,
        unroll_trials=0,
        cache_dir=cache_dir,
        show_progress_bar=False,
    )
    codes = model.encode(texts[:5])
    assert codes.shape == (5, 64)
    assert np.array_equal(teacher.encode(texts[:5]), before)
    assert model.similarity_fn_name == "cosine"
    report = head_of(model).report
    assert report["texts"] == 150
    assert report["settings"]["k"] == 8


def test_embeddings_from_a_file_give_the_same_head(
    teacher: SentenceTransformer, embeddings: np.ndarray, tmp_path: Path
) -> None:
    rows = embeddings[:1000]
    np.save(tmp_path / "x.npy", rows)
    settings = {"hidden_dim": 64, "k": 4, "steps": 3, "refit_rounds": 1, "unroll_trials": 0, "show_progress_bar": False}
    from_file = bsa_st.distill(teacher, tmp_path / "x.npy", **settings)
    assert same(head_of(from_file), head_of(bsa_st.distill(teacher, rows, **settings)))


def bad(kind: str) -> np.ndarray:
    array = np.random.default_rng(0).normal(size=(50, 384)).astype(np.float32)
    if kind == "nan":
        array[7, 3] = np.nan
    return (
        array[:, :100] if kind == "width" else array[:0] if kind == "empty" else array.astype(int) if kind == "int" else array
    )


@pytest.mark.parametrize(
    ("texts", "settings", "message"),
    [
        (bad("nan"), {}, "an embedding holds NaN or infinite values: row 8"),
        (bad("width"), {}, "the embeddings have width 100, the teacher gives 384"),
        (bad("empty"), {}, "embeddings must be a float array"),
        (bad("int"), {}, "embeddings must be a float array"),
        (Path("missing.npy"), {}, "cannot read embeddings from missing.npy"),
        ([], {}, "no text in it"),
        (["a", ""], {}, "text 2 is empty"),
        (Path("missing.txt"), {}, "text file not found: missing.txt"),
        ("texts.txt", {}, "a head is not trained on one text, got the str 'texts.txt'; a file is a pathlib.Path"),
        (["only one"], {}, "training needs at least 2 texts"),
        (["a", "b"], {"k": 65, "hidden_dim": 64}, "k must lie between 1 and hidden_dim = 64, got 65"),
        (["a", "b"], {"hidden_dim": 0}, "hidden_dim must lie"),
        (["a", "b"], {"steps": -1}, "steps must be a whole number, at least 0, got -1"),
        (["a", "b"], {"held_out": 1.0}, "held_out must lie between 0 and 1"),
        (["a", "b"], {"learning_rate": 0.0}, "learning_rate must be positive"),
        (["a", "b"], {"alignment_weight": -1.0}, "alignment_weight must be a number, at least 0, got -1.0"),
    ],
)
def test_bad_input_is_named(
    texts: Any, settings: dict[str, Any], message: str, teacher: SentenceTransformer, cache_dir: Path
) -> None:
    with pytest.raises(BSAError, match=message):
        bsa_st.distill(teacher, texts, cache_dir=cache_dir, show_progress_bar=False, **settings)


@pytest.mark.parametrize("name", ["./missing-folder", "org/missing-model"])
def test_a_missing_teacher_is_named(name: str) -> None:
    with pytest.raises(BSAError, match=name):
        bsa_st.distill(name, ["a", "b"])


def test_an_empty_folder_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(BSAError, match="cannot load the teacher model"):
        bsa_st.distill(tmp_path, ["a", "b"])
