"""Section: general, biomedical and scientific texts and short intents; and the published claim, measured again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from transformers import TrainerCallback

from bsa_st import BSAError, DistillSettings
from bsa_st.demo.hpo import load_concepts, synonym_task
from bsa_st.inputs.texts import numbered_lines
from bsa_st.training import train_head
from bsa_st.training.monitor import code_statistics
from evaluation.folders import find_file
from evaluation.markdown import markdown_table, score
from evaluation.paper.cells import Cell, Results
from evaluation.paper.figures import picture
from evaluation.paper.heads import FIRING_TEXTS, as_method, base, refitted, rows_for
from evaluation.paper.inputs import QUICK_CONCEPTS, Inputs
from evaluation.paper.methods.base import Encoded, Method, best
from evaluation.paper.methods.baselines import baseline
from evaluation.paper.quality import retrieval, similarity
from evaluation.paper.statistics import mean_interval
from evaluation.tasks import HPO

title = "Domains, and the published claim"

INTENTS = "banking77"
NEIGHBOURS = 10
DOMAINS = {
    "general": ("stsbenchmark", "time"),
    "biomedical": (HPO, "medquad", "mayosrs", "umnsrs_similarity", "umnsrs_relatedness", "bio_simlex"),
    "scientific abstracts": ("scifact", "cranfield", "cisi", "med"),
    "short intents": (INTENTS,),
}
TASKS = [task for tasks in DOMAINS.values() for task in tasks]
PAIRS = ("stsbenchmark", "mayosrs", "umnsrs_similarity", "umnsrs_relatedness", "bio_simlex")
BASELINES = ("float32", "sign-centered", "pq-48")
HEADS = {"bsa-general-small": (1024, 64), "bsa-general": (1536, 200), "bsa-biomedical": (1536, 200)}
"""Hidden_dim and k; the larger ones take about a fourteenth of float32's bytes."""

LABELS = {
    "float32": "float32",
    "sign-centered": "sign bits",
    "pq-48": "PQ",
    "bsa-general-small": "BSA, general",
    "bsa-general": "BSA, general",
    "bsa-biomedical": "BSA, biomedical",
}
BIOMEDICAL = "bsa-biomedical"
CURVE_SEEDS = (0, 1, 2)
LOG_EVERY, EVALUATE_EVERY = 10, 50


def cells(quick: bool) -> list[Cell]:
    """A cell per method with all tasks, then the training of the biomedical head with other seeds."""
    if quick:
        return [Cell("float32", partial(measure_baseline, "float32")), Cell(f"{BIOMEDICAL}-0", partial(measure_biomedical, 0))]
    heads = [Cell(name, partial(measure_head, name)) for name in HEADS if name != BIOMEDICAL]
    claims = [Cell(f"{BIOMEDICAL}-{seed}", partial(measure_biomedical, seed)) for seed in CURVE_SEEDS]
    return [claims[0], *(Cell(name, partial(measure_baseline, name)) for name in BASELINES), *heads, *claims[1:]]


def measure_baseline(name: str, inputs: Inputs) -> dict[str, Any]:
    """A baseline, fitted to general texts, on all tasks."""
    method = baseline(name)
    method.fit(rows_for(inputs))
    return {"method": name, "tasks": scores_of(method, inputs)}


def measure_head(name: str, inputs: Inputs) -> dict[str, Any]:
    """A head trained on general texts, refined and refitted, on all tasks."""
    hidden_dim, k = HEADS[name]
    settings = base(inputs.quick, hidden_dim=hidden_dim, k=k)
    rows = rows_for(inputs)
    head = refitted(train_head(rows, settings, show_progress_bar=False), rows)
    fired = code_statistics(head, rows[:FIRING_TEXTS])["never_fired"]
    return {"method": name, "never_fired": fired, "tasks": scores_of(as_method(head, settings, refine=True), inputs)}


