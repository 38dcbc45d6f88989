"""Section: what training and encoding cost, and how it grows with D, d and the number of texts."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from bsa_st import DistillSettings, encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.losses import BSALoss
from bsa_st.training import train_head
from bsa_st.training.cached_rows import CachedRows, Student
from evaluation.markdown import markdown_table
from evaluation.paper.cells import Cell, Results
from evaluation.paper.figures import picture
from evaluation.paper.inputs import Inputs

title = "Cost"

WATTS = 15.0
"""Assumed power of one busy core with its share of memory and supply; nothing here can measure it."""

WIDTH, K, BATCH = 384, 64, 512
STEPS_TIMED = 4
FEATURES = (512, 1024, 2048, 4096, 8192)
WIDTHS = (128, 256, 384, 768, 1024)
TEXTS = (10_000, 20_000, 40_000, 80_000)
MEMORY = (1024, 4096, 16_384)
DENSE_TEXTS, CODE_TEXTS = 256, 2000
JOB = (150_000, 2000)
"""Texts and steps of the job whose cost is stated."""


def cells(quick: bool) -> list[Cell]:
    """One cell per direction of growth."""
    features, widths, texts = ((64, 128), (16, 32), (200, 400)) if quick else (FEATURES, WIDTHS, TEXTS)
    found = [
        Cell("step-by-D", partial(measure_steps, {size: (WIDTH, size) for size in features})),
        Cell("step-by-d", partial(measure_steps, {width: (width, features[1]) for width in widths})),
        Cell("encode-by-D", partial(measure_encoding, list(features))),
        Cell("train-by-texts", partial(measure_texts, list(texts))),
    ]
    return found if quick else [*found, Cell("memory-by-D", partial(measure_memory, list(MEMORY)))]


def processor_seconds(work: Callable[[], Any], repeats: int) -> float:
    """CPU seconds of one call: the least of ``repeats``, after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


def measure_steps(sizes: dict[int, tuple[int, int]], inputs: Inputs) -> dict[str, Any]:
    """CPU seconds of one training step, for every (d, D); random embeddings, since their values do not change the time."""
    return {"unit": "CPU s per step", "points": [[name, _step_seconds(d, D)] for name, (d, D) in sizes.items()]}


