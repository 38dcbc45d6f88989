"""``python -m evaluation.stock.embedding``: texts per second of embedding on a CPU, and what each way changes in the embeddings.

600 concepts of the Human Phenotype Ontology (name and definition) and 150 synonyms, all-MiniLM-L6-v2. Ways are timed in turns, the fastest of several
rounds counts; compare them within one run only. Other runtimes are tried where their packages are installed: they are no dependency of bsa_st.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import numpy as np
import torch
import typer
from sentence_transformers import SentenceTransformer
from torch import nn

import bsa_st
from bsa_st.inputs.embed import CPU_TOKENS, batches, embed, token_counts
from bsa_st.training.monitor import hardware_name
from demo.hpo import load_concepts, synonym_task
from demo.run import packaged_teacher
from evaluation import RESULTS_FOLDER
from evaluation.console import new_app, run_command
from evaluation.jsonfiles import read_json, write_json
from evaluation.markdown import markdown_table
from evaluation.stock.deployment import Run, onnxruntime_graph, openvino_graph

RESULTS = RESULTS_FOLDER / "embedding.json"
DOCUMENTS, QUERIES = 600, 150
ROUNDS = 2
PLAIN = "model.encode"

Way = Callable[[list[str]], Any]
"""Embeds texts: float32 (n, d), or makes codes of them."""


def ways(model: SentenceTransformer) -> dict[str, Way]:
    """All ways that can be tried here, by name."""
    half = copy.deepcopy(model).to(torch.bfloat16)
    attached = bsa_st.attach(copy.deepcopy(model))
    with tempfile.TemporaryDirectory() as scratch:
        bsa_st.save(attached, scratch)
        stock = SentenceTransformer(scratch, device="cpu")
    tried: dict[str, Way] = {
        PLAIN: lambda texts: np.asarray(model.encode(texts)),
        "batches of equal tokens (bsa_st)": lambda texts: embed(model, texts),
        "the same, bfloat16": lambda texts: embed(half, texts),
        "attached, model.encode": lambda texts: attached.encode(texts),
        "attached, encode_document of plain sentence-transformers": lambda texts: stock.encode_document(texts),
        "attached, bsa_st.encode (refined)": lambda texts: bsa_st.encode(attached, texts),
    }
    for name, make in RUNTIMES.items():
        try:
            tried[f"the same, {name}"] = make(model)
        except ImportError as error:
            typer.echo(f"{name} is not tried: {error}")
    return tried


def measure(threads: int) -> dict[str, Any]:
    """Texts per second and losses of all ways."""
    torch.set_num_threads(threads)
    task = synonym_task(load_concepts())
    order = np.random.default_rng(0).permutation(len(task.documents))[:DOCUMENTS]
    texts = [task.documents[place] for place in order] + task.queries[:QUERIES]
    model = packaged_teacher()
    tried = ways(model)
    exact = np.asarray(model.encode(texts))
    seconds: dict[str, list[float]] = {name: [] for name in tried}
    rows: dict[str, Any] = {}
    for number in range(ROUNDS + 1):  # the first is not counted: compilation and the like
        for name, way in tried.items():
            started = time.perf_counter()
            rows[name] = way(texts)
            if number:
                seconds[name].append(time.perf_counter() - started)
    result = {name: {"texts_per_second": round(len(texts) / min(times), 1)} for name, times in seconds.items()}
    for name, found in rows.items():
        if isinstance(found, np.ndarray) and found.shape == exact.shape:  # not codes
            result[name] |= losses(exact, found)
    return {"hardware": hardware_name("cpu"), "threads": threads, "texts": len(texts), "ways": result}


def losses(exact: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Mean and lowest cosine with the float32 embeddings, and the share of their ten nearest documents that stay so."""
    cosines = (exact * found).sum(axis=1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(found, axis=1)
    near, still = (
        np.argsort(-(rows[DOCUMENTS:] @ rows[:DOCUMENTS].T), axis=1, kind="stable")[:, :10] for rows in (exact, found)
    )
    kept = (near[:, :, None] == still[:, None, :]).any(axis=1).mean()
    return {
        "mean_cosine": round(float(cosines.mean()), 5),
        "lowest_cosine": round(float(cosines.min()), 4),
        "neighbours_kept": round(float(kept), 4),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    base = result["ways"][PLAIN]["texts_per_second"]
    body = []
    for name, row in result["ways"].items():
        kept = [f"{row['mean_cosine']:.4f}", f"{100 * row['neighbours_kept']:.1f}"] if "mean_cosine" in row else ["-", "-"]
        body.append([name, f"{row['texts_per_second']:.0f}", f"{row['texts_per_second'] / base:.2f}", *kept])
    return markdown_table(["way", "texts/s", "of model.encode", "mean cosine", "neighbours kept, %"], body)


class _Graph(nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.transformer: nn.Module = model[0].auto_model  # type: ignore[assignment]  # which attribute access calls Tensor or Module

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        states: torch.Tensor = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
        summed = (states * attention_mask[:, :, None]).sum(dim=1)
        return nn.functional.normalize(summed, dim=1)


def _batched(model: SentenceTransformer, run: Run) -> Way:
    """The batches of :func:`bsa_st.inputs.embed.embed`, computed by another runtime."""

    def way(texts: list[str]) -> np.ndarray:
        rows = np.empty((len(texts), model.get_embedding_dimension() or 0), np.float32)
        for batch in batches(token_counts(model, texts), CPU_TOKENS):
            tokens = model.tokenizer(
                [texts[place] for place in batch],
                return_tensors="np",
                padding=True,
                truncation=True,
                max_length=model.max_seq_length,
            )
            rows[batch] = run({name: tokens[name].astype(np.int64) for name in ("input_ids", "attention_mask")})
        return rows

    return way


def _runtime(model: SentenceTransformer, load: Callable[[str], Run], int8: bool = False) -> Way:
    """The encoder as an ONNX graph in another runtime; raises ImportError where that is not installed."""
    import_module("onnx")
    tokens = model.tokenizer(["one text", "another one"], return_tensors="pt", padding=True)
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "texts", 1: "length"} for name in names}
    graph, inputs = _Graph(model).eval(), tuple(tokens[name] for name in names)
    with tempfile.TemporaryDirectory() as scratch:
        path = f"{scratch}/model.onnx"
        torch.onnx.export(
            graph, inputs, path, input_names=names, output_names=["rows"], dynamic_axes=axes, opset_version=17, dynamo=False
        )
        if int8:
            quantisation, exported, path = import_module("onnxruntime.quantization"), path, f"{scratch}/int8.onnx"
            quantisation.quantize_dynamic(exported, path, weight_type=quantisation.QuantType.QInt8, per_channel=True)
        return _batched(model, load(path))


RUNTIMES: dict[str, Callable[[SentenceTransformer], Way]] = {
    "onnxruntime": partial(_runtime, load=onnxruntime_graph),
    "onnxruntime int8": partial(_runtime, load=onnxruntime_graph, int8=True),
    "openvino": partial(_runtime, load=openvino_graph),
}


app = new_app()


@app.command()
def main(
    threads: Annotated[int, typer.Option(help="Threads of torch and of the other runtimes.", min=1)] = 1,
    show: Annotated[bool, typer.Option("--show", help="Print the table of the kept results only.")] = False,
) -> None:
    """Measure, write evaluation/results/embedding.json and print the table."""
    if not show:
        write_json(RESULTS, measure(threads))
    typer.echo(table(read_json(RESULTS)))


if __name__ == "__main__":
    run_command(app, "evaluation.stock.embedding")
