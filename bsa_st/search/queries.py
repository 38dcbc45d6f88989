"""What is asked and what is stored, from texts, arrays or codes. torch is imported only where there is a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.decoder import Decoder, as_decoder
from bsa_st.codes.scoring import decode
from bsa_st.errors import BSAError
from bsa_st.search.rescoring import Scoring

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

COUNTING = ("overlap", "cosine")


def encode_documents(
    model: SentenceTransformer, texts: Iterable[str], batch_size: int = 32, show_progress_bar: bool = False
) -> BinaryCodes:
    """Codes of texts as an index stores them: refined, encoded with the model's prompt for documents."""
    from bsa_st.encoding.encode import encode
    from bsa_st.inputs.prompts import document_prompt

    options = {"prompt_name": document_prompt(model), "batch_size": batch_size, "show_progress_bar": show_progress_bar}
    return encode(model, texts, **options)  # type: ignore[arg-type]


def decoder_for(model: Any, saved: Decoder | None, hidden_dim: int, name: str) -> Decoder | None:
    """The decoder of an index that is opened with a model; raises :class:`BSAError` if the index was built with another one."""
    given = as_decoder(model, hidden_dim)
    if saved is None or given is None:
        return given if saved is None else saved
    if saved.weight.shape != given.weight.shape or not all(
        np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(saved, given, strict=True)
    ):
        raise BSAError(f"{name} was built with another model: their decoders differ")
    return saved


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
    if scoring is not None and scoring not in get_args(Scoring):
        raise BSAError(f"scoring must be one of {', '.join(get_args(Scoring))}, got {scoring!r}")
    if isinstance(queries, BinaryCodes):
        scoring = scoring or "cosine"
        if queries.hidden_dim != hidden_dim:
            raise BSAError(f"the index has {hidden_dim} features, the queries {queries.hidden_dim}")
        if scoring in COUNTING:
            return scoring, queries
        if scoring != "decoded":
            raise BSAError(f"{scoring} scores need dense queries; for codes use decoded, overlap or cosine")
        return scoring, decode(queries, *_needed(decoder, scoring)[:2])
    scoring = scoring or "asymmetric"
    dense = _dense(queries, model, prompt)
    if scoring != "asymmetric":
        if model is None:
            raise BSAError(f"{scoring} scores need codes as queries, or the model that encodes them")
        from bsa_st.encoding.encode import encode_embeddings
        from bsa_st.head.layer import head_of

        codes = encode_embeddings(head_of(model), dense, refine=scoring == "decoded")
        return scoring, decode(codes, *_needed(decoder, scoring)[:2]) if scoring == "decoded" else codes
    width = _needed(decoder, scoring).weight.shape[1]
    if dense.shape[1] != width:
        raise BSAError(f"dense queries must have shape (n, {width}), got {dense.shape}")
    return scoring, dense


def _needed(decoder: Decoder | None, scoring: str) -> Decoder:
    if decoder is None:
        raise BSAError(f"{scoring} scores need a decoder: Index.build(codes, decoder=model)")
    return decoder


def _dense(queries: Any, model: SentenceTransformer | None, prompt: str | None) -> np.ndarray:
    if isinstance(queries, str):
        queries = [queries]
    if isinstance(queries, (list, tuple)) and queries and all(isinstance(query, str) for query in queries):
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
