"""INTERPRETABILITY.md, rendered from the results file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation.data.encoders import MPNET, WORDLLAMA
from evaluation.jsonfiles import read_json
from evaluation.markdown import records_table

NAMES = {
    "named": "**named features**, plain",
    "shipped": "named features that ship",
    "refined": "the same atoms, refined codes",
    "learnt_names": "named features, then BSA's losses",
    "bsa": "BSA's losses",
    "topk": "TopK sparse autoencoder",
    "csr": "CSR",
    "nmf": "NMF topics",
    "lda": "LDA topics",
}
DENSE = "dense dimensions"
SOURCES = {"general": "general sentences", "hpo": "phenotype ontology, its names"}


def write_document(results: Path) -> Path:
    """Write ``INTERPRETABILITY.md`` beside a results file; return its path."""
    path = results.parent.parent / "INTERPRETABILITY.md"
    path.write_text(render(read_json(results)), encoding="utf-8")
    return path


def render(found: dict[str, Any]) -> str:
    """The document as Markdown."""
    bounds, explained = found["bounds"], found["explained"]["sts"]
    rates, tags = bounds["rates"], bounds["tags"]
    return (
        "\n\n".join(
            [
                "# Interpretability",
                "Written by `python -m evaluation.interpretability --render-only` from `results/interpretability.json`; do not edit. "
                f"`python -m evaluation.interpretability --data DIR` measures what is missing. Encoder {found['encoder']}.",
                "## Does the name say when a feature fires?",
                "Detection: an encoder that had no part in the features sees a label and held-out texts, and ranks the texts by their cosine with the label. "
                "*Good* is the share of the features with an AUC of at least .8, with its 95 % bootstrap interval over features; up to 1,000 features of each method "
                f"are judged, those that fire on at least five texts. The judges are {WORDLLAMA} (all held-out texts) and {MPNET} (a sample). *At one rate*: only the "
                "strongest 0.3 % of the texts of a feature count, as rare features look better. *Pure*: share of the ten strongest and of all firing texts among the 5 % "
                "nearest to the label.",
                records_table(
                    [
                        _row(method, source, found[source][method])
                        for source in SOURCES
                        for method in NAMES
                        if method in found.get(source, {})
                    ]
                ),
                _note(found["general"]),
                "## Do few features tell a class, and does a second seed find them again?",
                "Sparse probing: AUC on test texts of the one and of the five features that differ most between an intent of BANKING77 and the other 76, mean over the "
                f"intents; *{DENSE}* are the encoder's own, each taken for a feature. Stability: features of two seeds matched one to one (Hungarian method), mean cosine of the "
                "matched directions and share of at least .8; the seeds of named features are two overlapping samples of 20,000 of the 30,000 texts.",
                records_table([_second_row(method, found) for method in ("dense", *NAMES) if method in found["probing"]]),
                "## Bounds",
                f"On {rates['texts']:,} texts the most frequent of {rates['names']:,} names is on {rates['highest_rate']:.1%} of them and {rates['never_share']:.1%} of the "
                f"names on none; {rates['without_a_tag']:.1%} of the texts have no name. Tags of {tags['texts']:,} texts took {tags['seconds']:.2f} s beyond the encoder.",
                "## How much of a match do the names explain?",
                f"{explained['pairs']} pairs of the test part of STSBenchmark with a rating of at least 4, at most {explained['names']} names each: the named part is at least half "
                f"of the cosine for {explained['at_least_half']:.1%} of the pairs, {explained['median_share']:.0%} of it in the median and {explained['tenth_percentile']:.0%} at "
                f"the tenth percentile. Parts and rest differ from the score by at most {explained['largest_error']:.0e}.",
            ]
        )
        + "\n"
    )


def claim(found: dict[str, Any]) -> str:
    """The figures as the README states them."""
    general, explained, rates = found["general"]["named"], found["explained"]["sts"], found["bounds"]["rates"]
    lines = [
        f"Of {general['features']:,} words as names, {general[WORDLLAMA]['share']:.1%} say when their feature fires (AUC of at least .8 on held-out texts, judged by "
        f"{WORDLLAMA}) and {general[MPNET]['share']:.1%} by {MPNET}, two encoders that had no part in them."
    ]
    if "hpo" in found:
        hpo = found["hpo"]["named"]
        lines.append(f"With the ontology's own names: {hpo[WORDLLAMA]['share']:.1%} and {hpo[MPNET]['share']:.1%}.")
    lines.append(
        f"The names explain at least half of the score for {explained['at_least_half']:.1%} of the true pairs of STSBenchmark. The most frequent name is on "
        f"{rates['highest_rate']:.1%} of the texts."
    )
    return " ".join(lines) + "\n"


def _note(general: dict[str, Any]) -> str:
    """What to know about the rows that are there."""
    parts = ["Mean AUC, balanced accuracy and purity are those of the first judge."]
    if any("steps" in line for line in general.values()):
        parts.append(
            "*Steps*: of 512 texts each, from 30,000; BSA was published with 2,000, others train longer, and one core affords what the column says. Labels of learnt features are "
            "distinctive terms; features without any (*labelled*) are not judged. Named features that were trained further keep their name where their atom is still nearest to it."
        )
    if "shipped" in general:
        parts.append("Those that ship got their names and thresholds from texts of other kinds (definitions, news, debates).")
    if any(method in general for method in ("nmf", "lda")):
        parts.append("Topics are labelled by their three heaviest words.")
    if "refined" in general:
        parts.append(
            "The refined row has the atoms of the first row as its decoder: what is searched should be refined, what is read should not."
        )
    if missing := [name for method, name in NAMES.items() if method not in general]:
        parts.append(f"Not measured yet: {'; '.join(missing)}.")
    return " ".join(parts)


def _row(method: str, source: str, line: dict[str, Any]) -> dict[str, str]:
    first = line[WORDLLAMA]
    return {
        "features": NAMES[method],
        "texts": SOURCES[source],
        "D": f"{line['features']:,}",
        "steps": f"{line['steps']:,}" if "steps" in line else "-",
        "labelled": f"{line['labelled'] / line['features']:.0%}",
        "active": f"{line['active']:.1f}",
        **{f"good, {name}": _share(line[name]) for name in (WORDLLAMA, MPNET)},
        **{f"at one rate, {name}": _share(line[f"{name}_matched"]) for name in (WORDLLAMA, MPNET)},
        "mean AUC": f"{first.get('mean_auc', 0):.2f}",
        "balanced accuracy": f"{first.get('mean_accuracy', 0):.2f}",
        "pure: strongest / all": f"{first.get('mean_pure_strongest', 0):.0%} / {first.get('mean_pure_all', 0):.0%}",
    }


def _second_row(method: str, found: dict[str, Any]) -> dict[str, str]:
    probed, stable, line = found["probing"][method], found.get("stability", {}).get(method), found["general"].get(method)
    return {
        "features": NAMES.get(method, DENSE),
        "D": f"{line['features']:,}" if line else "384",
        "AUC, one feature": f"{probed['auc_1']:.3f}",
        "AUC, five": f"{probed['auc_5']:.3f}",
        "stability: mean cosine": f"{stable['mean_cosine']:.2f}" if stable else "-",
        "share of at least .8": f"{stable['alike']:.0%}" if stable else "-",
    }


def _share(line: dict[str, Any]) -> str:
    if not line["measured"]:
        return "-"
    low, high = line["interval"]
    return f"{line['share']:.1%} ({low:.0%} to {high:.0%}; {line['measured']:,})"
