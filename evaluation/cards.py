"""``python -m evaluation.cards``: one model card per configuration that was trained and evaluated, from the results files alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from huggingface_hub import EvalResult

from bsa_st import BSAError, DistillSettings
from bsa_st.atomic import atomic_file
from bsa_st.card import Active, CardFacts, Table, TableRow, figures_of, render, training_lines
from bsa_st.demo.run import BASE_MODEL, LANGUAGE, LICENSE
from evaluation.console import run_command
from evaluation.methods import VARIANTS
from evaluation.methods.bsa import Variant
from evaluation.report import EXPLAINED, TITLES
from evaluation.rows import Row, details_path, read_json, read_rows, rows_path
from evaluation.table import Line, mean_tasks, table
from evaluation.training import SETTINGS

HERE = Path(__file__).parent
BASE_MODELS = {"all-MiniLM-L6-v2": BASE_MODEL}
"""Names on the Hub of the encoders whose results have cards."""

REFERENCES = ("float32", "int8", "sign", "sign-centered")
INDEXED = ("symmetric", "decoded", "asymmetric")
"""Scorings whose scores go into the Hub's index: what plain encoding gives, and the best with codes and with float queries."""

DATASETS = {"general": ["text_mix", "medquad"], "adapted": ["text_mix", "medquad"]}
TRAINING_LICENCE = "Some of the training texts are for research only; check their licences before any other use."
DEMO_CARD = "all-MiniLM-L6-v2-hpo"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def write(
    results: Annotated[Path, typer.Option(help="Folder of the results.")] = HERE / "results",
    demo: Annotated[Path, typer.Option(help="Results of `bsa-st demo --json`.")] = HERE / "demo.json",
    output: Annotated[Path, typer.Option(help="Folder of the cards.")] = HERE.parent / "model_cards",
) -> None:
    """Render the model cards again; cards of configurations without results are removed."""
    cards = all_cards(results, demo)
    output.mkdir(parents=True, exist_ok=True)
    for path in output.glob("*.md"):
        if path.name not in cards and path.name != "README.md":
            path.unlink()
    for name, text in cards.items():
        with atomic_file(output / name) as file:
            file.write(text.encode())
    typer.echo(f"{len(cards)} cards in {output}")


def all_cards(results: Path, demo: Path) -> dict[str, str]:
    """Text of every card by file name.

    Raises:
        BSAError: If there are no results, or a file is damaged.
    """
    cards = {}
    for model, base_model in BASE_MODELS.items():
        for setting in SETTINGS:
            if rows_path(results, model, setting).is_file():
                cards.update(_cards(results, model, base_model, setting))
    if demo.is_file():
        cards[f"{DEMO_CARD}.md"] = render(_demo_facts(read_json(demo)))
    if not cards:
        raise BSAError(f"{results}: no results; run the evaluation first")
    return cards


def _cards(results: Path, model: str, base_model: str, setting: str) -> dict[str, str]:
    path = rows_path(results, model, setting)
    rows, details = read_rows(path), read_json(details_path(results, model, setting))
    evaluated = {row.method for row in rows}
    heads: dict[DistillSettings, list[Variant]] = {}
    for variant in VARIANTS:
        if variant.name in evaluated:
            heads.setdefault(variant.settings, []).append(variant)
    cards = {}
    for settings, variants in heads.items():
        facts = _facts(settings, variants, rows, details, setting, base_model, f"evaluation/results/{path.name}")
        label = f"{settings.selection}-{settings.hidden_dim}-{settings.k}"
        cards[f"{model}-{setting}-{label}.md"] = render(facts)
    return cards


