"""The comparison end to end on small data: figures equal mteb's own, runs go on where they stopped, the page shows what is in the JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.models.sentence_transformer_wrapper import SentenceTransformerEncoderWrapper
from mteb.types import PromptType

from evaluation.__main__ import app
from evaluation.comparison import cells as cells_module
from evaluation.comparison.cells import Cell, cells
from evaluation.comparison.report import full_tables, page
from evaluation.comparison.results import Results, interval, read
from evaluation.data.encoders import load_encoder
from evaluation.data.inputs import FRACTIONS, Inputs, usual_budgets
from evaluation.data.labelled import Embed
from evaluation.data.neighbours import found_counts, nearest, shares
from evaluation.data.tasks import folder_task
from evaluation.methods import METHODS, OURS
from evaluation.methods.base import Method

pytestmark = pytest.mark.evaluation

ENCODER = "wordllama"
RUN = ["--encoders", ENCODER, "--methods", "PQ,sign bits,float32,limit", "--budgets", "16", "--seeds", "2", "--share", "0.05"]


@pytest.fixture(scope="module")
def data(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """General sentences, a judged collection and rated pairs, all from the ontology."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "text_mix").mkdir()
    with gzip.open(folder / "text_mix" / "mix.txt.gz", "wt") as file:
        file.writelines(f"{text}\n" for text in texts)
    retrieval = folder / "retrieval_time"
    retrieval.mkdir()
    corpus = [{"_id": f"d{place}", "title": "", "text": text} for place, text in enumerate(texts[:300])]
    queries = [{"_id": f"q{place}", "text": " ".join(text.split()[:3])} for place, text in enumerate(texts[:40])]
    (retrieval / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in corpus))
    (retrieval / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in queries))
    (retrieval / "qrels.tsv").write_text("".join(f"q{place}\td{place}\t1\nq{place}\td{place + 1}\t2\n" for place in range(40)))
    sts = folder / "sts_sts12"
    sts.mkdir()
    pairs = [(texts[place].replace("\t", " "), texts[place + 7].replace("\t", " "), place % 11) for place in range(200)]
    rows = "".join(f"{left}\t{right}\t{rating}\n" for left, right, rating in pairs)
    (sts / "test.tsv").write_text(f"sentence1\tsentence2\tscore\n{rows}")
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Path:
    """Folder of a finished run: results/, work/, RESULTS.md and plots/."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BSA_ST_CACHE", str(cache_dir))
        run(folder, data)
    return folder


def run(folder: Path, data: Path, *more: str) -> None:
    places = ["--data", str(data), "--output", str(folder / "results" / "encoders"), "--work", str(folder / "work")]
    app([*RUN, *places, *more], standalone_mode=False)


class MethodModel(SentenceTransformerEncoderWrapper):
    """A fitted method as mteb runs a model: queries are floats, documents codes."""

    def __init__(self, method: Method, estimate: str, embed: Embed) -> None:
        super().__init__(load_encoder(ENCODER))
        self.method, self.estimate, self.embed = method, estimate, embed

    def encode(self, inputs: Any, *, prompt_type: PromptType | None = None, **kwargs: Any) -> np.ndarray:
        dense = self.embed([text for batch in inputs for text in batch["text"]])
        as_code = prompt_type is PromptType.document
        return self.method.vectors(self.method.encode(dense), self.estimate) if as_code else dense

    def similarity(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        return np.asarray(embeddings1) @ np.asarray(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> np.ndarray:
        return self.method.pair_scores(np.asarray(embeddings1), self.method.encode(np.asarray(embeddings2)), self.estimate)


@pytest.mark.parametrize(("folder", "metric"), [("retrieval_time", "ndcg_at_10"), ("sts_sts12", "spearman")])
def test_figures_equal_what_mteb_says(
    data: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, folder: str, metric: str
) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(cache_dir))
    inputs = Inputs(ENCODER, data, 0.05)
    method = METHODS["PQ"](16)
    method.fit(inputs.general.training)
    name = folder.split("_")[1]
    mine = inputs.tasks[name]
    estimate = "cosine"
    model, item = MethodModel(method, estimate, inputs.embed), folder_task(data / folder)
    result = mteb.evaluate(model, item, cache=None, co2_tracker=False, show_progress_bar=False)
    expected = result[0].scores["test"][0][metric]
    assert mine.score(method, method.encode(mine.documents), estimate) == pytest.approx(expected, abs=1e-5)


def test_found_counts_are_those_of_a_plain_count(
    finished: Path, data: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(cache_dir))
    general = Inputs(ENCODER, data, 0.05).general
    method = METHODS["sign bits"]()
    method.fit(general.training)
    scores = general.queries @ (np.where(general.documents > 0, 1.0, -1.0)).T
    expected = [
        len(set(np.argsort(-own)[:10]) & set(np.argsort(-dense)[:10]))
        for own, dense in zip(scores, general.queries @ general.documents.T, strict=True)
    ]
    stored = read(finished / "results" / "encoders" / f"{ENCODER}.json").queries("sign bits", 0)
    assert stored is not None
    assert np.abs(stored[0] * 10 - expected).mean() < 0.02  # ties among the tenth


@given(st.integers(1, 40), st.integers(10, 60), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_counts_survive_their_characters(queries: int, documents: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, truth = rng.random((queries, documents)), nearest(rng.random((queries, documents)))
    expected = [len(set(row) & set(true)) / 10 for row, true in zip(nearest(scores), truth, strict=True)]
    np.testing.assert_allclose(shares(found_counts(scores, truth)), expected)
    assert found_counts(scores, nearest(scores)) == "A" * queries


def test_a_finished_run_is_not_measured_again_and_another_budget_is_added(
    finished: Path, data: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BSA_ST_CACHE", str(cache_dir))
    path = finished / "results" / "encoders" / f"{ENCODER}.json"
    before = path.read_text()

    def refused(*_: Any) -> None:
        raise AssertionError("fitted again")

    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "fit", refused)
        run(finished, data)
    assert path.read_text() == before
    run(finished, data, "--methods", "PQ", "--budgets", "32", "--seeds", "1")
    cells_now = read(path).cells
    assert set(read_text(before).cells) < set(cells_now)
    assert ("PQ", 32) in cells_now


def read_text(text: str) -> Results:
    return Results(json.loads(text))


def test_results_hold_floats_as_the_reference_and_the_limit_above_rivals(finished: Path) -> None:
    results = read(finished / "results" / "encoders" / f"{ENCODER}.json")
    assert results.share("float32", 0, "ndcg") == results.share("float32", 0, "spearman") == 1
    found, floats = results.found("PQ", 16), results.found("float32", 0)
    assert found is not None
    assert floats is not None
    assert floats.mean == 1 > found.mean > 0.1
    assert len(results.cells["PQ", 16]) == 2
    assert results.cells["PQ", 16][0]["counts"] != results.cells["PQ", 16][1]["counts"], "two seeds"
    assert results.figure("PQ", 16, "stored") == 16


def test_the_page_shows_the_figures_of_the_results_and_stays_short(finished: Path) -> None:
    results = read(finished / "results" / "encoders" / f"{ENCODER}.json")
    shown = (finished / "RESULTS.md").read_text()
    value = results.found("PQ", 16)
    assert value is not None
    assert f"{100 * value.mean:.1f} ±{100 * value.half:.1f}" in shown
    assert shown.count("\n") <= 150
    assert (finished / "plots" / "found.png").stat().st_size > 1000
    assert "sign bits" in full_tables(finished / "results" / "encoders")


def made_up(found: dict[str, float], queries: int = 400) -> Results:
    """Results of one encoder in which methods find so much at 64 bytes."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, queries)
    made = []
    for method, mean in found.items():
        counts = np.clip(np.round(10 * mean + hard + rng.normal(0, 0.3, queries)), 0, 10).astype(int)
        tasks = {"time": 0.5 * mean, "sts12": 0.8 * mean}
        made.append(
            {
                "method": method,
                "budget": 64 if METHODS[method].sized else 0,
                "seed": 0,
                "stored": 64,
                "fit_seconds": 1.0,
                "encode_ms": 0.1,
                "cosine": 0.9,
                "limit_bytes": 50.0,
                "estimate": "cosine",
                "found": {"cosine": mean},
                "counts": "".join("0123456789A"[count] for count in counts),
                "tasks": tasks,
            }
        )
    head = {"encoder": "made up", "width": 384, "queries": queries, "documents": 9, "training": 9}
    return Results(head | {"mean_cosine": 0.0, "effective_dimensions": 9.0, "cells": made})


