"""Model upgrades without encoding stored texts again: a new head or a new encoder in front of old codes, by cross-version nDCG@10."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import orthogonal_procrustes

from bsa_st import BinaryCodes, encode_embeddings
from bsa_st.codes.scoring import asymmetric_scores, decode
from evaluation.embeddings import unit_rows
from evaluation.encoders import MINILM, WORDLLAMA
from evaluation.markdown import markdown_table, score
from evaluation.paper.cells import Cell, Results
from evaluation.paper.figures import picture
from evaluation.paper.inputs import Inputs
from evaluation.paper.methods.bsa import BSA
from evaluation.paper.quality import ndcg
from evaluation.paper.smallheads import HeadKind, small_method, store, training_rows

title = "Model upgrades without encoding again"

OLD = HeadKind()
HEADS = {"another seed": HeadKind(seed=1), "another size": HeadKind(hidden_dim=768, k=78)}
ENCODERS = ((WORDLLAMA, MINILM), (MINILM, WORDLLAMA))
"""Old and new encoder."""
PAIRS = (500, 2000, 10_000, 31_000)
"""Texts that both encoders embed to fit the map."""
RIDGE = 0.01

FLOAT = "old float32 vectors, new queries mapped"
REENCODED = "encoded again (new queries, new codes)"
BEFORE = "before the upgrade (old queries, old codes)"
KEPT = "old head kept for old codes (float queries)"
MOVED = "old codes moved to the new head (float queries)"
NOTHING = "nothing done (new queries, old codes)"


def cells(quick: bool) -> list[Cell]:
    """New heads of the same encoder, then new encoders."""
    heads = [Cell(f"head-{name.replace(' ', '-')}", partial(_new_head, kind=kind)) for name, kind in HEADS.items()]
    encoders = [Cell(f"encoder-{old}-to-{new}", partial(_new_encoder, old=old, new=new)) for old, new in ENCODERS]
    return [heads[0], encoders[0]] if quick else [*heads, *encoders]


def render(results: Results, pictures: Path) -> str:
    """One table per upgrade, with the share of what encoding again would give."""
    parts = [_plot(results, pictures)] if any("pairs" in result for result in results.values()) else []
    parts.append(" ".join(_verdict(result) for result in results.values()))
    for result in results.values():
        again = result["rows"][REENCODED]
        body = [[name, score(value), f"{value / again:.1%}"] for name, value in result["rows"].items()]
        table = markdown_table(["queries and documents", "nDCG@10", "of encoding again"], body)
        parts.append(f"**{result['upgrade']}** (mean of {', '.join(result['tasks'])})\n\n{table}")
    parts.append(
        "Float queries and refined codes with their scale byte, scored by the decoder, unless a row says otherwise. The\n"
        "orthogonal map is fitted to general texts; the linear one is ridge regression on the same texts. Moved codes are old codes,\n"
        "decoded and encoded again by the new head: no text is needed. Encoders have heads of the same size."
    )
    return "\n\n".join(parts)


def _verdict(result: dict[str, Any]) -> str:
    """What the rows of one upgrade say."""
    rows = result["rows"]
    again = rows[REENCODED]
    if "pairs" not in result:
        kept, moved = rows[KEPT] / again, rows[MOVED] / again
        return f"{result['upgrade']}: keeping the old head for old codes gives {kept:.0%} of encoding again, moving the codes {moved:.0%}."
    mapped = max(result["pairs"].values())
    advice = "; while the old encoder runs, its own queries do better" if rows[BEFORE] > mapped else ""
    return f"{result['upgrade']}: mapped queries reach {mapped / again:.0%} of encoding again{advice}."


def _new_head(inputs: Inputs, kind: HeadKind) -> dict[str, Any]:
    """The encoder stays: float queries are as before, codes of queries and documents are not."""
    old, new = small_method(inputs, OLD), small_method(inputs, kind)
    sample = training_rows(inputs)[:5000]
    turn = orthogonal_map(_decoded(new, sample), _decoded(old, sample))
    quality: dict[str, list[float]] = {}
    for task in inputs.retrieval:
        collection = inputs.collection(task)
        stored, again = old.encode(collection.documents), new.encode(collection.documents)
        moved = encode_embeddings(new.head, unit_rows(decode(stored, old.decoder, old.offset)), refine=True)
        codes = _decoded(new, collection.queries)
        rankings = {
            REENCODED: _scores(new, collection.queries, again),
            KEPT: _scores(old, collection.queries, stored),
            MOVED: _scores(new, collection.queries, moved),
            "encoded again, queries as new codes": _scores(new, codes, again),
            "old codes, queries as new codes, both decoded": _scores(old, codes, stored),
            "the same with an orthogonal map between the decoders": _scores(old, codes @ turn, stored),
        }
        if new.head.hidden_dim == old.head.hidden_dim:
            rankings[NOTHING] = _scores(new, collection.queries, stored)
        for name, scores in rankings.items():
            quality.setdefault(name, []).append(float(ndcg(scores, collection).mean()))
    upgrade = (
        f"A new head: D={OLD.hidden_dim:,}, k={OLD.k}, seed {OLD.seed} to D={kind.hidden_dim:,}, k={kind.k}, seed {kind.seed}"
    )
    return {"upgrade": upgrade, "tasks": list(inputs.retrieval), "rows": _means(quality)}


def _new_encoder(inputs: Inputs, old: str, new: str) -> dict[str, Any]:
    """Old codes decode into the old encoder's space; new queries are mapped there."""
    old_method, new_method = (small_method(inputs, HeadKind(encoder=name)) for name in (old, new))
    old_rows, new_rows = training_rows(inputs, old), training_rows(inputs, new)
    sizes = [size for size in PAIRS if size <= len(old_rows)] or [len(old_rows)]
    maps = {size: orthogonal_map(new_rows[:size], old_rows[:size]) for size in sizes}
    linear = _ridge(new_rows[: sizes[-1]], old_rows[: sizes[-1]])
    quality: dict[str, list[float]] = {}
    for task in inputs.retrieval:
        collection = inputs.collection(task)
        data = collection.task.task.data  # type: ignore[attr-defined]
        texts = data.documents, list(data.queries.values())
        (old_documents, old_queries), (new_documents, new_queries) = (
            [store(inputs, name).evaluation(part) for part in texts] for name in (old, new)
        )
        stored, again = old_method.encode(old_documents), new_method.encode(new_documents)
        rankings = {
            REENCODED: _scores(new_method, new_queries, again),
            BEFORE: _scores(old_method, old_queries, stored),
            NOTHING: _scores(old_method, _cut(new_queries, old_rows.shape[1]), stored),
            **{_row(size): _scores(old_method, unit_rows(new_queries @ turn), stored) for size, turn in maps.items()},
            f"linear map from {sizes[-1]:,} texts": _scores(old_method, unit_rows(new_queries @ linear), stored),
            FLOAT: new_queries @ maps[sizes[-1]] @ old_documents.T,
        }
        for name, scores in rankings.items():
            quality.setdefault(name, []).append(float(ndcg(scores, collection).mean()))
    rows = _means(quality)
    upgrade = f"A new encoder: {old} ({old_rows.shape[1]} d) to {new} ({new_rows.shape[1]} d)"
    pairs = {str(size): rows[_row(size)] for size in sizes}
    return {"upgrade": upgrade, "tasks": list(inputs.retrieval), "rows": rows, "pairs": pairs}