class Curve(TrainerCallback):
    """What the trainer logs: the losses every few steps, the state of the features at every evaluation."""

    def __init__(self) -> None:
        self.losses: list[dict[str, float]] = []
        self.states: list[dict[str, float]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        logs = logs or {}
        step = {"step": float(state.global_step)}
        losses = {name: float(logs[name]) for name in ("loss", "reconstruction_loss", "alignment_loss") if name in logs}
        states = {name: float(logs[f"eval_{name}"]) for name in STATES if f"eval_{name}" in logs}
        if losses:
            self.losses.append(step | losses)
        if states:
            self.states.append(step | states)


STATES = ("never_fired", "reconstruction_cosine", "highest_rate")


def measure_biomedical(seed: int, inputs: Inputs) -> dict[str, Any]:
    """The published claim: a head for biomedical concepts, its loss curves, features never fired, bytes and quality."""
    concepts = load_concepts()[:QUICK_CONCEPTS] if inputs.quick else load_concepts()
    rows = inputs.store.training(synonym_task(concepts).training)
    sizes: dict[str, Any] = {} if inputs.quick else dict(zip(("hidden_dim", "k"), HEADS[BIOMEDICAL], strict=True))
    settings: DistillSettings = base(inputs.quick, **sizes, seed=seed, eval_steps=4 if inputs.quick else EVALUATE_EVERY)
    curve = Curve()
    logging = {"logging_steps": 2 if inputs.quick else LOG_EVERY}
    head = train_head(rows, settings, callbacks=[curve], training_args=logging, show_progress_bar=False)
    fired = code_statistics(head, rows)
    facts = {
        "method": BIOMEDICAL,
        "seed": seed,
        "texts": len(rows),
        "hidden_dim": settings.hidden_dim,
        "never_fired": fired["never_fired"],
        "highest_rate": round(fired["highest_rate"], 4),
        "losses": curve.losses,
        "states": curve.states,
    }
    if seed == CURVE_SEEDS[0]:
        better = refitted(head, rows[np.random.default_rng(0).permutation(len(rows))])
        facts["tasks"] = scores_of(as_method(better, settings, refine=True), inputs)
    return facts


def scores_of(method: Method, inputs: Inputs) -> dict[str, Any]:
    """Scores by task; a task whose data is not there is left out. Float queries, except pairs and intents: code against code."""
    one_sided = next(name for name in ("asymmetric", "symmetric") if name in method.scorings)
    both = next(name for name in ("decoded", "symmetric") if name in method.scorings)
    found: dict[str, Any] = {}
    for task in [HPO] if inputs.quick else TASKS:
        try:
            if task == INTENTS:
                found[task] = intents(method, inputs, both)
            elif task in PAIRS:
                found[task] = similarity(method, inputs.pairs(task), inputs.store, both)
            else:
                found[task] = retrieval(method, inputs.collection(task), one_sided)
        except BSAError as error:
            found[task] = {"missing": str(error)}
    return found


def intents(method: Method, inputs: Inputs, scoring: str) -> dict[str, Any]:
    """Share of Banking77's test texts whose intent the ten most similar training texts vote for; keys as in :func:`retrieval`."""
    (train_texts, train_labels), (test_texts, test_labels) = (_read_intents(inputs, split) for split in ("train", "test"))
    labelled, asked = (
        Encoded(dense, method.encode(dense))
        for dense in (np.array(inputs.store.training(texts), dtype=np.float32) for texts in (train_texts, test_texts))
    )
    names, numbers = np.unique(train_labels, return_inverse=True)
    nearest = numbers[best(method.broken_ties(asked, labelled, scoring), NEIGHBOURS)]
    votes = np.stack([np.bincount(row, minlength=len(names)) for row in nearest])
    correct = (names[votes.argmax(axis=1)] == np.array(test_labels)).astype(float)
    low, high = mean_interval(correct)
    size = method.stored_bytes(labelled, scoring)
    figures = {"score": float(correct.mean()), "low": low, "high": high, "bytes": size}
    return {name: round(value, 5) for name, value in figures.items()} | {"queries": len(correct)}


def _read_intents(inputs: Inputs, split: str) -> tuple[list[str], list[str]]:
    path = find_file(inputs.data / f"cls_{INTENTS}", f"{split}.tsv") if inputs.data else None
    if path is None:
        raise BSAError(f"{INTENTS} is not in the data folder")
    rows = [line.split("\t") for _, line in numbered_lines(path)][1:]
    return [row[0] for row in rows], [row[1] for row in rows]


def render(results: Results, pictures: Path) -> str:
    """The loss curves, the claim in one sentence, quality by domain."""
    claims = [one for one in results.values() if one["method"] == BIOMEDICAL]
    measured = {one["method"]: one for one in results.values() if "tasks" in one}
    methods = {name: measured[name] for name in LABELS if name in measured}
    text = []
    if claims:
        text += [_curves(claims, pictures), _claim(claims, methods)]
    if methods:
        text += [_bars(methods, pictures), _table(methods), EXPLANATION]
    return "\n\n".join(text)


EXPLANATION = """Retrieval: nDCG@10, float queries against stored codes. Pairs (stsbenchmark, MayoSRS, UMNSRS, Bio-SimLex): Spearman's correlation with human
ratings, both texts as codes. Banking77: accuracy of the ten nearest labelled texts' vote, codes against codes. 95 % bootstrap intervals are in the JSON.
BSA, sign bits and PQ learn from general sentences; `BSA, biomedical` from the HPO's names, definitions and synonyms without the queries, so its other
rows show what a narrow collection costs elsewhere. BSA codes are refined, one round of refit."""


def _sizes(one: dict[str, Any]) -> float:
    found = [task["bytes"] for name, task in one["tasks"].items() if "bytes" in task and name not in PAIRS]
    return float(np.mean(found))


def _claim(claims: list[dict[str, Any]], methods: dict[str, Any]) -> str:
    first = claims[0]
    dead = ", ".join(str(one["never_fired"]) for one in claims)
    peaks = ", ".join(
        f"{max((one['states'][i]['never_fired'] for i in range(len(one['states']))), default=0):.0f}" for one in claims
    )
    rises = max(_largest_rise(one["losses"]) for one in claims)
    text = [
        f"**The published claim.** A head of {first['hidden_dim']} features trained on {first['texts']:,} biomedical texts, {len(claims)} seed{'s' * (len(claims) > 1)}, nothing"
        f" revived: {dead} features never fire on the training texts at the end ({peaks} at the worst evaluation during training). After the first tenth of"
        f" the steps the logged loss (mean of {LOG_EVERY} steps) never rises above its lowest earlier value by more than {rises:.1%}."
    ]
    if BIOMEDICAL in methods and HPO in methods[BIOMEDICAL]["tasks"]:
        mine = methods[BIOMEDICAL]["tasks"][HPO]
        text.append(f"Bytes per concept: {mine['bytes']:.0f}, {1536 / mine['bytes']:.1f} times fewer than float32.")
        if "float32" in methods:
            dense = methods["float32"]["tasks"][HPO]["score"]
            text.append(f"nDCG@10 {score(mine['score'])} against {score(dense)} ({mine['score'] / dense:.1%}).")
    return " ".join(text)


def _largest_rise(losses: list[dict[str, float]]) -> float:
    values = np.array([one["loss"] for one in losses if "loss" in one])
    values = values[len(values) // 10 :]
    if len(values) < 2:
        return 0.0
    lowest = np.minimum.accumulate(values)
    return float((values / lowest - 1).max())


def _curves(claims: list[dict[str, Any]], pictures: Path) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.3))
    for number, one in enumerate(claims):
        for key, style in (("reconstruction_loss", "-"), ("alignment_loss", "--")):
            points = [(log["step"], log[key]) for log in one["losses"] if key in log]
            label = key.replace("_", " ") if number == 0 else None
            left.plot([x for x, _ in points], [y for _, y in points], style, color=f"C{number}", label=label, lw=1)
        steps = [state["step"] for state in one["states"]]
        right.plot(
            steps, [state["never_fired"] for state in one["states"]], "o-", color=f"C{number}", label=f"seed {one['seed']}"
        )
    left.set(xlabel="step", ylabel="loss", yscale="log")
    right.set(xlabel="step", ylabel=f"never fired, of {claims[0]['hidden_dim']} features")
    for axes in (left, right):
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return picture(figure, pictures, "domains-curves", "Loss curves and features that never fire, biomedical head")