def test_a_rival_that_finds_more_stands_in_bold_and_the_lead_is_negative() -> None:
    won = page([made_up({"compact": 0.8, "OPQ": 0.7, "float32": 1.0})])
    lost = page([made_up({"compact": 0.7, "OPQ": 0.8, "float32": 1.0})])
    row = next(line for line in won.splitlines() if line.startswith("| 64 "))
    assert "**" not in row
    assert "| +" in row
    row = next(line for line in lost.splitlines() if line.startswith("| 64 "))
    assert "| **79.6 " in row
    assert "| -" in row
    assert "OPQ: 80.0 / 80.0" in lost


def test_the_interval_of_a_difference_is_narrower_than_that_of_its_parts() -> None:
    results = made_up({"compact": 0.75, "OPQ": 0.7})
    parts, lead = [results.found(name, 64) for name in ("compact", "OPQ")], results.lead("compact", "OPQ", 64)
    assert lead is not None
    assert all(part is not None and lead.half < part.half for part in parts)
    assert lead.mean == pytest.approx(0.05, abs=0.01)
    one = np.tile(np.linspace(0, 1, 50), (3, 1))
    seeds = one + np.array([[-0.2], [0.0], [0.2]])
    assert interval(seeds).half > interval(one).half, "seeds add to the interval"


@pytest.mark.parametrize("width", [256, 384, 768])
def test_budgets_are_fractions_of_float32_and_every_cell_fits(width: int) -> None:
    sizes = usual_budgets(width)
    assert len(sizes) == len(FRACTIONS)
    assert all(size % 8 == 0 and size <= 4 * width / 12 for size in sizes)
    found = cells(list(METHODS), sizes, 3, width)
    assert len(set(found)) == len(found)
    assert {Cell(OURS[0], size, seed) for size in sizes for seed in range(3)} <= set(found)
    assert [cell for cell in found if cell.method == "OPQ" and cell.seed] == [], "one seed of what takes minutes"
