"""What the shipped heads find on texts of another kind, beside heads trained on those: general sentences."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import asymmetric_scores
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.shipped.packed import read_head, shipped_heads
from evaluation import RESULTS_FOLDER
from evaluation.comparison.results import read
from evaluation.data.embeddings import EmbeddingStore
from evaluation.data.encoders import load_encoder
from evaluation.data.neighbours import General, general_texts, share
from evaluation.heads.train import ENCODERS
from evaluation.stock.plain import found_refined

logger = logging.getLogger("evaluation")


def found_by_heads(data: Path, names: list[str], training: list[str]) -> list[dict[str, Any]]:
    """found@10 of the shipped heads on general sentences.

    Queries that are training texts of the shipped heads are left out. Heads trained on 30,000 general sentences are those of ``python -m evaluation``.

    Args:
        data: Folder with ``text_mix/mix.txt.gz``.
        names: Encoders.
        training: Texts that the shipped heads have learnt from.
    """
    texts = general_texts(data)
    seen = {text.casefold() for text in training}
    kept = np.flatnonzero([text.casefold() not in seen for text in texts[0]])
    rows = []
    for name in names:
        store = EmbeddingStore(load_encoder(name))
        general = General(store.evaluation(texts[0])[kept], store.evaluation(texts[1]), np.empty(0, np.float32))
        for facts in shipped_heads():
            if facts.encoder != ENCODERS[name].name:
                continue
            head = read_head(facts)
            rows.append(
                {
                    "head": facts.name,
                    "bytes": head.hidden_dim // 8,
                    "queries": len(kept),
                    "documents": len(texts[1]),
                    "documents_seen": sum(text.casefold() in seen for text in texts[1]),
                    "found": round(found_refined(head, general), 4),
                    "found_flag_free": round(flag_free(head, general), 4),
                    "found_general": _trained_on_general(name, facts.code_bytes, kept),
                }
            )
            logger.info("%s", rows[-1])
    return rows


def flag_free(head: BinarySparsityAlignment, general: General) -> float:
    """found@10 of the codes that plain sentence-transformers makes, in one piece: the same bits as those of the exported layers."""
    assert head.unrolled is not None
    codes = BinaryCodes.from_dense(head.unrolled.codes(torch.from_numpy(np.array(general.documents))))
    decoder = head.unrolled.decoder.numpy()
    return share(
        asymmetric_scores(general.queries, codes, decoder, np.zeros_like(decoder[0]), head.unrolled.softening), general
    )


def _trained_on_general(name: str, code_bytes: int | None, kept: np.ndarray) -> float | None:
    """found@10 of compact heads trained on general sentences, of the same queries, mean over seeds; None where it was not measured."""
    path = RESULTS_FOLDER / "encoders" / f"{name}.json"
    if code_bytes is None or not path.is_file():
        return None
    found = read(path).queries("compact", code_bytes)
    return None if found is None else round(float(found[:, kept].mean()), 4)
