"""Search with sentence-transformers and numpy alone: encode, pack, save, search. bsa_st is not needed.

    python examples/plain_search.py MODEL TEXTS "a query" ["another" ...]

MODEL is a folder written by ``bsa_st.save`` or a name on the Hub, TEXTS a file with one text per line.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).astype(np.float32)  # (256, 8)


def decoded_lengths(model: SentenceTransformer, bits: np.ndarray) -> np.ndarray:
    """What scores are divided by, float32 (n,); computed from packed codes, uint8 (n, D/8), so that nothing else is stored."""
    *_, beside, _, keep = model[-2].sub_modules["document"]
    width, features = beside.out_features - keep.out_features, keep.out_features
    decoder, offset = (tensor[:width].float().detach().cpu().numpy() for tensor in (beside.linear.weight, beside.linear.bias))
    return np.linalg.norm(np.unpackbits(bits, axis=1, count=features) @ decoder.T + offset, axis=1)


def search(weights: np.ndarray, bits: np.ndarray, lengths: np.ndarray, top_k: int) -> list[tuple[int, float]]:
    """The best rows and their scores. ``weights``: float32 (D,); ``bits``: uint8 (n, D/8)."""
    tables = weights.reshape(-1, 8) @ BYTES.T  # the score of every value of every byte
    scores = np.zeros(len(bits), dtype=np.float32)
    for table, column in zip(tables, bits.T, strict=True):
        scores += table[column]
    scores /= lengths
    best = np.argsort(-scores, kind="stable")[:top_k]
    return [(int(row), float(scores[row])) for row in best]


def main(name: str, file: str, *queries: str) -> None:
    """Encode a file's texts and print what the queries find."""
    model = SentenceTransformer(name)
    texts = [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    bits = model.encode_document(texts, precision="ubinary")
    np.save(Path(file).with_suffix(".npy"), bits)
    lengths = decoded_lengths(model, bits)
    for query, weights in zip(queries, model.encode_query(list(queries)), strict=True):
        sys.stdout.write(f"{query}\n")
        for row, score in search(weights, bits, lengths, top_k=3):
            sys.stdout.write(f"  {score:.4f} {texts[row]}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
