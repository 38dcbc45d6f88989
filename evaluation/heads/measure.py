"""What the shipped heads find on texts of another kind, beside heads trained on those: general sentences."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bsa_st.encoding.encode import encode_embeddings
from bsa_st.head.layer import BinarySparsityAlignment
from bsa_st.shipped.packed import read_head, shipped_heads
from bsa_st.training.statistics import FIRST
from evaluation.embeddings import EmbeddingStore
from evaluation.encoders import load_encoder
from evaluation.heads.train import ENCODERS
from evaluation.jsonfiles import read_json
from evaluation.neighbours import General, found_counts, general_texts, shares

RESULTS = Path(__file__).parent.parent / "results"

logger = logging.getLogger("evaluation")


def measure(data: Path, names: list[str], training: list[str]) -> list[dict[str, Any]]:
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
            refined, plain = found(head, general)
            rows.append(
                {
                    "head": facts.name,
                    "bytes": head.hidden_dim // 8,
                    "queries": len(kept),
                    "documents": len(texts[1]),
                    "documents_seen": sum(text.casefold() in seen for text in texts[1]),
                    "found": round(refined, 4),
                    "found_flag_free": round(plain, 4),
                    "found_general": _trained_on_general(name, facts.code_bytes, kept),
                }
            )
            logger.info("%s", rows[-1])
    return rows


@torch.no_grad()
def found(head: BinarySparsityAlignment, general: General) -> tuple[float, float]:
    """found@10 of refined codes, and of those that plain sentence-transformers makes."""
    codes = torch.from_numpy(encode_embeddings(head, general.documents, refine=True).to_dense().astype(np.float32))
    refined = _share(general, head.decode(codes), float(head.length_softening))
    assert head.unrolled is not None
    plain = head.unrolled.codes(torch.from_numpy(np.array(general.documents))).float() @ head.unrolled.decoder
    return refined, _share(general, plain, head.unrolled.softening)


def _share(general: General, decoded: torch.Tensor, softening: float) -> float:
    lengths = (decoded.square().sum(dim=1) + softening).sqrt()
    scores = (torch.from_numpy(np.array(general.queries)) @ decoded.T / lengths).numpy()
    assert general.truth.shape[1] == FIRST
    return float(shares(found_counts(scores, general.truth)).mean())


def _trained_on_general(name: str, code_bytes: int | None, kept: np.ndarray) -> float | None:
    """found@10 of compact heads trained on general sentences, of the same queries, mean over seeds; None where it was not measured."""
    path = RESULTS / f"{name}.json"
    if code_bytes is None or not path.is_file():
        return None
    cells = [cell for cell in read_json(path)["cells"] if cell["method"] == "compact" and cell["budget"] == code_bytes]
    if not cells:
        return None
    return round(float(np.mean([shares(_counts(cell))[kept].mean() for cell in cells])), 4)


def _counts(cell: dict[str, Any]) -> str:
    counts = cell["counts"]
    return str(counts[cell["estimate"]] if isinstance(counts, dict) else counts)
