"""``python -m evaluation.stock.deployment MODEL TEXTS [WAY ...]``: do other ways of running a saved model give the same codes?

Needs sentence-transformers only, so that it also runs where bsa_st is not installed; what the installed packages cannot do is skipped.
Rows of other runs stay in the file, so that environments which exclude each other can fill it one after the other.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

RESULTS = Path(__file__).parent.parent / "results" / "deployment.json"
PACKAGES = ("sentence-transformers", "transformers", "torch")
USED = {
    "onnx, both routes as whole graphs": ("onnxruntime",),
    "openvino, both routes as whole graphs": ("openvino",),
    "onnx, the encoder alone": ("onnxruntime", "optimum-onnx"),
    "openvino, the encoder alone": ("openvino", "optimum-intel"),
}
EXPORT = Path(__file__).parent.parent.parent / "examples" / "export_onnx.py"
MOST_TEXTS = 1000


def load_plain(folder: str, **options: Any) -> SentenceTransformer:
    """The model as somebody without bsa_st loads it."""
    return SentenceTransformer(folder, device="cpu", **options)


Encoded = tuple[np.ndarray, np.ndarray]
"""Values of documents, (n, D), and codes of ``encode``, (n, D)."""


def encode(model: SentenceTransformer, texts: list[str], **options: Any) -> Encoded:
    """Both, as float32."""
    documents, codes = model.encode_document(texts, **options), model.encode(texts, **options)
    return np.asarray(documents, dtype=np.float32), np.asarray(codes, dtype=np.float32)


def compiled(folder: str, texts: list[str]) -> Encoded:
    """With the encoder and the routes through ``torch.compile``."""
    model = load_plain(folder)
    model[0].compile(dynamic=True)
    model[-2].compile(dynamic=True)
    return encode(model, texts)


Run = Callable[[dict[str, np.ndarray]], np.ndarray]
"""A loaded graph: its first output, (n, ...), of ``input_ids`` and ``attention_mask``, int64 (n, length)."""


def onnxruntime_graph(path: str) -> Run:
    """An ONNX file in onnxruntime, on as many threads as torch has."""
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options)
    return lambda tokens: np.asarray(session.run(None, tokens)[0])


def openvino_graph(path: str) -> Run:
    """An ONNX file in OpenVINO, computed in float32, on as many threads as torch has."""
    import openvino  # type: ignore[import-not-found,unused-ignore]

    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled_model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda tokens: np.asarray(compiled_model(tokens)[0])


def whole_graph(folder: str, texts: list[str], load: Callable[[str], Run]) -> Encoded:
    """The document route as one ONNX graph (examples/export_onnx.py), run by another runtime and a tokenizer alone."""
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as scratch:
        program = [sys.executable, str(EXPORT), folder, scratch]
        subprocess.run(program, check=True, capture_output=True)
        tokenizer = Tokenizer.from_file(f"{scratch}/tokenizer.json")
        tokenizer.enable_padding()
        tokenizer.enable_truncation(load_plain(folder).max_seq_length or 512)
        run, parts = load(f"{scratch}/document.onnx"), []
        for start in range(0, len(texts), 32):
            encoded = tokenizer.encode_batch(texts[start : start + 32])
            tokens = {
                "input_ids": np.array([item.ids for item in encoded]),
                "attention_mask": np.array([item.attention_mask for item in encoded]),
            }
            parts.append(run(tokens))
    bits = np.unpackbits(np.concatenate(parts), axis=1).astype(np.float32)
    return bits, bits


WAYS: dict[str, Callable[[str, list[str]], Encoded]] = {
    "float16": lambda folder, texts: encode(load_plain(folder, model_kwargs={"torch_dtype": torch.float16}), texts),
    "bfloat16": lambda folder, texts: encode(load_plain(folder, model_kwargs={"torch_dtype": torch.bfloat16}), texts),
    "torch.compile": compiled,
    "two processes": lambda folder, texts: encode(load_plain(folder), texts, device=["cpu", "cpu"]),
    "onnx, both routes as whole graphs": lambda folder, texts: whole_graph(folder, texts, onnxruntime_graph),
    "openvino, both routes as whole graphs": lambda folder, texts: whole_graph(folder, texts, openvino_graph),
    "onnx, the encoder alone": lambda folder, texts: encode(load_plain(folder, backend="onnx"), texts),
    "openvino, the encoder alone": lambda folder, texts: encode(load_plain(folder, backend="openvino"), texts),
}
"""What is tried; all are compared with the plain model in float32 on torch."""


def compare(
    folder: str, texts: list[str], ways: Mapping[str, Callable[[str, list[str]], Encoded]]
) -> dict[str, dict[str, Any]]:
    """Figures of every way, by its name, that works here.

    Returns:
        By way: ``exact`` whether documents hold 0 and one positive value, and codes 0.0 and 1.0; ``bits`` share of the documents' bits that are the same;
        ``identical`` share of the documents all of whose bits are; ``texts``; ``packages`` with their versions.
    """
    reference = encode(load_plain(folder), texts)[0] > 0
    rows = {}
    for name, way in ways.items():
        try:
            documents, codes = way(folder, texts)
        except Exception as error:  # whatever the packages that are here cannot do
            sys.stderr.write(f"{name}: not possible here: {type(error).__name__}: {str(error).splitlines()[0]}\n")
            continue
        same = (documents > 0) == reference
        one_value = (documents == 0) | (documents == documents.max(axis=1, keepdims=True))
        rows[name] = {
            "exact": bool(np.isin(codes, (0.0, 1.0)).all() and one_value.all()),
            "bits": round(float(same.mean()), 5),
            "identical": float(same.all(axis=1).mean()),
            "texts": len(texts),
            "packages": {package: metadata.version(package) for package in (*PACKAGES, *USED.get(name, ()))},
        }
    return rows


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """The table of DEPLOYMENT.md."""
    lines = [
        "| way | values exact | bits the same | documents with all bits the same | packages |",
        "|---|---|---:|---:|---|",
    ]
    for name, row in rows.items():
        packages = ", ".join(f"{package} {version}" for package, version in row["packages"].items())
        lines.append(
            f"| {name} | {'yes' if row['exact'] else 'no'} | {row['bits']:.2%} | {row['identical']:.1%} | {packages} |"
        )
    return "\n".join(lines) + "\n"


def main(folder: str, texts: str, *ways: str) -> None:
    """Run; write the rows and print the table."""
    warnings.filterwarnings("ignore")
    lines = [line.strip() for line in Path(texts).read_text(encoding="utf-8").splitlines() if line.strip()][:MOST_TEXTS]
    rows = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    rows.update(compare(folder, lines, {name: WAYS[name] for name in ways or WAYS}))
    rows = {name: rows[name] for name in WAYS if name in rows}
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    sys.stdout.write(markdown(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
