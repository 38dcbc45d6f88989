"""What is asked and what is stored, from texts, arrays or codes. torch is imported only where there is a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder
from bsa_st.codes.scoring import Scoring, decode
from bsa_st.errors import BSAError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def prepared(
    queries: Any,
    scoring: str | None,
    model: SentenceTransformer | None,
    decoder: Decoder | None,
    hidden_dim: int,
    prompt: str | None,
) -> tuple[str, BinaryCodes | np.ndarray]:
    """The scoring that is meant, and the queries as it needs them: codes where features are counted, else float32 (n, d).

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
        from bsa_st.head.layer import head_of

        queries = encode_embeddings(head_of(model), queries, refine=scoring == "decoded")
    if queries.hidden_dim != hidden_dim:
        raise BSAError(f"the index has {hidden_dim} features, the queries {queries.hidden_dim}")
    if scoring == "decoded":
        assert decoder is not None
        return scoring, decode(queries, decoder.weight, decoder.offset)
    return scoring, queries


def _dense(queries: Any, model: SentenceTransformer | None, prompt: str | None) -> np.ndarray:
    if isinstance(queries, (str, Path)) or (
        isinstance(queries, (list, tuple)) and queries and all(isinstance(query, str) for query in queries)
    ):
        if model is None:
            raise BSAError("searching texts needs the model: Index.open(path, model=...)")
        from bsa_st.encoding.encode import split_model
        from bsa_st.inputs.prompts import query_prompt
        from bsa_st.inputs.texts import read_texts

        encoder, _ = split_model(model)
        prompt = query_prompt(encoder, prompt)
        return np.asarray(encoder.encode(read_texts(queries), prompt_name=prompt, show_progress_bar=False), dtype=np.float32)
    if hasattr(queries, "detach"):
        queries = queries.detach().cpu().numpy()
    try:
        dense = np.asarray(queries, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BSAError("queries must be BinaryCodes, a float array of shape (n, d), or texts") from error
    if dense.ndim == 1 and dense.size:
        dense = dense[None]
    if dense.ndim != 2:
        raise BSAError(f"dense queries must have shape (n, d), got {dense.shape}")
    if not np.isfinite(dense).all():
        raise BSAError("the queries hold NaN or infinite values")
    return dense
