"""The goals that the project set itself for all-MiniLM-L6-v2, each with what was measured: computed from the rows, never typed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import Any, NamedTuple

from evaluation.budgets import BUDGETS, CODE_SCORINGS, FLOAT_SCORING, OVERLAP, SPARSE, THRESHOLD
from evaluation.markdown import markdown_table, percent
from evaluation.seeds import Shares
from evaluation.table import Line

RIVALS = ("pq", "opq", "rabitq")
SIGNS = ("sign", "sign-centered")
PLAIN = "symmetric"
DICTIONARIES = (1024, 4096, 16384)
STATISTICS_TEXTS = 100_000


class Bar(NamedTuple):
    """One goal. ``met`` is ``None`` where it was not measured."""

    setting: str
    goal: str
    method: str
    measured: str
    met: bool | None


@dataclass(frozen=True)
class Measured:
    """The results of one setting: lines of the retrieval and of the similarity table, figures of the heads, and both again from several seeds."""

    retrieval: Sequence[Line]
    similarity: Sequence[Line]
    figures: dict[str, Any] = field(default_factory=dict)
    retrieval_seeds: Shares = field(default_factory=dict)
    similarity_seeds: Shares = field(default_factory=dict)

    def line(self, method: str, scoring: str, *, similarity: bool = False) -> Line | None:
        """The line of a method and scoring."""
        lines = self.similarity if similarity else self.retrieval
        return next((line for line in lines if (line.method, line.scoring) == (method, scoring)), None)

    def best(self, families: Sequence[str], n_bytes: float) -> Line | None:
        """The best baseline of some families with float queries at no more bytes."""
        inside = [line for line in self.retrieval if line.family in families and line.scoring == FLOAT_SCORING]
        return max((line for line in inside if line.bytes_per_text <= n_bytes), key=lambda line: line.mean, default=None)


def bars_table(settings: dict[str, Measured]) -> str:
    """All goals as a Markdown table."""
    words = {True: "met", False: "**not met**", None: "not measured"}
    body = [[bar.setting, bar.goal, bar.method, bar.measured, words[bar.met]] for bar in bars(settings)]
    return markdown_table(["setting", "goal", "method", "measured", ""], body)


def bars(settings: dict[str, Measured]) -> list[Bar]:
    """All goals of the settings that were run."""
    found: list[Bar] = []
    if "general" in settings:
        found += _general(settings["general"])
    if "adapted" in settings:
        found += _adapted(settings["adapted"])
    return found


def _general(run: Measured) -> Iterator[Bar]:
    for budget, share in ((48, 0.97), (64, 0.988), (110, 0.995)):
        yield _share("general", run, budget, BUDGETS[budget], FLOAT_SCORING, share)
    yield _share("general", run, 64, BUDGETS[64], FLOAT_SCORING, 0.995, "reach for: ")
    yield _against("general", run, 64, "above sign bits with float queries", SIGNS, lambda own, other: own > other)
    for budget in (48, 64, 110):
        yield _against("general", run, budget, "not below the best of PQ, OPQ, RaBitQ", RIVALS, lambda own, other: own >= other)
    codes = {"decoded": BUDGETS, PLAIN: OVERLAP}
    for scoring, methods in codes.items():
        for budget, share in ((64, 0.925), (110, 0.955)):
            yield _share("general", run, budget, methods[budget], scoring, share)
        yield _share("general", run, 64, methods[64], scoring, 0.95, "reach for: ")
    for scoring, methods in codes.items():
        yield _share("general", run, 64, methods[64], scoring, 0.985, similarity=True)
    yield _share("general", run, 64, SPARSE, FLOAT_SCORING, 0.98, "sparse, for an inverted index: ")
    for scoring in (FLOAT_SCORING, *CODE_SCORINGS):
        yield _threshold(run, scoring)
    for size in DICTIONARIES:
        yield _never_fired(run, size)


def _adapted(run: Measured) -> Iterator[Bar]:
    for budget, share in ((48, 0.98), (64, 0.99)):
        yield _share("adapted", run, budget, BUDGETS[budget], FLOAT_SCORING, share)
        yield _against("adapted", run, budget, "not below the best of PQ, OPQ, RaBitQ", RIVALS, lambda own, other: own >= other)


def _share(
    setting: str,
    run: Measured,
    budget: int,
    method: str,
    scoring: str,
    share: float,
    note: str = "",
    *,
    similarity: bool = False,
) -> Bar:
    what = "Spearman" if similarity else "nDCG@10"
    goal = f"{note}at most {budget} bytes, {scoring}: {what} at least {share:.1%} of float32"
    line = run.line(method, scoring, similarity=similarity)
    if line is None or line.of_float is None:
        return Bar(setting, goal, method, "-", None)
    seeds = (run.similarity_seeds if similarity else run.retrieval_seeds).get((method, scoring), [line.of_float])
    each = f" ({', '.join(map(percent, seeds))})" if len(seeds) > 1 else ""
    measured = f"{mean(seeds):.1%}{each} at {line.bytes_per_text:.1f} bytes"
    return Bar(setting, goal, method, measured, mean(seeds) >= share and line.bytes_per_text <= budget)


def _against(
    setting: str, run: Measured, budget: int, text: str, families: Sequence[str], holds: Callable[[float, float], bool]
) -> Bar:
    goal = f"at most {budget} bytes, {FLOAT_SCORING}: {text} at no more bytes"
    own, other = run.line(BUDGETS[budget], FLOAT_SCORING), run.best(families, budget)
    if own is None or other is None:
        return Bar(setting, goal, BUDGETS[budget], "-", None)
    score = own.mean
    if own.of_float and (seeds := run.retrieval_seeds.get((own.method, own.scoring))):
        score *= mean(seeds) / own.of_float
    measured = f"{score:.4f} against {other.mean:.4f} ({other.method}, {other.bytes_per_text:.0f} bytes)"
    return Bar(setting, goal, BUDGETS[budget], measured, holds(score, other.mean))


def _threshold(run: Measured, scoring: str) -> Bar:
    goal = f"threshold mode within one point of top-k mode at about the same bytes, {scoring}"
    own, other = (run.line(method, scoring) for method in THRESHOLD)
    if own is None or other is None or own.of_float is None or other.of_float is None:
        return Bar("general", goal, THRESHOLD[0], "-", None)
    measured = f"{own.of_float:.1%} at {own.bytes_per_text:.1f} bytes, {other.of_float:.1%} at {other.bytes_per_text:.1f}"
    return Bar("general", goal, THRESHOLD[0], measured, own.of_float >= other.of_float - 0.01)


def _never_fired(run: Measured, size: int) -> Bar:
    goal = f"no feature that never fires on {STATISTICS_TEXTS:,} training texts, D={size}"
    heads = {
        name: facts["never_fired"]
        for name, facts in run.figures.items()
        if facts.get("hidden_dim") == size and facts.get("texts", 0) >= STATISTICS_TEXTS
    }
    if not heads:
        return Bar("general", goal, "-", "-", None)
    measured = ", ".join(f"{count:.0f}" for count in heads.values())
    return Bar("general", goal, ", ".join(heads), measured, not any(heads.values()))
