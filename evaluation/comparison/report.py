"""``RESULTS.md``: one screen read out of ``results/encoders/*.json``, with its picture; and all further tables, for the terminal."""

from __future__ import annotations

from pathlib import Path

from evaluation.comparison.results import Results, Value, read
from evaluation.data.inputs import ENCODERS
from evaluation.markdown import MISSING, markdown_table
from evaluation.methods import METHODS, OURS, RIVALS, SIZED_RIVALS
from evaluation.stock import plain

ONE_SEED = "¹"
COLOURS = ("#0072b2", "#009e73")
"""Of ours in the picture; from the palette of Okabe and Ito, which colour-blind readers can tell apart."""
FIGURES = {
    "stored": "bytes",
    "cosine": "cosine",
    "limit_bytes": "limit's bytes",
    "fit_seconds": "fit s",
    "encode_ms": "encode ms",
}
"""Of every cell, in the full tables."""
TITLE = """# Results

found@10 is the share of the float embeddings' own ten nearest documents among the ten found: {queries:,} queries on {documents:,} general
sentences, {training:,} others to learn from. Float queries; every method is centred, trained on the same rows by its authors'
defaults, and rivals are scored by that estimate of five (divided by the decoded length, by a softened one, by the centred one, undivided, on the sphere)
which finds most, ours by the softened one that the package uses. In per cent, with 95 % intervals over queries and seeds: as many seeds of ours as the
row says, three at most of rivals, one where marked {one_seed} (fits of minutes).

*Limit* is no method: it is what a code at the Gaussian rate-distortion bound of the embeddings' covariance would find. Where a rival
finds more than both of ours, it is bold. `python -m evaluation --data DATA` writes this page; `python -m evaluation --report-only --full`
prints what it leaves out: each estimate, cosines, seconds to fit, milliseconds to encode, each judged set.

![found@10 against bytes](plots/found.png)
"""
PLAIN = """## Plain sentence-transformers, through mteb's own wrapper

What `SentenceTransformer("org/model-bsa")` gives without a flag and without this package: documents by `encode_document`, queries by `encode_query`,
sentence pairs by `encode` (code against code). Mean over seeds, and their range. `python -m evaluation.stock.plain DATA` measures it.
The heads are fitted apart from those of the tables below, to the same texts."""
READING = """## How to read it

- **Gained**: where *lead* is above its interval, the code finds more of the neighbours than product, residual and additive quantisers of as
  many bytes; where it is not, it does not. It is over the rivals that the row has: beside a dash at OPQ or RQ, the usual best, it says less. The compact form needs no codebooks: every engine with bit vectors can hold it.
- **Lost**: documents must be refined when they are stored, which takes longer than assigning them to codebooks at the same bytes
  (`encode_ms` in the full tables); scores need float queries; sparse codes at the same bytes on disk take more in memory as bit vectors.
- nDCG@10 and Spearman hardly tell methods apart from 1/24 of float32 on: small judged sets move by a point or two by chance. found@10 does.
- Where all texts share a direction (the E5-like embeddings) raw sign bits collapse, and undivided scores lose most.
- Documents are refined by 48 relaxed steps, the default.
"""


def write_report(folder: Path) -> Path:
    """Write ``RESULTS.md`` and ``plots/found.png`` where the documents lie, above the folder of results; returns the path of the page."""
    found = load(folder)
    path = folder.parent.parent / "RESULTS.md"
    plot_found(found, folder.parent.parent / "plots" / "found.png")
    path.write_text(page(found))
    return path


