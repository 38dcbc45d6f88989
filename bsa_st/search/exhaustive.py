"""Exhaustive search of texts over stored codes: exact, without an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import BLOCK_CELLS, Hits, asymmetric_scores, decode, idf, scores
from bsa_st.codes.scoring import top_k as best_of
from bsa_st.errors import BSAError
from bsa_st.inputs.prompts import query_prompt

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from bsa_st.head.layer import BinarySparsityAlignment

Scoring = Literal["overlap", "cosine", "idf", "decoded", "asymmetric"]


def search(
    model: SentenceTransformer,
    queries: Iterable[str],
    documents: BinaryCodes,
    *,
    top_k: int = 10,
    scoring: Scoring = "asymmetric",
    prompt_name: str | None = None,
) -> Hits:
    """Best documents of each query.

    Args:
        model: The model that encoded the documents.
        queries: n texts.
        documents: m codes from :func:`bsa_st.encode`; for ``asymmetric`` and ``decoded`` best with ``refine=True``.
        top_k: Hits per query; at most m come back.
        scoring: ``asymmetric`` float query against code, the most exact; ``decoded`` the query's code, decoded, against code;
            ``overlap`` number of shared features; ``cosine`` that number divided by ``sqrt(k1 k2)``; ``idf`` the overlap with rare features weighing more.
        prompt_name: Name of one of the model's prompts, for the queries; default ``query``, if it has such a prompt.

    Returns:
        Positions and scores, both (n, min(top_k, m)), best first; equal scores in the order of the documents.

    Raises:
        BSAError: If the model has no BSA head or another number of features, the scoring is unknown, or a query is empty.
    """
    if scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    from bsa_st.encoding.encode import split_model
    from bsa_st.inputs.texts import read_texts

    encoder, head = split_model(model)
    if documents.hidden_dim != head.hidden_dim:
        raise BSAError(f"the documents have {documents.hidden_dim} features, the model {head.hidden_dim}")
    prompt_name = query_prompt(encoder, prompt_name)
    dense = encoder.encode(read_texts(queries), prompt_name=prompt_name, show_progress_bar=False)
    score = _scorer(head, dense, documents, scoring)
    step = max(1, BLOCK_CELLS // max(1, len(documents)))
    parts = [best_of(score(slice(start, start + step)), top_k) for start in range(0, len(dense), step)]
    return Hits(np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]))


def _scorer(
    head: BinarySparsityAlignment, dense: np.ndarray, documents: BinaryCodes, scoring: Scoring
) -> Callable[[slice], np.ndarray]:
    from bsa_st.encoding.encode import encode_embeddings

    decoder, offset = head.decoder_weight.detach().cpu().numpy(), head.decoder_bias.detach().cpu().numpy()
    softening = float(head.length_softening)
    if scoring in ("overlap", "cosine", "idf"):
        codes = encode_embeddings(head, dense, refine=False)
        weights = idf(documents) if scoring == "idf" else None
        return lambda part: scores(codes[part], documents, "cosine" if scoring == "cosine" else "overlap", weights)
    if scoring == "decoded":
        dense = decode(encode_embeddings(head, dense, refine=True), decoder, offset)
    return lambda part: asymmetric_scores(dense[part], documents, decoder, offset, softening)