def _row(size: int) -> str:
    return f"orthogonal map from {size:,} texts"


def _scores(method: BSA, queries: np.ndarray, codes: BinaryCodes) -> np.ndarray:
    return asymmetric_scores(queries, codes, method.decoder, method.offset)


def _decoded(method: BSA, dense: np.ndarray) -> np.ndarray:
    return unit_rows(decode(method.encode(dense), method.decoder, method.offset))


def _cut(rows: np.ndarray, width: int) -> np.ndarray:
    """The first ``width`` dimensions, zeros where there are none."""
    return np.pad(rows[:, :width], ((0, 0), (0, max(0, width - rows.shape[1]))))


def _ridge(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    gram = new.T @ new
    return np.asarray(np.linalg.solve(gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)), new.T @ old))


def _means(quality: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(float(np.mean(values)), 5) for name, values in quality.items()}


def _plot(results: Results, pictures: Path) -> str:
    figure, axes = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    for place, result in enumerate(one for one in results.values() if "pairs" in one):
        colour, rows = f"C{place}", result["rows"]
        sizes = [int(size) for size in result["pairs"]]
        axes.plot(
            sizes, list(result["pairs"].values()), "o-", color=colour, label=result["upgrade"].removeprefix("A new encoder: ")
        )
        for name, style in ((REENCODED, "--"), (BEFORE, ":"), (NOTHING, "-.")):
            axes.axhline(rows[name], color=colour, linestyle=style, linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("texts that both encoders embed")
    axes.set_ylabel("nDCG@10")
    axes.legend(fontsize=7)
    axes.set_title("dashed: encoded again; dotted: before the upgrade; dash-dotted: nothing done", fontsize=7)
    return picture(figure, pictures, "upgrades", "Cross-version nDCG@10 by the number of texts behind the map")


def orthogonal_map(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The (semi-)orthogonal map between two embedding spaces that fits pairs of rows best, keeping mean lengths: (d_new, d_old)."""
    width = max(new.shape[1], old.shape[1])
    rotation, _ = orthogonal_procrustes(*(np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in (new, old)))
    rotation = rotation[: new.shape[1], : old.shape[1]]
    return np.asarray(rotation * (np.linalg.norm(old) / np.linalg.norm(new @ rotation)), dtype=np.float32)