def _step_seconds(width: int, hidden_dim: int) -> float:
    torch.manual_seed(0)
    head = BinarySparsityAlignment(width, hidden_dim, min(K, hidden_dim // 4), "topk")
    rows = torch.nn.functional.normalize(torch.randn(BATCH, width), dim=1)
    head.initialise(rows)
    student = Student(modules=[CachedRows(rows.numpy()), head], device="cpu").train()
    loss = BSALoss(student)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)

    def step() -> None:
        parts: Any = loss([{"sentence_embedding": rows}])
        torch.stack(list(parts.values())).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return round(processor_seconds(step, STEPS_TIMED), 5)


def measure_encoding(sizes: list[int], inputs: Inputs) -> dict[str, Any]:
    """CPU milliseconds per text: the dense encoder, and heads of every D on its embeddings, plain and refined."""
    texts = inputs.training_texts(DENSE_TEXTS)
    dense = processor_seconds(partial(inputs.encoder.encode, texts, show_progress_bar=False), 1) / len(texts)
    rows = np.array(inputs.training(CODE_TEXTS), dtype=np.float32)
    points = []
    for hidden_dim in sizes:
        head = BinarySparsityAlignment(rows.shape[1], hidden_dim, min(K, hidden_dim // 4), "topk").eval()
        head.initialise(torch.from_numpy(rows))
        plain, refined = (
            processor_seconds(partial(encode_embeddings, head, rows, refine=refine), 1) for refine in (False, True)
        )
        points.append([hidden_dim, round(1000 * plain / len(rows), 5), round(1000 * refined / len(rows), 5)])
    return {"unit": "CPU ms per text", "dense": round(1000 * dense, 4), "points": points}


def measure_texts(sizes: list[int], inputs: Inputs) -> dict[str, Any]:
    """CPU seconds of a whole training of few steps, by the number of texts: what grows is not the steps."""
    settings = DistillSettings(hidden_dim=512, k=32, selection="topk", steps=5, batch_size=64, refit_rounds=0)
    points = []
    for texts in sizes:
        rows = inputs.training(texts)
        began = time.process_time()
        train_head(rows, settings, show_progress_bar=False)
        points.append([len(rows), round(time.process_time() - began, 3)])
    return {"unit": "CPU s", "points": points}


def measure_memory(sizes: list[int], inputs: Inputs) -> dict[str, Any]:
    """Peak resident memory of a process of its own that makes two training steps, by D; the first size is a small one."""
    points = []
    for hidden_dim in (64, *sizes):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            points.append([hidden_dim, round(pool.apply(_peak_gigabytes, (hidden_dim,)), 4)])
    return {"unit": "GB", "points": points}


def _peak_gigabytes(hidden_dim: int) -> float:
    torch.set_num_threads(1)
    _step_seconds(WIDTH, hidden_dim)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def power(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Exponent and factor of ``y = factor x^exponent``, least squares of the logarithms."""
    exponent, logarithm = np.polyfit(np.log(xs), np.log(ys), 1)
    return float(exponent), float(np.exp(logarithm))


def line(xs: list[float], ys: list[float]) -> tuple[float, float]:
    """Slope and start of ``y = slope x + start``."""
    slope, start = np.polyfit(xs, ys, 1)
    return float(slope), float(start)


def render(results: Results, pictures: Path) -> str:
    """The fitted curves, the cost of a usual job, and the table of all points."""
    text = [_plot(results, pictures)]
    if "step-by-D" in results and "encode-by-D" in results:
        text.append(_job(results))
    text.append(_growth(results))
    text.append(_tables(results))
    return "\n\n".join(part for part in text if part)


def _plot(results: Results, pictures: Path) -> str:
    shown = [name for name in AXES if name in results]
    figure, panels = plt.subplots(1, max(1, len(shown)), figsize=(3.4 * max(1, len(shown)), 3.0), squeeze=False)
    for axes, name in zip(panels[0], shown, strict=False):
        result, (label, linear) = results[name], AXES[name]
        xs = [point[0] for point in result["points"]]
        for place, series in enumerate(list(zip(*result["points"], strict=True))[1:]):
            ys = list(series)
            axes.plot(xs, ys, "os"[place % 2], color=f"C{place}", label=SERIES.get(name, ("measured",))[place])
            grid = np.linspace(min(xs), max(xs), 50)
            if linear:
                slope, start = line(xs, ys)
                axes.plot(grid, slope * grid + start, color=f"C{place}", lw=0.8)
            else:
                exponent, factor = power(xs, ys)
                axes.plot(grid, factor * grid**exponent, color=f"C{place}", lw=0.8)
        if not linear:
            axes.set(xscale="log", yscale="log")
        axes.set(xlabel=label, ylabel=result["unit"], title=name)
        axes.title.set_fontsize(9)
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    return picture(figure, pictures, "cost", "Cost of training and encoding: measured points and fitted curves")


AXES = {
    "step-by-D": ("D", False),
    "step-by-d": ("d", False),
    "encode-by-D": ("D", False),
    "train-by-texts": ("texts", True),
    "memory-by-D": ("D", True),
}
"""Axis label, and whether the fit is a line rather than a power."""
SERIES = {"encode-by-D": ("plain", "refined")}


def _job(results: Results) -> str:
    texts, steps = JOB
    last = results["step-by-D"]["points"][-1]
    per_step, dense = last[1], results["encode-by-D"]["dense"]
    training, encoding = per_step * steps, dense / 1000 * texts
    head = results["encode-by-D"]["points"][-1]
    return (
        f"A head of D={last[0]} trained for {steps:,} steps of {BATCH} texts takes {training / 60:.0f} core-minutes, about"
        f" {training * WATTS / 3600:.1f} Wh; encoding its {texts:,} training texts with the dense encoder first takes {encoding / 60:.0f} core-minutes,"
        f" {encoding * WATTS / 3600:.1f} Wh. In use, the encoder takes {dense:.2f} ms per text, the head {head[1]:.3f} ms more, with refinement"
        f" {head[2]:.3f} ms. **Energy assumes {WATTS:.0f} W per busy core; it was not measured.** CPU time, summed over threads, throughout; extrapolated from"
        f" the least of {STEPS_TIMED} timed steps, on a machine that other work shared."
    )


def _growth(results: Results) -> str:
    parts = []
    for name, (label, linear) in AXES.items():
        if name not in results:
            continue
        points = results[name]["points"]
        xs = [point[0] for point in points]
        for place, series in enumerate(list(zip(*points, strict=True))[1:]):
            what = f"{name}{f' ({SERIES[name][place]})' if name in SERIES else ''}"
            if linear:
                slope, start = line(xs, list(series))
                parts.append(f"- {what}: {start:.3g} {results[name]['unit']} plus {slope * 1000:.3g} per 1,000 {label}")
            else:
                exponent, _ = power(xs, list(series))
                parts.append(f"- {what}: grows as {label}^{exponent:.2f} between {xs[0]:,} and {xs[-1]:,}")
    return "Fits:\n\n" + "\n".join(parts)


def _tables(results: Results) -> str:
    body = [
        [name, f"{label}={point[0]:,}", " / ".join(f"{value:.4g}" for value in point[1:]), results[name]["unit"]]
        for name, (label, _) in AXES.items()
        if name in results
        for point in results[name]["points"]
    ]
    return markdown_table(["measured", "at", "value (plain / refined)", "unit"], body)
