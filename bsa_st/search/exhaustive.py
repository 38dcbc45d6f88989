"""Exhaustive search of texts over stored codes: exact, without an index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import BLOCK_CELLS, Hits, Scoring, as_decoder, asymmetric_scores, scores
from bsa_st.codes.scoring import top_k as best_of
from bsa_st.search.queries import prepared

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def search(
    model: SentenceTransformer,
    queries: Any,
    documents: BinaryCodes,
    *,
    top_k: int = 10,
    scoring: Scoring = "asymmetric",
    prompt_name: str | None = None,
) -> Hits:
    """Best documents of each query.

    Args:
        model: The model that encoded the documents.
        queries: Texts (one as a ``str``), their dense embeddings, float (n, d), or for the scorings by codes their codes.
        documents: m codes from :func:`bsa_st.encode`; for ``asymmetric`` and ``decoded`` best with ``refine=True``.
        top_k: Hits per query; at most m come back.
        scoring: As in :meth:`bsa_st.Index.search`.
        prompt_name: Name of one of the model's prompts, for the queries; default ``query``, if it has such a prompt.

    Returns:
        Positions and scores, both (n, min(top_k, m)), best first; equal scores in the order of the documents.

    Raises:
        BSAError: If the model has no BSA head or another number of features, the scoring is unknown, or a query is empty.
    """
    decoder = as_decoder(model, documents.hidden_dim)
    assert decoder is not None
    measure, asked = prepared(queries, scoring, model, decoder, documents.hidden_dim, prompt_name)
    parts, step = [], max(1, BLOCK_CELLS // max(1, len(documents)))
    for start in range(0, len(asked), step):
        part = asked[start : start + step]
        coded = isinstance(part, BinaryCodes)
        parts.append(
            best_of(scores(part, documents, measure) if coded else asymmetric_scores(part, documents, *decoder), top_k)
        )
    return Hits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
