"""What is asked, from texts, arrays or codes, and the exact search for it without an index. torch is imported only where there is a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import Decoder, Hits, Scoring, as_decoder, asymmetric_scores, blocks, decode, scores
from bsa_st.codes.scoring import top_k as best_of
from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def check_counts(**counts: Any) -> list[int]:
    """The arguments as ints; raises :class:`BSAError` where one is no whole number of at least 1."""
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise BSAError(f"{name} must be a whole number of at least 1, got {value!r}")
    return list(map(int, counts.values()))


def prepared(
    queries: Any,
    scoring: str | None,
    model: SentenceTransformer | None,
    decoder: Decoder | None,
    hidden_dim: int,
    prompt: str | None,
) -> tuple[Any, Any]:
    """The scoring that is meant, and the queries as it needs them: :class:`BinaryCodes` where features are counted, else float32 (n, d).

    Raises:
        BSAError: If the queries do not fit the index or the scoring.
    """
    coded = isinstance(queries, BinaryCodes)
    scoring = scoring or ("cosine" if coded else "asymmetric")
    if scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    if decoder is None and scoring in ("asymmetric", "decoded"):
        raise BSAError(f"{scoring} scores need a decoder: Index.build(codes, decoder=model)")
    if coded and scoring == "asymmetric":
        raise BSAError("asymmetric scores need dense queries; for codes use decoded, overlap or cosine")
    if not coded:
        queries = _dense(queries, model, prompt)
        if decoder is not None and len(queries) and queries.shape[1] != decoder.weight.shape[1]:
            raise BSAError(f"dense queries must have shape (n, {decoder.weight.shape[1]}), got {queries.shape}")
        if scoring == "asymmetric":
            return scoring, queries
        if model is None:
            raise BSAError(f"{scoring} scores need codes as queries, or the model that encodes them")
        from bsa_st.encoding.encode import encode_embeddings

        queries = encode_embeddings(model, queries, refine=scoring == "decoded")
    if queries.hidden_dim != hidden_dim:
        raise BSAError(f"the index has {hidden_dim} features, the queries {queries.hidden_dim}")
    return scoring, decode(queries, *decoder[:2]) if scoring == "decoded" and decoder is not None else queries


def _dense(queries: Any, model: SentenceTransformer | None, prompt: str | None) -> np.ndarray:
    if isinstance(queries, (str, Path)) or (isinstance(queries, (list, tuple)) and queries and isinstance(queries[0], str)):
        if model is None:
            raise BSAError("searching texts needs the model: Index.open(path, model=...)")
        from bsa_st.encoding.encode import split_model
        from bsa_st.inputs.prompts import query_prompt
        from bsa_st.inputs.texts import read_texts

        encoder, _ = split_model(model)
        prompt = query_prompt(encoder, prompt)
        return np.asarray(encoder.encode(read_texts(queries), prompt_name=prompt, show_progress_bar=False), dtype=np.float32)
    try:
        dense = np.asarray(queries.detach().cpu() if hasattr(queries, "detach") else queries, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BSAError("queries must be BinaryCodes, a float array of shape (n, d), or texts") from error
    dense = dense[None] if dense.ndim == 1 and dense.size else dense
    if dense.ndim != 2:
        raise BSAError(f"dense queries must have shape (n, d), got {dense.shape}")
    if not np.isfinite(dense).all():
        raise BSAError("the queries hold NaN or infinite values")
    return dense


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

    Example: ``bsa_st.search(model, ["cannot hear"], bsa_st.encode(model, texts), top_k=2).ids``
    """
    decoder = as_decoder(model, documents.hidden_dim)
    measure, asked = prepared(queries, scoring, model, decoder, documents.hidden_dim, prompt_name)

    def found(part: Any) -> Hits:
        coded = isinstance(part, BinaryCodes)
        return best_of(scores(part, documents, measure) if coded else asymmetric_scores(part, documents, *decoder), top_k)

    parts = [found(asked[rows]) for rows in blocks(len(asked), len(documents))] or [found(asked)]
    return Hits(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