def _bars(methods: dict[str, Any], pictures: Path) -> str:
    tasks = [task for task in TASKS if any("score" in one["tasks"].get(task, {}) for one in methods.values())]
    figure, axes = plt.subplots(figsize=(10, 3.6))
    width = 0.8 / len(methods)
    for number, (name, one) in enumerate(methods.items()):
        values = [one["tasks"].get(task, {}).get("score", np.nan) for task in tasks]
        places = np.arange(len(tasks)) + (number - len(methods) / 2 + 0.5) * width
        axes.bar(places, values, width, label=f"{LABELS[name]}, {_sizes(one):.0f} B")
    axes.set(xticks=range(len(tasks)), ylabel="nDCG@10, Spearman or accuracy")
    axes.set_xticklabels(tasks, rotation=30, ha="right", fontsize=8)
    axes.legend(fontsize=7, ncol=3)
    axes.grid(alpha=0.3, axis="y")
    return picture(figure, pictures, "domains", "Quality by task and method")


def _table(methods: dict[str, Any]) -> str:
    header = ["domain", "task", "queries or pairs", *(f"{LABELS[name]}, {_sizes(one):.0f} B" for name, one in methods.items())]
    body = []
    for domain, tasks in DOMAINS.items():
        for task in tasks:
            found = [one["tasks"].get(task, {}) for one in methods.values()]
            count = next((one["queries"] for one in found if "queries" in one), None)
            if count is not None:
                body.append([domain, task, f"{count:,}", *(score(one["score"]) if "score" in one else "-" for one in found)])
    return markdown_table(header, body)
