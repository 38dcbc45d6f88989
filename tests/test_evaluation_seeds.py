"""Other seeds of the recommended heads: kept apart from the tables, shown beside each other."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bsa_st import BSAError
from evaluation import prepare, run
from evaluation.budgets import BUDGETS, FLOAT_SCORING
from evaluation.cli import app
from evaluation.methods import choose_methods
from evaluation.methods.bsa import BSA
from evaluation.methods.sparse import CSR
from evaluation.prepare import Request
from evaluation.rows import Row, rows_path, write_json
from evaluation.seeds import seed_folder, seed_shares, seeds_table


def row(method: str, scoring: str, score: float, n_bytes: float) -> Row:
    facts = (score, None, None, n_bytes, 0, None, 0.0, 0.0, 9, 3)
    return Row("m", "general", method, method.split("-")[0], scoring, "med", "ndcg_at_10", *facts)


def test_every_head_has_the_seed_that_is_asked_for_and_keeps_its_name() -> None:
    for seed in (0, 3):
        heads = [method for method in choose_methods(["bsa"], seed=seed) if isinstance(method, BSA)]
        assert [head.variant.settings.seed for head in heads] == [seed] * len(heads)
        (csr,) = [method for method in choose_methods(["csr"], seed=seed) if isinstance(method, CSR)]
        assert csr.recipe.seed == seed
    assert [head.name for head in choose_methods(["bsa"], seed=3)] == [head.name for head in choose_methods(["bsa"])]


def test_the_table_shows_every_seed_their_mean_and_the_interval_of_the_mean(tmp_path: Path) -> None:
    own = [row("float32", "symmetric", 0.5, 1536.0), row(BUDGETS[64], FLOAT_SCORING, 0.49, 63.0)]
    assert seeds_table(seed_shares(tmp_path, "m", "general", own, "ndcg_at_10"), 384) is None
    for seed, score in ((2, 0.5), (10, 0.495)):
        found = [replace(own[1], score=score), row("float32", "symmetric", 0.1, 1536.0)]
        write_json(rows_path(seed_folder(tmp_path, seed), "m", "general"), [asdict(entry) for entry in found])
    table = seeds_table(seed_shares(tmp_path, "m", "general", own, "ndcg_at_10"), 384)
    assert table is not None
    assert f"| {BUDGETS[64]} | asymmetric | 98.0%, 100.0%, 99.0% | **99.0%** | 96.5% to 101.5% |" in table
    assert seed_shares(tmp_path, "m", "adapted", own, "ndcg_at_10") == {}
    assert seed_folder(tmp_path, 0) == tmp_path


def test_a_seed_of_the_command_line_reaches_the_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []

    def stop(request: Request) -> None:
        asked.append(request)
        raise BSAError("enough")

    monkeypatch.setattr(prepare, "prepare", stop)
    monkeypatch.setattr(run, "run", lambda plan: [])
    for words in ([], ["--seed", "4"]):
        CliRunner().invoke(app, ["--output", str(tmp_path), *words])
    assert [(request.seed, request.output) for request in asked] == [(0, tmp_path), (4, tmp_path / "seeds" / "4")]
