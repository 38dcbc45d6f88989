"""INTERPRETABILITY.md and its plot, rendered from the results file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NAMES = {
    "bsa-threshold": "BSA threshold",
    "bsa-topk": "BSA topk",
    "csr": "CSR",
    "dense": "dense dimensions",
    "sign": "sign bits",
}
COLOURS = {"bsa-threshold": "tab:orange", "bsa-topk": "tab:red", "csr": "tab:brown", "dense": "black", "sign": "tab:green"}
PLOT = Path("plots/interpretability.png")


def write_document(results: Path) -> Path:
    """Write ``INTERPRETABILITY.md`` and ``plots/interpretability.png`` beside a results file; return the document's path."""
    found = json.loads(results.read_text())
    _plot(found, results.parent / PLOT)
    path = results.parent / "INTERPRETABILITY.md"
    path.write_text(render(found), encoding="utf-8")
    return path


def render(found: dict[str, Any]) -> str:
    """The document as Markdown."""
    settings = found["settings"]
    parts = [
        "# Interpretability",
        "Written by `python -m evaluation.interpretability --render-only` from `interpretability.json`; do not edit. "
        "`python -m evaluation.interpretability --data DIR` measures again. "
        f"Encoder {found['encoder']}; all heads have D = {settings['hidden_dim']}, k = {settings['k']}, {settings['steps']} training steps on "
        f"{settings['training_texts']:,} general texts, two seeds. CSR is sentence-transformers' `SparseAutoEncoder` with `CSRLoss`.",
        "## k-sparse probing",
        "Test accuracy of a logistic regression on the best k columns (largest F value between the classes on the training texts). "
        + _verdict(found["probing"]),
    ]
    for name, task in found["probing"].items():
        sizes = sorted({int(size) for line in task["accuracy"].values() for size in line})
        rows = [[NAMES[method], *(_score(line.get(str(size))) for size in sizes)] for method, line in task["accuracy"].items()]
        parts += [
            f"### {name}: {task['classes']} classes, {task['train']:,} training and {task['test']:,} test texts",
            _table(["columns", *map(str, sizes)], rows),
        ]
    parts += [
        f"![Accuracy of sparse probes]({PLOT.as_posix()})",
        "## Stability between seeds",
        "Decoder directions of two seeds, matched one to one (Hungarian algorithm), and each with its most alike in the other head. "
        "`chance` matches a head with random directions of the same covariance. Same: cosine of at least .7.",
        _table(
            ["head", "matched cosine", "mean max cosine", "same", "matched cosine, chance", "mean max cosine, chance"],
            [
                [
                    NAMES[family],
                    *(_score(line[name]) for name in ("matched_cosine", "mean_max_cosine")),
                    f"{line['same_share']:.1%}",
                    *(_score(line["chance"][name]) for name in ("matched_cosine", "mean_max_cosine")),
                ]
                for family, line in found["stability"].items()
            ],
        ),
        "## Labels that predict firing",
        "Terms are chosen on 70 % of the texts; the AUC says how well they tell which of the other 30 % fire the feature. "
        "The share with an AUC of at least .8 is of all features, those that fire too rarely to be measured included.",
        _table(
            ["head", "texts", "active per text", "never fired", "measured", "mean AUC", "AUC at least .8"],
            [
                [
                    NAMES[family],
                    f"{line['texts']:,}",
                    f"{line['active_mean']:.1f}",
                    str(line["never_fired"]),
                    str(line["measured"]),
                    _score(line["mean_auc"]),
                    f"{line['share_reliable']:.1%}",
                ]
                for family, line in found["labels"].items()
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(probing: dict[str, Any], size: str = "8") -> str:
    """One sentence on who is ahead with a few columns, whoever that is."""
    places = []
    for name, task in probing.items():
        line = {NAMES[method]: scores[size] for method, scores in task["accuracy"].items() if size in scores}
        ranked = sorted(line, key=lambda method: -line[method])
        places.append(f"on {name} " + ", ".join(f"{method} {line[method]:.3f}" for method in ranked))
    return f"With {size} columns, best first: {'; '.join(places)}."


def _plot(found: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(found["probing"]), figsize=(9.5, 3.8), squeeze=False)
    for place, (name, task) in zip(axes[0], found["probing"].items(), strict=True):
        for method, line in task["accuracy"].items():
            sizes = sorted(map(int, line))
            place.plot(sizes, [line[str(size)] for size in sizes], marker="o", ms=4, label=NAMES[method], color=COLOURS[method])
        place.set(title=name, xscale="log", xlabel="columns used", ylabel="test accuracy", ylim=(0, 1))
        place.set_xticks(sizes, [str(size) for size in sizes])
        place.minorticks_off()
        place.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
