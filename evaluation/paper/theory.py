"""Three predictions of theory beside measurement: bits for a resolution, variance of the overlap, alignment as contrastive learning."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm
from tqdm.auto import tqdm

from bsa_st.codes.scoring import asymmetric_scores, decode, pairwise_scores
from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from evaluation.paper import theorypage
from evaluation.paper.cells import Cell, Results
from evaluation.paper.contrastive import LOSSES, gradients, trained_with
from evaluation.paper.inputs import Inputs
from evaluation.paper.overlapmeasured import (
    PAIRS,
    Pairs,
    pairs_by_cosine,
    random_scores,
    rounded,
    sign_agreement,
    spread,
    threshold_overlap,
    topk_overlap,
)
from evaluation.paper.quality import ndcg
from evaluation.paper.smallheads import HeadKind, small_method, training_rows

title = "Theory, checked by experiment"

SHAPES = ((1024, 64), (4096, 64))
"""D and k of the random codes."""
TRAINED = ((1024, 64), (512, 96))
DRAWS, QUICK_DRAWS = 8, 2
LOSS_SHAPE = (512, 32)
LOSS_STEPS, QUICK_LOSS_STEPS = 300, 5
WORK_QUERIES = 200


def cells(quick: bool) -> list[Cell]:
    """Random codes, trained codes, the gradient of the alignment loss, and the losses that replace it."""
    found = [Cell("random-sign", _random_sign)]
    found += [Cell(f"random-{width}-{k}", partial(_random_sparse, width=width, k=k)) for width, k in SHAPES]
    found += [Cell("alignment-gradient", _gradients), Cell("alignment-replaced", _replaced)]
    found += [Cell(f"trained-{width}-{k}", partial(_trained, width=width, k=k)) for width, k in TRAINED]
    return [cell for cell in found if not quick or cell.name not in ("random-4096-64", "trained-512-96")]


def render(results: Results, pictures: Path) -> str:
    """Three plots, each with the sentences that its figures support."""
    return theorypage.render(results, pictures)


def _pairs(inputs: Inputs) -> Pairs:
    return pairs_by_cosine(inputs, 60 if inputs.quick else PAIRS)


def _random_sign(inputs: Inputs) -> dict[str, Any]:
    pairs, width = _pairs(inputs), 384
    draws = QUICK_DRAWS if inputs.quick else DRAWS
    return {
        "width": width,
        "random": rounded(spread(pairs, random_scores(pairs, width, sign_agreement, draws))),
        "embedding": rounded(spread(pairs, [sign_agreement(pairs.left, pairs.right)])),
    }


def _random_sparse(inputs: Inputs, width: int, k: int) -> dict[str, Any]:
    pairs = _pairs(inputs)
    draws = QUICK_DRAWS if inputs.quick else DRAWS
    threshold = float(norm.isf(k / width))
    return {
        "width": width,
        "k": k,
        "fixed": rounded(spread(pairs, random_scores(pairs, width, topk_overlap(k), draws))),
        "free": rounded(spread(pairs, random_scores(pairs, width, threshold_overlap(threshold), draws))),
    }


def _trained(inputs: Inputs, width: int, k: int) -> dict[str, Any]:
    """Spread of the scores of a trained head, and the postings that its queries read."""
    pairs = _pairs(inputs)
    method = small_method(inputs, HeadKind(width, k))
    head: BinarySparsityAlignment = method.head
    left, right = pairs.left + pairs.mean, pairs.right + pairs.mean
    plain_left, plain_right = (encode_embeddings(head, rows, refine=False) for rows in (left, right))
    stored = encode_embeddings(head, right, refine=True)
    decoded = decode(stored, method.decoder, method.offset) - pairs.mean
    lengths = np.linalg.norm(pairs.left, axis=1) * np.linalg.norm(decoded, axis=1)
    asymmetric = (pairs.left * decoded).sum(axis=1) / lengths  # the score of a float query, for cosines of centred embeddings
    documents = encode_embeddings(head, inputs.collection(inputs.retrieval[0]).documents, refine=False)
    rates = np.bincount(documents.ids, minlength=width) / len(documents)
    queries = encode_embeddings(head, inputs.collection(inputs.retrieval[0]).queries[:WORK_QUERIES], refine=False)
    return {
        "width": width,
        "k": k,
        "bytes": round(stored.nbytes / len(stored), 2),
        "overlap": rounded(spread(pairs, [pairwise_scores(plain_left, plain_right).astype(np.float64)])),
        "asymmetric": rounded(spread(pairs, [asymmetric.astype(np.float64)])),
        "postings_even": round(k * k / width, 3),
        "postings_read": round(float((queries.to_scipy() @ rates).mean()), 3),
    }


def _gradients(inputs: Inputs) -> dict[str, Any]:
    """The gradient before, early in and after training."""
    training = training_rows(inputs)
    texts = inputs.collection(inputs.retrieval[0]).documents[:256]
    stages = (0, 3, 5) if inputs.quick else (0, 50, LOSS_STEPS)
    heads = {step: trained_with("alignment 1 - cos", training, *LOSS_SHAPE, step)[0] for step in stages}
    return {"stages": {str(step): gradients(head, texts) for step, head in heads.items()}}


def _replaced(inputs: Inputs) -> dict[str, Any]:
    """Heads trained with the alignment loss, its contrastive forms, or neither."""
    steps = QUICK_LOSS_STEPS if inputs.quick else LOSS_STEPS
    training = training_rows(inputs)
    found: dict[str, Any] = {}
    for name in tqdm(LOSSES, desc="Losses", leave=False, disable=inputs.quick):
        head, active = trained_with(name, training, *LOSS_SHAPE, steps)
        head.calibrate(_tensor(training[:20_000]))
        decoder, offset = head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy()
        quality, counts, sizes = [], [], []
        for task in inputs.retrieval:
            collection = inputs.collection(task)
            codes = encode_embeddings(head, collection.documents, refine=False)
            counts.append(codes.counts.mean())
            sizes.append(codes.nbytes / len(codes))
            quality.append(ndcg(asymmetric_scores(collection.queries, codes, decoder, offset), collection).mean())
        figures = {"ndcg": np.mean(quality), "active": np.mean(counts), "bytes": np.mean(sizes)}
        found[name] = {figure: round(float(value), 4) for figure, value in figures.items()}
        found[name]["active_by_step"] = [round(value, 1) for value in active[:: max(1, steps // 50)]]
    return {"losses": found, "target": LOSS_SHAPE[1], "steps": steps}


def _tensor(rows: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
