"""Embeddings of many encoders share a direction: all cosines are high, and only small differences tell texts apart."""

from __future__ import annotations

import numpy as np

from bsa_st import DistillSettings, encode_embeddings
from bsa_st.codes.scoring import asymmetric_scores, decode
from bsa_st.training.trainer import train_head

SHIFT = 1.2
QUERIES = 200


def test_float_queries_find_neighbours_where_all_embeddings_are_alike(embeddings: np.ndarray) -> None:
    shared = np.random.default_rng(0).standard_normal(embeddings.shape[1]).astype(np.float32)
    rows = embeddings + SHIFT * shared / np.linalg.norm(shared)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries, documents = rows[:QUERIES], rows[QUERIES:]
    true = queries @ documents.T
    assert np.median(true) > 0.55, "the claim is about embeddings that are all alike"

    settings = DistillSettings(hidden_dim=512, k=84, selection="topk", refit_rounds=1, unroll_trials=0)
    head = train_head(documents, settings, show_progress_bar=False)
    codes = encode_embeddings(head, documents, refine=True)
    decoder, offset = head.decoder_weight.detach().numpy(), head.decoder_bias.detach().numpy()

    def found(scores: np.ndarray) -> float:
        best, own = (np.argsort(-matrix, axis=1)[:, :10] for matrix in (true, scores))
        return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), own.tolist(), strict=True)]))

    softening = float(head.length_softening)
    ours = found(asymmetric_scores(queries, codes, decoder, offset, softening))
    divided = found(asymmetric_scores(queries, codes, decoder, offset))
    decoded = decode(codes, decoder, offset)
    undivided = found(queries @ decoded.T)
    centred = documents - documents.mean(axis=0)
    signs = found(queries @ np.where(centred > 0, 1, -1).T.astype(np.float32))
    assert ours > undivided
    assert ours >= divided - 0.01
    assert softening > 0
    assert ours > signs + 0.15
