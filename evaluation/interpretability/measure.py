"""All measurements of interpretability, as one dictionary."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sentence_transformers.util import quantize_embeddings

from bsa_st import BSAError, DistillSettings
from bsa_st.codes import BinaryCodes
from bsa_st.explain.atlas import RELIABLE_AUC
from bsa_st.explain.terms import feature_terms
from evaluation.embeddings import EmbeddingStore, unit_rows
from evaluation.encoders import MINILM, load_encoder
from evaluation.interpretability.heads import FAMILIES, SEEDS, TrainedHead, trained_head
from evaluation.interpretability.probing import DATASETS, probe, read_labelled
from evaluation.interpretability.stability import chance, stability
from evaluation.training import general_texts

logger = logging.getLogger("evaluation.interpretability")

Encoder = Callable[[np.ndarray], "np.ndarray | sparse.csr_matrix"]


def measure(
    data: Path, settings: DistillSettings, train_limit: int, label_texts: int, work: Path, cache_dir: Path | None
) -> dict[str, Any]:
    """Train (or read) all heads and measure.

    Args:
        data: Folder with ``text_mix`` and the labelled sets.
        settings: Sizes and steps of all heads.
        train_limit: Short training texts drawn at random.
        label_texts: Training texts that labels are made from.
        work: Folder of trained heads.
        cache_dir: Folder of the embedding cache.

    Returns:
        ``settings``, ``probing`` {set: {method: {k: accuracy}}}, ``stability`` {family: figures}, ``labels`` {family: figures}.

    Raises:
        BSAError: If the data folder lacks something.
    """
    store = EmbeddingStore(load_encoder(MINILM), cache_dir)
    texts = general_texts(data, [], train_limit)
    if not texts:
        raise BSAError(f"{data} holds no training texts (text_mix/mix.txt.gz)")
    training = store.training(texts)
    heads: dict[str, list[TrainedHead]] = {family: [] for family in FAMILIES}
    for family in FAMILIES:
        for seed in SEEDS:
            logger.info("head %s, seed %d", family, seed)
            heads[family].append(trained_head(family, dataclasses.replace(settings, seed=seed), texts, training, work))
    first = {family: pair[0] for family, pair in heads.items()}
    return {
        "encoder": MINILM,
        "settings": {"hidden_dim": settings.hidden_dim, "k": settings.k, "steps": settings.steps, "training_texts": len(texts)},
        "probing": {name: _probing(store, data / name, first) for name in DATASETS},
        "stability": {
            family: {**stability(one.decoder, two.decoder), "chance": chance(one.decoder)}
            for family, (one, two) in heads.items()
        },
        "labels": {family: _labels(head, texts, training, label_texts) for family, head in first.items()},
    }


def _probing(store: EmbeddingStore, folder: Path, heads: dict[str, TrainedHead]) -> dict[str, Any]:
    labelled = read_labelled(folder)
    train, test = unit_rows(store.training(labelled.train)), unit_rows(store.training(labelled.test))
    encoders: dict[str, Encoder] = {
        **{family: head.encode for family, head in heads.items()},
        "dense": lambda dense: dense,
        "sign": lambda dense: np.unpackbits(np.asarray(quantize_embeddings(dense, precision="ubinary")), axis=1).astype(
            np.float32
        ),
    }
    found: dict[str, Any] = {"classes": len(set(labelled.train_labels)), "train": len(train), "test": len(test), "accuracy": {}}
    for name, encode in encoders.items():
        logger.info("probing %s, %s", folder.name, name)
        found["accuracy"][name] = probe(encode(train), labelled.train_labels, encode(test), labelled.test_labels)
    return found


def _labels(head: TrainedHead, texts: list[str], training: np.ndarray, count: int) -> dict[str, Any]:
    """Quality of the labels that :mod:`bsa_st.explain.terms` gives; a feature of CSR fires where its value is not 0."""
    rows = np.sort(np.random.default_rng(0).permutation(len(texts))[:count])
    logger.info("labels of %s from %d texts", head.family, len(rows))
    parts = []
    for start in range(0, len(rows), 4096):
        fires = head.encode(unit_rows(training[rows[start : start + 4096]]))
        fires.data = (fires.data > 0).astype(np.float32)
        parts.append(BinaryCodes.from_scipy(fires))
    codes = BinaryCodes.concatenate(parts)
    auc = feature_terms([texts[row] for row in rows], codes).auc
    measured = np.array([value for value in auc if value is not None])
    return {
        "texts": len(rows),
        "never_fired": int((np.bincount(codes.ids, minlength=codes.hidden_dim) == 0).sum()),
        "active_mean": round(float(codes.counts.mean()), 2),
        "measured": len(measured),
        "mean_auc": round(float(measured.mean()), 4) if len(measured) else None,
        "share_reliable": round(float((measured >= RELIABLE_AUC).sum() / len(auc)), 4),
        "share_reliable_of_measured": round(float((measured >= RELIABLE_AUC).mean()), 4) if len(measured) else None,
        "auc_deciles": [round(float(value), 4) for value in np.percentile(measured, range(0, 101, 10))]
        if len(measured)
        else [],
    }
