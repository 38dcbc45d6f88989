"""``RESULTS.md``: one screen read out of ``results/encoders/*.json``; and all further tables, for the terminal."""

from __future__ import annotations

from pathlib import Path

from evaluation.comparison.results import Results, Value, read
from evaluation.data.inputs import ENCODERS
from evaluation.markdown import MISSING, markdown_table
from evaluation.methods import METHODS, OURS, RIVALS, SIZED_RIVALS
from evaluation.stock import plain

ONE_SEED = "¹"
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
Seeds after the first were measured before flag-free codes were decoded by the head's own decoder."""
READING = """## How to read it

- **Gained**: where *lead* is above its interval, the code finds more of the neighbours than product, residual and additive quantisers of as
  many bytes; where it is not, it does not. It is over the rivals that the row has: beside a dash at the usual best, OPQ, it says less. The compact form needs no codebooks: every engine with bit vectors can hold it.
- **Lost**: documents must be refined when they are stored, which takes longer than assigning them to codebooks at the same bytes
  (`encode_ms` in the full tables); scores need float queries; sparse codes at the same bytes on disk take more in memory as bit vectors.
- nDCG@10 and Spearman hardly tell methods apart from 1/24 of float32 on: small judged sets move by a point or two by chance. found@10 does.
- Where all texts share a direction (the E5-like embeddings) raw sign bits collapse, and undivided scores lose most.
"""


def write_report(folder: Path) -> Path:
    """Write ``RESULTS.md`` and ``plots/found.png`` where the documents lie, above the folder of results; returns the path of the page."""
    from evaluation.comparison.plots import plot_found  # matplotlib is slow to import and needed here alone

    found = load(folder)
    path = folder.parent.parent / "RESULTS.md"
    plot_found(found, folder.parent.parent / "plots" / "found.png")
    path.write_text(page(found))
    return path


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
    parts.append(
        READING
        + (f"- A dash: not measured. No figure at all: {', '.join(absent)}.\n" if absent else "- A dash: not measured.\n")
    )
    return "\n".join(parts)


def found_table(results: Results) -> str:
    """found@10 by budget: ours, the limit, each rival, and our lead over the best rival."""
    rivals = [name for name in SIZED_RIVALS if any((name, budget) in results.cells for budget in results.budgets)]
    columns = [*(name for name in OURS if any((name, budget) in results.cells for budget in results.budgets)), "limit", *rivals]
    header = ["bytes", "seeds", *(_marked(name) for name in columns), "lead", "bytes above the limit"]
    body = []
    for budget in results.budgets:
        values = {name: results.found(name, budget) for name in columns}
        ours = max((value.mean for name in OURS if (value := values.get(name))), default=None)
        row = [
            f"**{_found(value)}**" if name in rivals and value and ours is not None and value.mean > ours else _found(value)
            for name, value in values.items()
        ]
        seeds = max(len(results.cells.get((name, budget), ())) for name in OURS)
        body.append([str(budget), str(seeds), *row, _lead(results, budget), _above(results, budget)])
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
            names = [*OURS, *([best] if best else [])]
            cells = [_judged(results, name, budget) for name in names]
            cells += [MISSING] * (len(OURS) + 1 - len(cells))
            if any(cell != MISSING for cell in cells):
                body.append(
                    [str(results.content["encoder"]), str(budget), *cells[:-1], f"{best}: {cells[-1]}" if best else MISSING]
                )
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
            figures = [
                results.figure(method, budget, name) for name in ("stored", "cosine", "limit_bytes", "fit_seconds", "encode_ms")
            ]
            tasks = ", ".join(f"{name} {score:.4f}" for name, score in cells[0]["tasks"].items())
            numbers = [MISSING if value is None else f"{value:.4g}" for value in figures]
            rows.append(
                [
                    method,
                    str(budget or MISSING),
                    str(len(cells)),
                    _found(results.found(method, budget)),
                    estimates,
                    *numbers,
                    tasks,
                ]
            )
        header = [
            "method",
            "budget",
            "seeds",
            "found@10",
            "by estimate",
            "bytes",
            "cosine",
            "limit's bytes",
            "fit s",
            "encode ms",
            "first seed",
        ]
        parts.append(f"## {_heading(results)}\n\n{markdown_table(header, rows)}\n")
    return "\n".join(parts)


def best_rival(results: Results, budget: int) -> str | None:
    """The rival that finds most at this budget."""
    found = {name: value.mean for name in SIZED_RIVALS if (value := results.found(name, budget))}
    return max(found, key=lambda name: found[name]) if found else None


def _heading(results: Results) -> str:
    content = results.content
    return (
        f"{content['encoder']}: {content['width']} dimensions ({content['effective_dimensions']:.0f} effective), "
        f"mean cosine {content['mean_cosine']:.2f}"
    )


def _marked(name: str) -> str:
    return name + (ONE_SEED if METHODS[name].seeds == 1 and name in RIVALS else "")


def _found(value: Value | None) -> str:
    return MISSING if value is None else f"{100 * value.mean:.1f} ±{100 * value.half:.1f}"


def _lead(results: Results, budget: int) -> str:
    best = best_rival(results, budget)
    leads = [lead for name in OURS if best and (lead := results.lead(name, best, budget))]
    if not leads:
        return MISSING
    lead = max(leads)
    return f"{100 * lead.mean:+.1f} ±{100 * lead.half:.1f}"


def _above(results: Results, budget: int) -> str:
    needed = results.figure(OURS[0], budget, "limit_bytes")
    return MISSING if needed is None else f"{budget - needed:.0f}"


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