def plot_found(found: list[Results], path: Path) -> None:
    """Save found@10 against bytes, a panel per encoder: ours and the limit in colour, rivals in grey with their names."""
    from matplotlib.figure import Figure  # slow to import and needed here alone

    figure = Figure(figsize=(4.5 * max(1, len(found)), 4))
    panels = figure.subplots(1, max(1, len(found)), squeeze=False, sharey=True)[0]
    for panel, results in zip(panels, found, strict=False):
        largest = max(results.budgets, default=0)
        for number, name in enumerate([*RIVALS, "limit", *OURS]):
            points = sorted(
                (size, 100 * value.mean)
                for method, budget in results.cells
                if method == name and (value := results.found(name, budget))
                if (size := results.figure(name, budget, "stored") or 0.0) <= 1.1 * largest
            )
            if not points:
                continue
            style = {"color": "#999999", "linewidth": 0.9, "marker": "." if METHODS[name].sized else "o"}
            if name in OURS:
                style = {"color": COLOURS[OURS.index(name)], "linewidth": 2.2, "marker": "o"}
            if name == "limit":
                style |= {"color": "black", "linestyle": ":"}
            panel.plot(*zip(*points, strict=True), label=name, **style)
            lift = 0 if METHODS[name].sized else 8 * (number % 3 - 1)  # methods of one size lie close together
            panel.annotate(name, points[-1], fontsize=6, xytext=(3, lift), textcoords="offset points", color=style["color"])
        panel.set_title(results.content["encoder"], fontsize=9)
        panel.set_xlabel("bytes per text")
        panel.set_ylim(40, 100)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("found@10, %")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def load(folder: Path) -> list[Results]:
    """Results of all encoders that have some, known ones first."""
    names = [path.stem for path in sorted(folder.glob("*.json"))]
    return [read(folder / f"{name}.json") for name in sorted(names, key=[*ENCODERS, *names].index)]


def page(found: list[Results]) -> str:
    """The page, Markdown."""
    if not found:
        return "# Results\n\nNone yet: `python -m evaluation --data DATA`.\n"
    sizes = {name: found[0].content[name] for name in ("queries", "documents", "training")}
    parts = [TITLE.format(**sizes, one_seed=ONE_SEED)]
    if rows := plain.table():
        parts.append(f"{PLAIN}\n\n{rows}\n")
    for results in found:
        parts.append(f"## {_heading(results)}\n\n{found_table(results)}\n")
    parts.append(f"## Methods of one size\n\n{fixed_table(found)}\n")
    parts.append(f"## Judged sets\n\n{judged_table(found)}\n")
    absent = [name for name in SIZED_RIVALS if not any(name == method for results in found for method, _ in results.cells)]
    dash = "- A dash: not measured." + (f" No figure at all: {', '.join(absent)}." if absent else "")
    return "\n".join([*parts, f"{READING}{dash}\n"])


def found_table(results: Results) -> str:
    """found@10 by budget: ours, the limit, each rival, and our lead over the best rival."""

    def measured(name: str) -> bool:
        return any((name, budget) in results.cells for budget in results.budgets)

    rivals = [name for name in SIZED_RIVALS if measured(name)]
    columns = [*(name for name in OURS if measured(name)), "limit", *rivals]
    header = [
        "bytes",
        "seeds",
        *(name + (ONE_SEED if name in RIVALS and METHODS[name].seeds == 1 else "") for name in columns),
        "lead",
        "bytes above the limit",
    ]
    body = []
    for budget in results.budgets:
        values = {name: results.found(name, budget) for name in columns}
        ours = max((value.mean for name in OURS if (value := values.get(name))), default=None)
        row = [
            f"**{_found(value)}**" if name in rivals and value and ours is not None and value.mean > ours else _found(value)
            for name, value in values.items()
        ]
        seeds = max(len(results.cells.get((name, budget), ())) for name in OURS)
        needed = results.figure(OURS[0], budget, "limit_bytes")
        above = MISSING if needed is None else f"{budget - needed:.0f}"
        body.append([str(budget), str(seeds), *row, _lead(results, budget), above])
    return markdown_table(header, body)


def fixed_table(found: list[Results]) -> str:
    """Methods that have one size: bytes and found@10 by encoder, beside ours at the largest budget that is not above."""
    names = [name for name in RIVALS if not METHODS[name].sized and any((name, 0) in results.cells for results in found)]
    header = ["method", *(str(results.content["encoder"]) for results in found)]
    return markdown_table(header, [[name, *(_fixed(results, name) for results in found)] for name in names]) + (
        "\n\nBytes: found@10; behind it the best of ours at the largest measured budget of at most as many bytes."
    )


