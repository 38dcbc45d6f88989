"""Training in two real processes on the CPU (gloo): one head, written once, as good as one process makes it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import bsa_st
from bsa_st import BSAError
from bsa_st.head.settings import DistillSettings
from bsa_st.inputs.row_shards import RowShards, cached_together, precomputed
from bsa_st.training.trainer import train_head
from tests.smallmodel import WIDTH, WORDS, small_encoder

SETTINGS = {"hidden_dim": 64, "k": 8, "steps": 30, "noise": 0.0, "learning_rate": 0.003, "refit_rounds": 1, "unroll_trials": 0}
OPTIONS = [item for name, value in SETTINGS.items() for item in (f"--{name.replace('_', '-')}", str(value))]
PROGRAM = """
import functools, json, os, runpy, sys, torch
from bsa_st.training import distill
from tests.test_distributed import Losses

distill.cached_together = functools.partial(distill.cached_together, shard_rows=500)
rank, train = os.environ["RANK"], distill.train_head

def watched(*arguments, **options):
    losses = Losses()
    head = train(*arguments, **{**options, "callbacks": [losses], "training_args": {"logging_steps": 1}})
    torch.save(head.state_dict(), f"head{rank}.pt")
    open(f"report{rank}.json", "w").write(json.dumps({"report": head.report, "losses": losses.values}))
    return head

distill.train_head = watched
sys.argv.insert(1, "distill")
runpy.run_module("bsa_st", run_name="__main__", alter_sys=True)
"""


class Losses(TrainerCallback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **kwargs: object
    ) -> None:
        if "loss" in logs:
            self.values.append(float(logs["loss"]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher and 2,000 texts."""
    folder = tmp_path_factory.mktemp("distributed")
    small_encoder(folder / "encoder").save_pretrained(str(folder / "teacher"), create_model_card=False)
    chance = random.Random(0)
    lines = [" ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(2000)]
    (folder / "texts.txt").write_text("\n".join(lines) + "\n")
    return folder


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *arguments]
    return subprocess.run(torchrun, capture_output=True, text=True, cwd=folder, env=environment, check=False, timeout=600)


@pytest.mark.slow
def test_two_processes_end_with_one_head_as_good_as_that_of_one(place: Path) -> None:
    (place / "program.py").write_text(PROGRAM)
    command = [
        "program.py",
        "teacher",
        "texts.txt",
        "model",
        "--cache-dir",
        "cache",
        "--batch-size",
        "64",
        "--json",
        "report.json",
    ]
    result = launch(place, *command, *OPTIONS)
    assert result.returncode == 0, result.stderr[-3000:]
    left, right = (torch.load(place / f"head{rank}.pt", weights_only=True) for rank in (0, 1))
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    first, second = (json.loads((place / f"report{rank}.json").read_text()) for rank in (0, 1))
    assert first["report"] == second["report"]
    assert len(list((place / "cache").iterdir())) == 4

    assert result.stdout.count("Model saved in model") == 1
    assert json.loads((place / "report.json").read_text()) == {**first["report"], "seconds_encoding": ANY}
    loaded = bsa_st.load(place / "model")[-1].state_dict()
    assert all(torch.equal(left[name], loaded[name]) for name in left)

    losses = Losses()
    alone = bsa_st.distill(
        str(place / "teacher"), place / "texts.txt", cache_dir=place / "alone", batch_size=128, callbacks=[losses],
        training_args={"logging_steps": 1}, show_progress_bar=False, **SETTINGS,
    )  # fmt: skip
    assert len(first["losses"]) == len(losses.values) == SETTINGS["steps"]
    end, reference = np.mean(first["losses"][-8:]), np.mean(losses.values[-8:])
    assert reference < 0.9 * losses.values[0]
    assert end == pytest.approx(reference, rel=0.05)
    cosine = "reconstruction_cosine"
    assert first["report"]["figures"][cosine] == pytest.approx(alone[-1].report["figures"][cosine], abs=0.01)


def test_too_few_texts_for_the_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bsa_st.training.trainer.join", lambda: (0, 2))
    rows = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float32)
    with pytest.raises(BSAError, match="1960 texts cannot fill a batch of 1000 in each of 2 processes"):
        train_head(rows, DistillSettings(hidden_dim=16, k=2, batch_size=1000, steps=10), show_progress_bar=False)


def test_row_shards_are_one_matrix(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float16)
    for number, (start, stop) in enumerate([(0, 20), (20, 21), (21, 50)]):
        np.save(tmp_path / f"part-{number}.npy", whole[start:stop])
    shards = precomputed(tmp_path)
    assert shards.shape == (50, 4)
    assert shards.dtype == np.float16
    rows = np.random.default_rng(1).integers(0, 50, 200)
    assert np.array_equal(shards[rows], whole[rows])
    assert np.array_equal(shards[5:33], whole[5:33])
    assert shards[:0].shape == (0, 4)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("none", "no .npy file"),
        ("width", "must have one width, got 4, 5"),
        ("text", "cannot read"),
        ("flat", "must be a float array"),
    ],
)
def test_row_shards_that_do_not_fit_are_refused(damage: str, message: str, tmp_path: Path) -> None:
    if damage != "none":
        np.save(tmp_path / "a.npy", np.ones((3, 4), np.float32))
    if damage == "width":
        np.save(tmp_path / "b.npy", np.ones((3, 5), np.float32))
    elif damage == "text":
        (tmp_path / "b.npy").write_text("no")
    elif damage == "flat":
        np.save(tmp_path / "b.npy", np.ones(3))
    with pytest.raises(BSAError, match=message):
        precomputed(tmp_path)


def test_training_from_row_shards_is_training_from_the_matrix(place: Path, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(300, WIDTH)).astype(np.float32)
    np.save(tmp_path / "a.npy", rows[:100])
    np.save(tmp_path / "b.npy", rows[100:])
    options = {**SETTINGS, "steps": 3, "batch_size": 32, "show_progress_bar": False}
    left, right = (bsa_st.distill(str(place / "teacher"), texts, **options)[-1] for texts in (tmp_path, rows))
    assert all(torch.equal(value, right.state_dict()[name]) for name, value in left.state_dict().items())


def test_the_cache_of_a_large_collection_is_cut_and_gives_the_same_rows(place: Path, tmp_path: Path) -> None:
    encoder = bsa_st.distill.__globals__["load_teacher"](str(place / "teacher"))
    lines = (place / "texts.txt").read_text().splitlines()[:100]
    whole = cached_together(encoder, lines, cache_dir=tmp_path / "one", show_progress_bar=False)
    cut = cached_together(encoder, lines, shard_rows=40, cache_dir=tmp_path / "cut", show_progress_bar=False)
    assert isinstance(cut, RowShards)
    assert len(list((tmp_path / "cut").iterdir())) == 3
    np.testing.assert_allclose(cut[:], whole[:], atol=1e-3)
