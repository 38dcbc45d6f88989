"""Section: what fitting a head and encoding with it cost; by bytes from the main comparison, by texts measured here."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from bsa_st import DistillSettings
from bsa_st.training.trainer import train_head
from evaluation import RESULTS_FOLDER
from evaluation.comparison.results import read
from evaluation.data.encoders import MINILM, load_encoder
from evaluation.data.inputs import Inputs
from evaluation.data.neighbours import general_texts
from evaluation.markdown import MISSING, markdown_table
from evaluation.study.runner import Cells, Results

title = "Cost"

WATTS = 15
"""Assumed power of one busy core with its share of memory and supply; nothing here can measure it."""
CODE_BYTES = 64
TEXTS = (3_750, 7_500, 15_000, 30_000)
DENSE_TEXTS = 256
METHODS = {"compact": "compact", "sparse": "sparse", "compact plain": "compact, not refined", "OPQ": "OPQ", "PQ": "PQ"}


def cells() -> Cells:
    """The dense encoder, and fits to ever more texts."""
    return {"encoder": measure_encoder, **{f"texts={size}": partial(measure_fit, size) for size in TEXTS}}


def measure_encoder(inputs: Inputs) -> dict[str, Any]:
    """Milliseconds of processor time that the dense encoder takes for a text."""
    texts = general_texts(inputs.data, inputs.share)[1][:DENSE_TEXTS]
    encoder = load_encoder(inputs.encoder)
    encoder.encode(texts[:32], show_progress_bar=False)
    began = time.process_time()
    encoder.encode(texts, show_progress_bar=False)
    return {"milliseconds": round(1000 * (time.process_time() - began) / len(texts), 3)}


def measure_fit(size: int, inputs: Inputs) -> dict[str, Any]:
    """Seconds of processor time that a compact head takes to fit."""
    rows = inputs.general.training[:size]
    began = time.process_time()
    train_head(rows, DistillSettings.of_bytes(CODE_BYTES, unroll_trials=0), show_progress_bar=False)
    return {"texts": len(rows), "seconds": round(time.process_time() - began, 1)}


def render(results: Results) -> str:
    """A sentence on the encoder and the fits, and the table by bytes from the main comparison."""
    parts = []
    fits = {one["texts"]: one["seconds"] for one in results.values() if "texts" in one}
    if fits:
        listed = ", ".join(f"{seconds:.0f} s for {texts:,}" for texts, seconds in sorted(fits.items()))
        parts.append(f"Fitting a compact head of {CODE_BYTES} bytes takes {listed} texts.")
    if "encoder" in results and fits:
        dense, texts = results["encoder"]["milliseconds"], max(fits)
        encoding = dense * texts / 1000
        parts.append(
            f"The dense encoder takes {dense:.1f} ms for a text, {encoding:.0f} s for {texts:,}: together about"
            f" {(encoding + fits[texts]) * WATTS / 3600:.1f} Wh. **Energy assumes {WATTS} W per busy core; it was not measured.**"
        )
    parts.append("One core, processor time, on a machine that other work shared: compare roughly.")
    main = read(RESULTS_FOLDER / "encoders" / f"{MINILM}.json")
    body = [
        [label, *(_cell(main.figure(name, size, "fit_seconds"), main.figure(name, size, "encode_ms")) for size in main.budgets)]
        for name, label in METHODS.items()
    ]
    header = ["seconds to fit to 30,000 texts; ms to encode one", *(f"{size} B" for size in main.budgets)]
    return f"{' '.join(parts)} By bytes, from the [main comparison](RESULTS.md):\n\n{markdown_table(header, body)}"


def _cell(seconds: float | None, milliseconds: float | None) -> str:
    return MISSING if seconds is None or milliseconds is None else f"{seconds:.0f}; {milliseconds:.3f}"