def judged_table(found: list[Results]) -> str:
    """nDCG@10 and Spearman as shares of float32: ours and the best rival."""
    body = []
    for results in found:
        for budget in results.budgets:
            best = best_rival(results, budget)
            cells = [_judged(results, name, budget) for name in OURS]
            rival = _judged(results, best, budget) if best else MISSING
            if {*cells, rival} != {MISSING}:
                body.append([results.content["encoder"], str(budget), *cells, f"{best}: {rival}" if best else MISSING])
    table = markdown_table(["encoder", "bytes", *OURS, "rival that finds most"], body)
    names = list(dict.fromkeys(name for results in found for cell in results.content["cells"] for name in cell["tasks"]))
    collections, rated = ([name for name in names if name.startswith("sts") == sts] for sts in (False, True))
    return (
        f"Mean nDCG@10 over {', '.join(collections) or 'nothing yet'} / mean Spearman over {', '.join(rated) or 'nothing yet'}, in per cent of float32's, "
        f"mean over seeds.\n\n{table}"
    )


def full_tables(folder: Path) -> str:
    """Every cell of every encoder, one table each."""
    parts = []
    for results in load(folder):
        rows = []
        for (method, budget), cells in results.cells.items():
            estimates = ", ".join(
                f"{name} {100 * sum(cell['found'][name] for cell in cells) / len(cells):.1f}" for name in cells[0]["found"]
            )
            figures = [results.figure(method, budget, name) for name in FIGURES]
            tasks = ", ".join(f"{name} {score:.4f}" for name, score in cells[0]["tasks"].items())
            numbers = [MISSING if value is None else f"{value:.4g}" for value in figures]
            found = _found(results.found(method, budget))
            rows.append([method, str(budget or MISSING), str(len(cells)), found, estimates, *numbers, tasks])
        header = ["method", "budget", "seeds", "found@10", "by estimate", *FIGURES.values(), "first seed"]
        parts.append(f"## {_heading(results)}\n\n{markdown_table(header, rows)}\n")
    return "\n".join(parts)


def best_rival(results: Results, budget: int) -> str | None:
    """The rival that finds most at this budget."""
    found = {name: value.mean for name in SIZED_RIVALS if (value := results.found(name, budget))}
    return max(found, key=found.__getitem__, default=None)


def _heading(results: Results) -> str:
    content = results.content
    return (
        f"{content['encoder']}: {content['width']} dimensions ({content['effective_dimensions']:.0f} effective), "
        f"mean cosine {content['mean_cosine']:.2f}"
    )


def _found(value: Value | None) -> str:
    return MISSING if value is None else f"{100 * value.mean:.1f} ±{100 * value.half:.1f}"


def _lead(results: Results, budget: int) -> str:
    best = best_rival(results, budget)
    lead = max((lead for name in OURS if best and (lead := results.lead(name, best, budget))), default=None)
    return MISSING if lead is None else f"{100 * lead.mean:+.1f} ±{100 * lead.half:.1f}"


def _fixed(results: Results, name: str) -> str:
    stored, value = results.figure(name, 0, "stored"), results.found(name, 0)
    if stored is None or value is None:
        return MISSING
    below = [budget for budget in results.budgets if budget <= stored]
    ours = [found.mean for own in OURS if below and (found := results.found(own, below[-1]))]
    return f"{stored:.0f}: {_found(value)}" + (f" ({max(ours) * 100:.1f} at {below[-1]})" if ours else "")


def _judged(results: Results, name: str, budget: int) -> str:
    shares = [results.share(name, budget, kind) for kind in ("ndcg", "spearman")]
    return MISSING if None in shares else " / ".join(f"{100 * share:.1f}" for share in shares if share is not None)