def _facts(
    settings: DistillSettings,
    variants: Sequence[Variant],
    rows: Sequence[Row],
    details: dict[str, Any],
    setting: str,
    base_model: str,
    source: str,
) -> CardFacts:
    own = {variant.name: _label(variant) for variant in variants}
    tables = []
    for metric in dict.fromkeys([*TITLES, *(row.metric for row in rows)]):
        tasks, lines = table(rows, metric)
        shown = [line for name in (*REFERENCES, *own) for line in lines if line.method == name]
        if shown:
            title = f"{TITLES.get(metric, metric)}, mean over {', '.join(mean_tasks(tasks))}."
            tables.append(Table(title, TITLES.get(metric, metric).split(", ")[-1], [_row(line, own) for line in shown]))
    figures = {name: details["figures"][name] for name in own}
    first = next(iter(own))
    seconds = min(row.seconds_to_fit for row in rows if row.method == first)
    adapted = list(dict.fromkeys(row.task for row in rows if row.metric == "ndcg_at_10")) if setting == "adapted" else []
    return CardFacts(
        hidden_dim=settings.hidden_dim,
        k=settings.k,
        selection=settings.selection,
        base_model=base_model,
        license=LICENSE,
        language=[LANGUAGE],
        datasets=[*DATASETS[setting], *adapted],
        active={own[name]: _active(facts["active_features"]) for name, facts in figures.items()},
        figures=figures_of(figures[first])["figures"],
        training=[
            EXPLAINED[setting],
            *training_lines(figures[first].get("settings", {}), details["training_texts"], seconds, details["machine"]),
            f"Evaluated with {', '.join(f'{name} {version}' for name, version in details['packages'].items())}.",
        ],
        limits=[TRAINING_LICENCE],
        tables=tables,
        results=_results(rows, own),
        source=source,
    )


def _label(variant: Variant) -> str:
    """What tells the variants of one trained head apart."""
    budget = f"cut to D={variant.budget[0]}, k={variant.budget[1]}" if variant.budget else ""
    return budget or variant.label or "plain"


def _row(line: Line, own: dict[str, str]) -> TableRow:
    label = f"**this model, {own[line.method]}**" if line.method in own else line.method
    return TableRow(label, line.scoring, line.bytes_per_text, line.mean, line.of_float, line.queries_per_second)


def _results(rows: Iterable[Row], own: dict[str, str]) -> list[EvalResult]:
    kinds = {"ndcg_at_10": ("Retrieval", "nDCG@10"), "spearman": ("STS", "Spearman")}
    return [
        EvalResult(
            task_type=kinds[row.metric][0],
            dataset_type=row.task,
            dataset_name=row.task,
            metric_type=row.metric,
            metric_name=f"{kinds[row.metric][1]}, {own[row.method]} codes, {row.scoring}",
            metric_value=row.score,
        )
        for row in rows
        if row.method in own and row.scoring in INDEXED and row.metric in kinds
    ]


def _active(histogram: Sequence[int]) -> Active:
    """Mean and percentiles of a histogram: entry i counts the texts with i active features."""
    counts = np.repeat(np.arange(len(histogram)), histogram)
    low, high = np.percentile(counts, [5, 95])
    return Active(float(counts.mean()), float(low), float(high))


def _demo_facts(demo: dict[str, Any]) -> CardFacts:
    """The head that ``bsa-st demo`` trains on the Human Phenotype Ontology."""
    settings = demo["settings"]
    upper = next(row["ndcg_at_10"] for row in demo["rows"] if row["method"] == "float32")
    own = [row for row in demo["rows"] if row["method"] == "bsa"]
    rows = [
        TableRow(
            "**this model**" if row in own else row["method"],
            row["scoring"],
            row["bytes_per_text"],
            row["ndcg_at_10"],
            row["ndcg_at_10"] / upper,
            row["queries_per_second"],
        )
        for row in demo["rows"]
    ]
    title = f"Find the concept from a synonym: {demo['queries']:,} queries kept out of training, {demo['concepts']:,} concepts."
    return CardFacts(
        hidden_dim=settings["hidden_dim"],
        k=settings["k"],
        selection=settings["selection"],
        base_model=BASE_MODEL,
        license=LICENSE,
        language=[LANGUAGE],
        datasets=["human-phenotype-ontology"],
        **figures_of(demo["figures"]),
        training=[
            "Names, synonyms and definitions of the Human Phenotype Ontology.",
            *training_lines(settings, demo["texts"], demo["seconds_training"], demo["hardware"]),
        ],
        limits=["Trained on biomedical concepts: texts of another kind fire other numbers of features and rank worse."],
        tables=[Table(title, "nDCG@10", rows)],
        results=[
            EvalResult(
                task_type="Retrieval",
                dataset_type="human-phenotype-ontology",
                dataset_name="Human Phenotype Ontology, synonym to concept",
                metric_type="ndcg_at_10",
                metric_name=f"nDCG@10, {row['scoring']}",
                metric_value=row["ndcg_at_10"],
            )
            for row in own
        ],
        source="evaluation/demo.json",
    )


def main() -> None:
    """Entry point."""
    run_command(app, "evaluation.cards")


if __name__ == "__main__":
    main()
