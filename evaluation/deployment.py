"""``python -m evaluation.deployment MODEL TEXTS [WAY ...]``: do other ways of running a saved model give the same codes?

Needs sentence-transformers only, so that it also runs where bsa_st is not installed; what the installed packages cannot do is skipped.
Rows of other runs stay in the file, so that environments which exclude each other can fill it one after the other.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

RESULTS = Path(__file__).with_name("deployment.json")
USED = {"onnx": ("onnxruntime", "optimum-onnx"), "openvino": ("openvino", "optimum-intel")}
MOST_TEXTS = 1000


def load_plain(folder: str, **options: Any) -> SentenceTransformer:
    """The model as somebody without bsa_st loads it."""
    return SentenceTransformer(folder, device="cpu", **options)


def load_full(folder: str, **options: Any) -> SentenceTransformer:
    """The model with its full head."""
    import bsa_st

    return bsa_st.load(folder, device="cpu", **options)


def compile_encoder(folder: str) -> SentenceTransformer:
    """The model with its first module through ``torch.compile``."""
    model = load_plain(folder)
    model[0].compile(dynamic=True)
    return model


def compile_head(folder: str) -> SentenceTransformer:
    """The model with its full head through ``torch.compile``."""
    model = load_full(folder)
    model[-1].compile(dynamic=True)
    return model


WAYS: dict[str, Callable[[str], SentenceTransformer]] = {
    "float16, plain": lambda folder: load_plain(folder, model_kwargs={"torch_dtype": torch.float16}),
    "float16, bsa_st.load": lambda folder: load_full(folder, model_kwargs={"torch_dtype": torch.float16}),
    "bfloat16, plain": lambda folder: load_plain(folder, model_kwargs={"torch_dtype": torch.bfloat16}),
    "bfloat16, bsa_st.load": lambda folder: load_full(folder, model_kwargs={"torch_dtype": torch.bfloat16}),
    "torch.compile, encoder": compile_encoder,
    "torch.compile, head": compile_head,
    "onnx": lambda folder: load_plain(folder, backend="onnx"),
    "openvino": lambda folder: load_plain(folder, backend="openvino"),
}
"""What is tried; all are compared with the plain model in float32 on torch."""


def compare(folder: str, texts: list[str], ways: Iterable[str] = WAYS) -> dict[str, dict[str, Any]]:
    """Figures of every way that works here.

    Returns:
        By way: ``exact`` share of values that are 0.0 or 1.0; ``kept`` share of the active features that are active in both;
        ``identical`` share of texts with the same code; ``texts``; ``packages`` with their versions.
    """
    reference = load_plain(folder).encode(texts)
    rows = {}
    for name in ways:
        try:
            codes = np.asarray(WAYS[name](folder).encode(texts), dtype=np.float32)
        except Exception as error:  # whatever the packages that are here cannot do
            sys.stderr.write(f"{name}: not possible here: {type(error).__name__}: {str(error).splitlines()[0]}\n")
            continue
        rows[name] = {
            "exact": float(np.isin(codes, (0.0, 1.0)).mean()),
            "kept": round(float(np.minimum(codes, reference).sum() / np.maximum(codes, reference).sum()), 5),
            "identical": float((codes == reference).all(axis=1).mean()),
            "texts": len(texts),
            "packages": _versions(name),
        }
    return rows


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table of DEPLOYMENT.md."""
    lines = [
        "| way | values exactly 0 or 1 | active features in both | texts with the same code | packages |",
        "|---|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        packages = ", ".join(f"{package} {version}" for package, version in row["packages"].items())
        lines.append(f"| {name} | {row['exact']:.2%} | {row['kept']:.2%} | {row['identical']:.1%} | {packages} |")
    return "\n".join(lines) + "\n"


def _versions(way: str) -> dict[str, str]:
    names = ("sentence-transformers", "transformers", "torch", *USED.get(way, ()))
    return {name: metadata.version(name) for name in names}


def main(folder: str, texts: str, *ways: str) -> None:
    """Run; write the rows and print the table."""
    warnings.filterwarnings("ignore")
    lines = [line.strip() for line in Path(texts).read_text(encoding="utf-8").splitlines() if line.strip()][:MOST_TEXTS]
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows.update(compare(folder, lines, ways or WAYS))
    rows = {name: rows[name] for name in WAYS if name in rows}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write(markdown(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
