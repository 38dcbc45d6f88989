"""The plots and sentences of the section on theory, from its results alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from evaluation.markdown import markdown_table, score
from evaluation.paper.cells import Results
from evaluation.paper.figures import picture
from evaluation.paper.overlapmodel import (
    bits_needed,
    entropy,
    fixed_variance,
    free_variance,
    postings_touched,
    sign_resolution,
    sparse_resolution,
)

RESOLUTION = 0.05
MIDDLE = 0.5
FINE = np.linspace(0.03, 0.93, 91)


def render(results: Results, pictures: Path) -> str:
    """Markdown of all parts that are measured."""
    parts = []
    codes = {name: result for name, result in results.items() if name.startswith(("random-", "trained-"))}
    sparse = {name: result for name, result in codes.items() if name != "random-sign"}
    if "random-sign" in codes and len(sparse) > 0:
        parts.append(_bits(codes, pictures))
        parts.append(_variance(sparse, pictures))
    if "alignment-gradient" in results and "alignment-replaced" in results:
        parts.append(_contrastive(results["alignment-gradient"], results["alignment-replaced"], pictures))
    return "\n\n".join(parts)


def _bits(results: Results, pictures: Path) -> str:
    figure, axes = plt.subplots(figsize=(9.0, 4.2), layout="constrained")
    sign = results["random-sign"]
    axes.plot(FINE, bits_needed(None, FINE, RESOLUTION), color="k", label="sign bits, predicted")
    axes.plot(
        *_curve(sign["random"], sign["width"]), "o", color="k", markersize=4, label="sign bits of random projections, measured"
    )
    axes.plot(*_curve(sign["embedding"], sign["width"]), "k+", label="sign bits of the embedding itself, measured")
    rows, errors = [], [_error(sign["random"], lambda c: sign_resolution(c) / np.sqrt(sign["width"]))]
    near = _at(sign["random"])
    rows.append(["sign bits", "1/2", _bits_text(None), f"{_scaled(near, sign['width']):,.0f}", f"{_sign_words():.1f} words"])
    for place, result in enumerate(one for name, one in results.items() if name.startswith("random-") and "k" in one):
        width, k = result["width"], result["k"]
        rate, colour = k / width, f"C{place}"
        axes.plot(FINE, bits_needed(rate, FINE, RESOLUTION), color=colour, label=f"k / D = {k} / {width:,}, predicted")
        axes.plot(*_curve(result["fixed"], width * entropy(rate)), "o", color=colour, markersize=4, label="the same, measured")
        errors.append(_error(result["fixed"], lambda c, rate=rate, width=width: sparse_resolution(rate, c) / np.sqrt(width)))
        measured = _scaled(_at(result["fixed"]), width * entropy(rate))
        reads = f"{postings_touched(rate, MIDDLE, RESOLUTION):.1f} postings"
        rows.append(
            [f"top-k codes, random, {width:,} : {k}", f"1/{width / k:.0f}", _bits_text(rate), f"{measured:,.0f}", reads]
        )
    for place, result in enumerate(one for name, one in results.items() if name.startswith("trained-")):
        width, k = result["width"], result["k"]
        for scoring, marker in (("overlap", "x"), ("asymmetric", "^")):
            label = f"trained {width:,} : {k}, {scoring}, measured"
            axes.plot(*_curve(result[scoring], 8 * result["bytes"]), marker, color=f"C{place + 3}", markersize=5, label=label)
            measured = _scaled(_at(result[scoring]), 8 * result["bytes"])
            reads = f"({result['postings_read']:.1f} as stored)" if scoring == "overlap" else ""
            rows.append([f"trained, {width:,} : {k}, {scoring}", f"1/{width / k:.0f}", "", f"{measured:,.0f}", reads])
    axes.set_yscale("log")
    axes.set_xlabel("cosine of the centred embeddings")
    axes.set_ylabel(f"bits per text for a standard error of {RESOLUTION}")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    header = ["code", "firing rate", "bits, predicted", "bits, measured", "read per document"]
    ratio = _error_text(errors)
    return f"""### Why symmetric sparse codes need more bytes than sign bits, and fewer operations

{picture(figure, pictures, "theory-bits", "Bits needed for one resolution, predicted and measured")}

At cosine {MIDDLE}, for a standard error of {RESOLUTION} in the cosine that the shared features tell:

{markdown_table(header, rows)}

On pairs of real texts the prediction for random codes is off by {ratio} in standard error. Away from cosine 1 a sparse
code must be longer, since it says little about pairs that share few features; towards 1 the curves meet. Work goes the other way:
an inverted index reads only what is shared. Scores with the decoder need no such length: they do not count features. Trained codes are
scaled from their own length as if every feature told equally much. Derivation: [docs/theory/resolution.md](../docs/theory/resolution.md)."""


def _variance(results: Results, pictures: Path) -> str:
    figure, axes = plt.subplots(figsize=(7.0, 3.8), layout="constrained")
    fixed_errors, free_errors, lines = [], [], []
    for place, result in enumerate(one for name, one in results.items() if name.startswith("random-")):
        width, k, colour = result["width"], result["k"], f"C{place}"
        for form, variance, style in (("fixed", fixed_variance, "-"), ("free", free_variance, "--")):
            label = "exactly k active" if form == "fixed" else "threshold"
            axes.plot(
                FINE,
                np.sqrt(width * variance(k / width, FINE)),
                style,
                color=colour,
                label=f"{label}, {width:,} : {k}, predicted",
            )
            points = [row["cosine"] for row in result[form]], [row["std"] for row in result[form]]
            axes.plot(
                *points,
                "o" if form == "fixed" else "s",
                color=colour,
                markersize=4,
                fillstyle="full" if form == "fixed" else "none",
            )
        fixed_errors.append(_std_error(result["fixed"], fixed_variance, width, k))
        free_errors.append(_std_error(result["free"], free_variance, width, k))
    for place, result in enumerate(one for name, one in results.items() if name.startswith("trained-")):
        width, k = result["width"], result["k"]
        points = [row["cosine"] for row in result["overlap"]], [row["std"] for row in result["overlap"]]
        axes.plot(*points, "x", color=f"C{place + 3}", label=f"trained {width:,} : {k}, measured")
        near = _at(result["overlap"])
        predicted = width * fixed_variance(k / width, np.array([near["cosine"]]))[0]
        factor = near["std"] ** 2 / predicted
        lines.append(f"{factor:.1f} times the predicted one for the trained head {width:,} : {k}")
    axes.set_xlabel("cosine of the centred embeddings")
    axes.set_ylabel("standard deviation of the overlap")
    axes.legend(fontsize=6)
    trained = f"\nAt cosine {MIDDLE} the variance is {' and '.join(lines)}." if lines else ""
    return f"""### How much the overlap of two codes varies at a given cosine

