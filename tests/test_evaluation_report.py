"""What the report says: goals met or not, means that stay comparable, plots with names that can be read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation import plots
from evaluation.bars import Measured, bars, bars_table
from evaluation.budgets import BUDGETS, CODE_SCORINGS, FLOAT_SCORING, budget_of, scaled_name
from evaluation.compare import with_earlier
from evaluation.glance import glance
from evaluation.rows import Row
from evaluation.table import Line, table


def row(method: str, scoring: str, task: str, score: float, n_bytes: float = 1536.0, speed: float | None = None) -> Row:
    family = method.split("-")[0]
    facts = {
        "ci_low": None,
        "ci_high": None,
        "shared_bytes": 0,
        "seconds_to_fit": 0.0,
        "tie_rate": 0.0,
        "documents": 9,
        "queries": 3,
    }
    return Row(
        "m",
        "general",
        method,
        family,
        scoring,
        task,
        "ndcg_at_10",
        score,
        bytes_per_text=n_bytes,
        queries_per_second=speed,
        **facts,
    )  # type: ignore[arg-type]


def line(method: str, scoring: str, share: float, n_bytes: float) -> Line:
    return Line(method, method.split("-")[0], scoring, {"a": share / 2}, share / 2, share, n_bytes, 0, 1000.0, 0.0)


def measured(share: float, n_bytes: float = 63.0) -> Measured:
    scorings = (FLOAT_SCORING, *CODE_SCORINGS)
    own = [line(BUDGETS[64], scoring, share, n_bytes) for scoring in scorings]
    others = [
        line("pq-64", FLOAT_SCORING, 0.98, 64.0),
        line("pq-96", FLOAT_SCORING, 0.999, 96.0),
        line("sign", FLOAT_SCORING, 0.96, 48.0),
    ]
    return Measured([*own, *others], own, {"head": {"hidden_dim": 1024, "texts": 100_000, "never_fired": 0.0}})


def verdict(run: Measured, *words: str) -> bool | None:
    found = [bar.met for bar in bars({"general": run}) if all(word in bar.goal for word in words)]
    assert len(found) == 1
    return found[0]


def test_a_goal_is_met_only_with_the_quality_and_within_the_bytes() -> None:
    words = ("at most 64 bytes, asymmetric: nDCG@10 at least 98.8%",)
    assert verdict(measured(0.99), *words) is True
    assert verdict(measured(0.98), *words) is False
    assert verdict(measured(0.99, n_bytes=65.0), *words) is False
    assert verdict(Measured([], []), *words) is None


def test_a_goal_is_judged_by_the_mean_over_seeds() -> None:
    words = ("at most 64 bytes, asymmetric: nDCG@10 at least 98.8%",)
    key = (BUDGETS[64], FLOAT_SCORING)
    assert verdict(replace(measured(0.98), retrieval_seeds={key: [0.98, 0.99, 0.996]}), *words) is True
    assert verdict(replace(measured(0.99), retrieval_seeds={key: [0.99, 0.98, 0.98]}), *words) is False
    page = bars_table({"general": replace(measured(0.99), retrieval_seeds={key: [0.99, 0.98]})})
    assert "98.5% (99.0%, 98.0%) at 63.0 bytes" in page


def test_rivals_are_compared_with_the_mean_over_seeds() -> None:
    key = (BUDGETS[64], FLOAT_SCORING)
    run = replace(measured(0.985), retrieval_seeds={key: [0.985, 0.965]})
    assert verdict(run, "at most 64 bytes", "PQ, OPQ, RaBitQ") is False
    assert "0.4875 against 0.4900 (pq-64, 64 bytes)" in bars_table({"general": run})


def test_rivals_count_only_at_no_more_bytes() -> None:
    assert verdict(measured(0.985), "at most 64 bytes", "PQ, OPQ, RaBitQ") is True
    assert verdict(measured(0.975), "at most 64 bytes", "PQ, OPQ, RaBitQ") is False


def test_features_that_never_fire_need_enough_texts() -> None:
    run = measured(0.99)
    assert verdict(run, "never fires", "D=1024") is True
    assert verdict(run, "never fires", "D=16384") is None
    few = replace(run, figures={"head": {"hidden_dim": 1024, "texts": 500, "never_fired": 0.0}})
    assert verdict(few, "never fires", "D=1024") is None
    dead = replace(run, figures={"head": {"hidden_dim": 1024, "texts": 100_000, "never_fired": 2.0}})
    assert verdict(dead, "never fires", "D=1024") is False


def test_every_goal_stands_in_the_table_whether_met_or_not() -> None:
    page = bars_table({"general": measured(0.9), "adapted": measured(0.9)})
    assert page.count("\n") - 1 == len(bars({"general": measured(0.9), "adapted": measured(0.9)}))
    assert "**not met**" in page
    assert "not measured" in page


def test_a_task_set_apart_has_a_column_but_no_weight_in_the_mean() -> None:
    rows = [
        row(method, "symmetric", task, score, speed=speed)
        for method, scale in (("float32", 1.0), ("sign", 0.5))
        for task, score, speed in (("hpo", 0.9, None), ("med", 0.4, None), ("lisa", 0.2, 700.0))
    ]
    tasks, lines = table(rows, "ndcg_at_10")
    assert tasks == ["med", "lisa", "hpo"]
    assert [entry.mean for entry in lines] == [pytest.approx(0.3)] * 2
    assert lines[0].scores["hpo"] == 0.9
    assert lines[0].queries_per_second == 700.0
    assert [entry.mean for entry in table([r for r in rows if r.task == "hpo"], "ndcg_at_10")[1]] == [0.9, 0.9]


def test_budgets_grow_with_the_width_of_the_encoder() -> None:
    assert [budget_of(size, 384) for size in (24, 48, 56, 64, 109.4, 116, 384)] == [48, 48, 64, 64, 110, 110, None]
    assert budget_of(96, 768) == 48
    assert scaled_name("bsa-topk-768-78-elastic", 256) == "bsa-topk-512-52-elastic"


def test_the_strongest_baseline_of_a_budget_stands_beside_the_recommended_method() -> None:
    common = {"budget": 64, "side": "float query", "ci_low": 0.4, "ci_high": 0.6, "scoring": FLOAT_SCORING}
    own = {**common, "bsa": True, "method": BUDGETS[64], "bytes": 62.6, "score": 0.51}
    others = [
        {**common, "bsa": False, "method": name, "bytes": 64.0, "score": score, "difference": 0.51 - score, "p_value": 0.2}
        for name, score in (("pq-64", 0.50), ("opq-64", 0.52))
    ]
    page = glance([own, *others], [line("float32", "symmetric", 1.0, 1536.0)], 384)
    assert "opq-64 asymmetric" in page
    assert "-0.0100" in page
    assert "pq-64 asymmetric |" not in page.replace("opq-64", "")


def test_names_in_the_plots_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line(f"pq-{size}", FLOAT_SCORING, 0.9 + size / 2000, float(size)) for size in (48, 52, 56, 60, 64, 96)]
    figures = []
    monkeypatch.setattr("evaluation.plots.plt.close", figures.append)
    plots.pareto(lines, tmp_path / "plot.png", "title")
    (figure,) = figures
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().startswith("pq-")]
    assert len(boxes) == len(lines)
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_details_of_an_earlier_run_stay_where_its_methods_are_still_there() -> None:
    def details(command: str, *methods: str) -> dict[str, Any]:
        means = [{"method": method, "scoring": "asymmetric", "score": 0.5} for method in methods]
        budgets = [{"budget": 48, "side": "float query", "method": method} for method in methods[:1]]
        return {
            "command": command,
            "means": means,
            "budgets": budgets,
            "figures": {method: {"by": command} for method in methods},
        }

    both = with_earlier(details("second", "bsa", "new"), details("first", "pq", "gone", "bsa"), {"pq", "bsa", "new"})
    assert [entry["method"] for entry in both["means"]] == ["pq", "bsa", "new"]
    assert [entry["method"] for entry in both["budgets"]] == ["bsa"]
    assert both["figures"] == {"pq": {"by": "first"}, "bsa": {"by": "second"}, "new": {"by": "second"}}
    assert both["command"] == "first; second"
    again = with_earlier(details("second", "bsa"), details("first", "bsa"), {"bsa"})
    assert again == details("second", "bsa")
