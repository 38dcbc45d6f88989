"""Where an index meets a model: its decoder, and the codes of texts and dense queries. torch is imported only if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from bsa_st.codes import BinaryCodes
from bsa_st.codes.scoring import decode
from bsa_st.errors import BSAError
from bsa_st.index.counting import Decoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SYMMETRIC = ("overlap", "cosine", "jaccard", "idf")


def as_decoder(source: Any, hidden_dim: int) -> Decoder | None:
    """The decoder of a model, of a head, or of a pair of arrays (V, c); None for None.

    Raises:
        BSAError: If it does not fit ``hidden_dim``, or holds NaN or infinite values.
    """
    if source is None:
        return None
    if isinstance(source, (tuple, list)):
        weight, offset = source
    else:
        if not hasattr(source, "decoder_weight"):
            from bsa_st.monitor import head_of

            source = head_of(source)
        weight, offset = source.decoder_weight.detach().cpu().numpy(), source.decoder_bias.detach().cpu().numpy()
    decoder = Decoder(np.ascontiguousarray(weight, dtype=np.float32), np.ascontiguousarray(offset, dtype=np.float32))
    if decoder.weight.ndim != 2 or decoder.offset.shape != decoder.weight.shape[1:]:
        raise BSAError(f"a decoder has shapes (D, d) and (d,), got {decoder.weight.shape} and {decoder.offset.shape}")
    if len(decoder.weight) != hidden_dim:
        raise BSAError(f"the codes have {hidden_dim} features, the decoder {len(decoder.weight)}")
    if not all(np.isfinite(part).all() for part in decoder):
        raise BSAError("the decoder holds NaN or infinite values")
    return decoder


def given_codes(
    source: BinaryCodes | SentenceTransformer, texts: Iterable[str] | None, batch_size: int, show_progress_bar: bool
) -> tuple[BinaryCodes, SentenceTransformer | None]:
    """What an index is built from: codes as they are, or those of texts and the model that encoded them.

    Raises:
        BSAError: If there are codes and texts, or a model without texts.
    """
    if isinstance(source, BinaryCodes):
        if texts is not None:
            raise BSAError("give either codes, or a model and texts")
        return source, None
    if texts is None:
        raise BSAError("a model needs the texts to index")
    return encode_documents(source, texts, batch_size, show_progress_bar), source


def encode_documents(
    model: SentenceTransformer, texts: Iterable[str], batch_size: int = 32, show_progress_bar: bool = False
) -> BinaryCodes:
    """Codes of texts as an index stores them: refined, encoded with the model's prompt for documents."""
    from bsa_st.encoding import encode
    from bsa_st.prompts import document_prompt

    options = {"prompt_name": document_prompt(model), "batch_size": batch_size, "show_progress_bar": show_progress_bar}
    return encode(model, texts, refine=True, **options)  # type: ignore[arg-type]


def decoder_for(model: Any, saved: Decoder | None, hidden_dim: int, name: str) -> Decoder | None:
    """The decoder of an index that is opened with a model; raises :class:`BSAError` if the index was built with another one."""
    given = as_decoder(model, hidden_dim)
    if saved is None or given is None:
        return given if saved is None else saved
    if saved.weight.shape != given.weight.shape or not all(np.array_equal(a, b) for a, b in zip(saved, given, strict=True)):
        raise BSAError(f"{name} was built with another model: their decoders differ")
    return saved


def as_codes(documents: Any, model: Any, hidden_dim: int) -> BinaryCodes:
    """Documents to add to an index, texts encoded by the model.

    Args:
        documents: Codes or texts.
        model: For texts.
        hidden_dim: Features of the index.

    Raises:
        BSAError: If the codes do not fit the index.
    """
    codes = documents if isinstance(documents, BinaryCodes) else encode_documents(model, documents)
    if codes.hidden_dim != hidden_dim:
        raise BSAError(f"the index has {hidden_dim} features, the codes {codes.hidden_dim}")
    return codes


def encode_queries(
    queries: Any,
    scoring: str | None,
    model: SentenceTransformer | None,
    decoder: Decoder | None,
    hidden_dim: int,
    prompt: str | None,
) -> tuple[str, BinaryCodes | np.ndarray]:
    """The scoring that is meant, and the queries as it needs them: codes for symmetric ones, else float32 (n, d).

    Raises:
        BSAError: If the queries do not fit the index or the scoring.
    """
    if isinstance(queries, BinaryCodes):
        scoring = scoring or "cosine"
        if queries.hidden_dim != hidden_dim:
            raise BSAError(f"the index has {hidden_dim} features, the queries {queries.hidden_dim}")
        if scoring in SYMMETRIC:
            return scoring, queries
        if scoring != "decoded":
            raise BSAError(f"{scoring} scores need dense queries; for codes use decoded, or a symmetric score")
        return scoring, decode(queries, *_needed(decoder, scoring))
    scoring = scoring or "two-stage"
    dense = _dense(queries, model, prompt)
    if scoring in SYMMETRIC or scoring == "decoded":
        if model is None:
            raise BSAError(f"{scoring} scores need codes as queries, or the model that encodes them")
        codes = _codes(model, dense, refine=scoring == "decoded")
        return scoring, decode(codes, *_needed(decoder, scoring)) if scoring == "decoded" else codes
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
    if isinstance(queries, (list, tuple)) and queries and isinstance(queries[0], str):
        if model is None:
            raise BSAError("searching texts needs the model: Index.open(path, model=...)")
        from bsa_st.encoding import split_model
        from bsa_st.prompts import query_prompt
        from bsa_st.texts import read_texts

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


def _codes(model: SentenceTransformer, dense: np.ndarray, refine: bool) -> BinaryCodes:
    from bsa_st.encoding import encode_embeddings
    from bsa_st.monitor import head_of

    return encode_embeddings(head_of(model), dense, refine=refine)