{picture(figure, pictures, "theory-variance", "Standard deviation of the overlap, predicted and measured")}

For random codes the standard deviation is predicted to {_error_text(fixed_errors)} where every text has exactly k active features, and to
{_error_text(free_errors)} where a threshold decides: fixing k makes the overlap steadier, most for similar texts.{trained}
Derivation: [docs/theory/variance.md](../docs/theory/variance.md)."""


def _contrastive(gradient: dict[str, Any], replaced: dict[str, Any], pictures: Path) -> str:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.8), layout="constrained")
    stages = gradient["stages"]
    for place, (step, found) in enumerate(stages.items()):
        a = [one["a"] for one in found["bins"]]
        left.plot(
            a, [one["measured"] for one in found["bins"]], "o", color=f"C{place}", markersize=4, label=f"measured, step {step}"
        )
        left.plot(
            a,
            [one["predicted"] for one in found["bins"]],
            "-",
            color=f"C{place}",
            label=None if place else "predicted, with saturation",
        )
        left.plot(
            a,
            [one["softmax"] for one in found["bins"]],
            ":",
            color=f"C{place}",
            label=None if place else "softmax at temperature 1/2",
        )
    left.set_yscale("log")
    left.set_xlabel("scaled logit of an inactive feature")
    left.set_ylabel("push of the alignment loss")
    left.legend(fontsize=6)
    for name, found in replaced["losses"].items():
        steps = np.linspace(0, replaced["steps"], len(found["active_by_step"]))
        right.plot(steps, found["active_by_step"], label=name)
    right.axhline(replaced["target"], color="k", linewidth=0.5)
    right.set_yscale("log")
    right.set_xlabel("training step")
    right.set_ylabel("active features per text")
    right.legend(fontsize=6)
    header = ["loss beside reconstruction", "nDCG@10, float query", "active features", "bytes per text"]
    body = [
        [name, score(found["ndcg"]), f"{found['active']:.0f}", f"{found['bytes']:.0f}"]
        for name, found in replaced["losses"].items()
    ]
    cosines = ", ".join(f"{found['cosine']:.2f} at step {step}" for step, found in stages.items())
    exact = max(found["exact"] for found in stages.values())
    return f"""### The alignment loss is contrastive learning between a text and its features

{picture(figure, pictures, "theory-contrastive", "Gradient by logit, predicted and measured; active features under four losses")}

Its gradient equals cos times that of a contrastive loss whose positives are the text's own top k features and whose similarity is
log p (largest difference {exact:.0e} of the largest gradient). With the bare logit as similarity, plain InfoNCE, the gradients have a mean cosine of
{cosines}. Threshold heads of 512 features, target {replaced["target"]}, {replaced["steps"]} steps of a plain loop, not refined:

{markdown_table(header, body)}

What the sigmoid adds is a level: InfoNCE compares features only with each other, so nothing ties `z > 0` to the top k.
Derivation: [docs/theory/contrastive.md](../docs/theory/contrastive.md)."""


def _curve(rows: list[dict[str, float]], bits: float) -> tuple[list[float], list[float]]:
    return [row["cosine"] for row in rows], [_scaled(row, bits) for row in rows]


def _scaled(row: dict[str, float], bits: float) -> float:
    """Bits that a code would need for :data:`RESOLUTION`, from what it reaches with its own."""
    return bits * (row["resolution"] / RESOLUTION) ** 2


def _at(rows: list[dict[str, float]]) -> dict[str, float]:
    return min(rows, key=lambda row: abs(row["cosine"] - MIDDLE))


def _bits_text(rate: float | None) -> str:
    return f"{bits_needed(rate, np.array([MIDDLE]), RESOLUTION)[0]:,.0f}"


def _sign_words() -> float:
    return float(bits_needed(None, np.array([MIDDLE]), RESOLUTION)[0]) / 64


def _error(rows: list[dict[str, float]], predicted: Any) -> np.ndarray:
    """Relative differences of the measured resolutions from the predicted ones."""
    cosine = np.array([row["cosine"] for row in rows])
    return np.array([row["resolution"] for row in rows]) / predicted(cosine) - 1


def _std_error(rows: list[dict[str, float]], variance: Any, width: int, k: int) -> np.ndarray:
    cosine = np.array([row["cosine"] for row in rows])
    return np.array([row["std"] for row in rows]) / np.sqrt(width * variance(k / width, cosine)) - 1


def _error_text(errors: list[np.ndarray]) -> str:
    every = np.abs(np.concatenate(errors))
    return f"{np.median(every):.1%} in the median and {every.max():.1%} at most"
