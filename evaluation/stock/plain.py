"""``python -m evaluation.stock.plain DATA``: what plain sentence-transformers gets from an exported model, through mteb's own wrapper.

Heads of several sizes are distilled from general sentences; their stock modules (:mod:`bsa_st.hub.export`) stand behind the cached embeddings of the
evaluation texts, so that no text is embedded twice, and mteb's ``SentenceTransformerEncoderWrapper`` scores them on the local tasks: retrieval
through the routes ``query`` and ``document``, sentence pairs through the default route. Every text's cached embedding is the one that the encoder gives.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import mteb
import numpy as np
import torch
import typer
from mteb.abstasks import AbsTask
from mteb.models import SentenceTransformerEncoderWrapper
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule

from bsa_st import BinarySparsityAlignment, BSAError, DistillSettings, encode_embeddings
from bsa_st.codes.scoring import as_decoder, asymmetric_scores
from bsa_st.hub.export import stock_modules
from bsa_st.training.trainer import train_head
from evaluation import RESULTS_FOLDER
from evaluation.console import new_app, run_command
from evaluation.data.encoders import E5_LIKE, MINILM
from evaluation.data.inputs import Inputs
from evaluation.data.labelled import RETRIEVAL, STS
from evaluation.data.neighbours import General, share
from evaluation.data.tasks import folder_task, task_texts
from evaluation.jsonfiles import read_json, write_json
from evaluation.markdown import MISSING, records_table

RESULTS = RESULTS_FOLDER / "plain.json"
HEADS = {"compact, 64 bytes": 64, "compact, 48 bytes": 48, "sparse, D=1024 k=107": None}
"""Names, and the bytes of compact ones."""
ENCODERS = (MINILM, MINILM + E5_LIKE)
FLOAT = "float32"

logger = logging.getLogger("evaluation")


class KnownTexts(InputModule):
    """Stands in for an encoder whose embeddings of all texts are cached.

    Args:
        embeddings: Text to unit embedding, float32 (d,).
    """

    def __init__(self, embeddings: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.embeddings = embeddings

    def preprocess(self, inputs: Sequence[str], prompt: str | None = None, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"sentence_embedding": torch.from_numpy(np.stack([self.embeddings[(prompt or "") + text] for text in inputs]))}

    def forward(self, features: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        return features

    def get_embedding_dimension(self) -> int:
        """Width d."""
        return len(next(iter(self.embeddings.values())))

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        raise BSAError("cached embeddings are not saved: they stand in for an encoder")


def score(model: SentenceTransformer, tasks: list[AbsTask]) -> dict[str, float]:
    """Main score of every task through mteb's own wrapper."""
    wrapper = SentenceTransformerEncoderWrapper(model)
    results = mteb.evaluate(wrapper, tasks, cache=None, show_progress_bar=False)
    return {task.metadata.name: float(result.get_score()) for task, result in zip(tasks, results.task_results, strict=True)}


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
    return share(weights @ np.concatenate(codes).T, general)


def found_refined(head: BinarySparsityAlignment, general: General) -> float:
    """found@10 of float queries against refined codes, which only bsa_st makes."""
    codes = encode_embeddings(head, general.documents, refine=True)
    decoder = as_decoder(head, head.hidden_dim)
    assert decoder is not None
    return share(asymmetric_scores(general.queries, codes, *decoder), general)


def measure(inputs: Inputs, name: str, seed: int, tasks: list[AbsTask], source: KnownTexts) -> dict[str, Any]:
    """One head; see the module."""
    size = HEADS[name]
    settings = DistillSettings(seed=seed) if size is None else DistillSettings.of_bytes(size, seed=seed)
    head = train_head(np.array(inputs.general.training), settings, show_progress_bar=False)
    routers = stock_modules(head)
    model = SentenceTransformer(modules=[source, *routers], device="cpu", similarity_fn_name="dot")
    weights = {id(tensor): tensor.numel() for tensor in routers[0].parameters()}
    return {
        "found": found(head, inputs.general),
        "refined": found_refined(head, inputs.general),
        "steps": 0 if head.unrolled is None else len(head.unrolled.layers),
        "weights": sum(weights.values()),
        "tasks": score(model, tasks) if tasks else {},
    }


def table() -> str:
    """The rows that are there, mean over seeds: found@10, and mteb's scores as shares of float32's; ``""`` without rows."""
    rows = read_json(RESULTS) if RESULTS.is_file() else []
    floats = {row["encoder"]: row["tasks"] for row in rows if row["head"] == FLOAT}
    body = []
    for encoder, head in dict.fromkeys((row["encoder"], row["head"]) for row in rows if row["head"] != FLOAT):
        same = [row for row in rows if (row["encoder"], row["head"]) == (encoder, head)]
        body.append(
            {
                "encoder": encoder,
                "head": head,
                "seeds": str(len(same)),
                "found@10": _spread([row["found"] for row in same]),
                "refined, for comparison": _spread([row["refined"] for row in same]),
                "nDCG@10, % of float32": _spread(_of_float(same, floats.get(encoder, {}), False)),
                "Spearman, % of float32": _spread(_of_float(same, floats.get(encoder, {}), True)),
            }
        )
    return records_table(body)


def _spread(values: list[float]) -> str:
    """Mean and range over seeds, in per cent."""
    if not values:
        return MISSING
    mean, least, most = (100 * value for value in (np.mean(values), min(values), max(values)))
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ({least:.1f} to {most:.1f})"


def _of_float(rows: list[dict[str, Any]], floats: dict[str, float], sts: bool) -> list[float]:
    names = [name for name in floats if name.startswith("sts") == sts]
    return [float(np.mean([row["tasks"][name] / floats[name] for name in names])) for row in rows if names and row["tasks"]]


app = new_app()


@app.command()
def main(
    data: Annotated[Path, typer.Argument(help="Folder with the general sentences and the local task folders.")],
    seeds: Annotated[int, typer.Option(help="Seeds of each head.", min=1)] = 3,
) -> None:
    """Measure what is missing in evaluation/results/plain.json, and print the table."""
    rows: list[dict[str, Any]] = read_json(RESULTS) if RESULTS.is_file() else []
    places = [data / f"retrieval_{name}" for name in RETRIEVAL] + [data / f"sts_{name}" for name in STS]
    folders = [folder for folder in places if folder.is_dir()]
    for name in ENCODERS:
        inputs = Inputs(name, data, with_tasks=False)
        tasks = [folder_task(folder) for folder in folders if name == MINILM]
        known: dict[str, np.ndarray] = {}
        for task in tasks:
            for texts in task_texts(task.data):  # type: ignore[attr-defined]
                known.update(zip(texts, inputs.embed(texts), strict=True))
        source = KnownTexts(known)
        wanted = [(FLOAT, 0), *((head, seed) for seed in range(seeds) for head in HEADS)]
        for head, seed in wanted:
            if any((row["encoder"], row["head"], row["seed"]) == (name, head, seed) for row in rows):
                continue
            if head != FLOAT:
                row = measure(inputs, head, seed, tasks, source)
            elif tasks:
                row = {"tasks": score(SentenceTransformer(modules=[source], device="cpu"), tasks)}
            else:
                continue
            rows.append({"encoder": name, "head": head, "seed": seed, **row})
            write_json(RESULTS, rows)
            logger.info("%s", rows[-1])
    typer.echo(table())


if __name__ == "__main__":
    run_command(app, "evaluation.stock.plain")
