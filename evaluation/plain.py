"""``python -m evaluation.plain DATA``: what plain sentence-transformers gets from an exported model, through mteb's own wrapper.

Heads of several sizes are distilled from general sentences; their stock modules (:mod:`bsa_st.hub.export`) stand behind the cached embeddings of the
evaluation texts, so that no text is embedded twice, and mteb's ``SentenceTransformerEncoderWrapper`` scores them on the local tasks: retrieval
through the routes ``query`` and ``document``, sentence pairs through the default route. Every text's cached embedding is the one that the encoder gives.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import mteb
import numpy as np
import torch
import typer
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule

from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.head.settings import DistillSettings
from bsa_st.hub.export import stock_modules
from bsa_st.training import train_head
from evaluation.console import run_command
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import MINILM, load_encoder
from evaluation.jsonfiles import read_json, write_json
from evaluation.markdown import markdown_table
from evaluation.neighbours import General, found_counts, general_texts, shares
from evaluation.tasks import EvaluationTask, folder_task, local_folders, task_texts

RESULTS = Path(__file__).with_name("results") / "plain.json"
TASKS = ("time", "med", "cranfield", "scifact", "stsbenchmark", "sts13")
HEADS = {
    "64 bytes": DistillSettings.of_bytes(64),
    "48 bytes": DistillSettings.of_bytes(48),
    "sparse, D=1024 k=107": DistillSettings(),
}
FLOAT = "float32"

logger = logging.getLogger("evaluation")


class KnownTexts(InputModule):
    """Stands in for an encoder whose embeddings of all texts are cached.

    Args:
        embeddings: Text to unit embedding, float32 (d,).
        encoder: Embeds what is not among them.
    """

    def __init__(self, embeddings: dict[str, np.ndarray], encoder: SentenceTransformer) -> None:
        super().__init__()
        self.embeddings = embeddings
        self._encoder = [encoder]  # in a list, so that it is no part of the model

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        texts = [(prompt or "") + text for text in inputs]
        missing = [text for text in texts if text not in self.embeddings]
        if missing:
            rows = self._encoder[0].encode(missing, normalize_embeddings=True, show_progress_bar=False)
            self.embeddings.update(zip(missing, rows, strict=True))
        return {"sentence_embedding": torch.from_numpy(np.stack([self.embeddings[text] for text in texts]))}

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return features

    def get_embedding_dimension(self) -> int:
        """Width d."""
        return len(next(iter(self.embeddings.values())))

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("cached embeddings are not saved")


def score(model: SentenceTransformer, tasks: list[EvaluationTask]) -> dict[str, float]:
    """Main score of every task through mteb's own wrapper."""
    wrapper = SentenceTransformerEncoderWrapper(model)
    results = mteb.evaluate(wrapper, [task.task for task in tasks], cache=None, show_progress_bar=False)
    return {task.name: float(result.get_score()) for task, result in zip(tasks, results.task_results, strict=True)}


def found(head: BinarySparsityAlignment, general: General) -> float:
    """found@10 of plain ``encode_query`` against plain ``encode_document`` on general sentences."""
    router, _ = stock_modules(head)
    with torch.inference_mode():
        weights, *codes = (
            router({"sentence_embedding": torch.from_numpy(np.array(rows))}, task=task)["sentence_embedding"].numpy()
            for task, rows in (
                ("query", general.queries),
                *(("document", part) for part in np.array_split(general.documents, 8)),
            )
        )
    return float(shares(found_counts(weights @ np.concatenate(codes).T, general.truth)).mean())


def measure(data: Path, names: Sequence[str]) -> dict[str, Any]:
    """All rows; see the module."""
    encoder = load_encoder(MINILM)
    store = EmbeddingStore(encoder)
    general = General(*map(store.evaluation, general_texts(data)))
    folders = local_folders(data)
    tasks = [folder_task(name, folders[name]) for name in names]
    known: dict[str, np.ndarray] = {}
    for task in tasks:
        for texts in task_texts(task):
            known.update(zip(texts, store.evaluation(texts), strict=True))
    source = KnownTexts(known, encoder)
    rows: dict[str, Any] = {FLOAT: {"found": 1.0, "tasks": score(SentenceTransformer(modules=[source], device="cpu"), tasks)}}
    for name, settings in HEADS.items():
        started = time.perf_counter()
        head = train_head(np.array(general.training), settings, show_progress_bar=False)
        seconds = time.perf_counter() - started
        routers = stock_modules(head)
        model = SentenceTransformer(modules=[source, *routers], device="cpu", similarity_fn_name="dot")
        weights = {id(tensor): tensor.numel() for tensor in routers[0].parameters()}
        rows[name] = {
            "found": found(head, general),
            "found_refined_held_out": head.report["figures"]["found_at_10"],
            "steps": 0 if head.unrolled is None else len(head.unrolled.layers),
            "weights": sum(weights.values()),
            "fit_seconds": round(seconds, 1),
            "tasks": score(model, tasks),
        }
        logger.info("%s: %s", name, rows[name])
    return rows


def markdown(rows: dict[str, Any]) -> str:
    """The rows as shares of float32's scores."""
    base = rows[FLOAT]["tasks"]
    retrieval = [name for name in base if not name.startswith("sts")]
    table = []
    for name, row in rows.items():
        of = {task: row["tasks"][task] / base[task] for task in base}
        groups = [[of[task] for task in base if (task in retrieval) == wanted] for wanted in (True, False)]
        table.append(
            [name, f"{100 * row['found']:.1f}", *(f"{100 * np.mean(group):.1f}" if group else "-" for group in groups)]
        )
    return markdown_table(["plain sentence-transformers", "found@10", "nDCG@10, % of float32", "STS, % of float32"], table)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Argument(help="Folder with the general sentences and the local task folders.")],
    task: Annotated[
        list[str] | None, typer.Option(help=f"Local task; repeat for several. Default: {', '.join(TASKS)}.")
    ] = None,
    show: Annotated[bool, typer.Option(help="Print the table of the kept results only.")] = False,
) -> None:
    """Measure, write evaluation/results/plain.json and print the table."""
    if not show:
        write_json(RESULTS, measure(data, task or TASKS))
    typer.echo(markdown(read_json(RESULTS)))


if __name__ == "__main__":
    run_command(app, "evaluation.plain")
