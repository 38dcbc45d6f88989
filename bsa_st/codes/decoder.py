"""The decoder of a head as arrays. torch is imported only where there is a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bsa_st.errors import BSAError


class Decoder(NamedTuple):
    """``x_hat = V^T h + c``: V float32 (D, d), c float32 (d,), and what is added to ``|x_hat|^2`` where scores are divided by its root."""

    weight: np.ndarray
    offset: np.ndarray
    softening: float = 0.0


def as_decoder(source: Any, hidden_dim: int) -> Decoder | None:
    """The decoder of a model, of a head, or of arrays (V, c), with or without the softening; None for None. Raises :class:`BSAError` if it does
    not fit ``hidden_dim``, or holds NaN or infinite values."""
    if source is None:
        return None
    if isinstance(source, (tuple, list)):
        weight, offset, softening = (*source, 0.0)[:3]
    else:
        if not hasattr(source, "decoder_weight"):
            source = source[-1] if len(source) else source
        if not hasattr(source, "decoder_weight"):
            raise BSAError("the model has no BSA head; load it with bsa_st.load instead of SentenceTransformer")
        weight, offset = source.decoder_weight.detach().cpu().numpy(), source.decoder_bias.detach().cpu().numpy()
        softening = float(source.length_softening)
    weight, offset = (np.ascontiguousarray(part, dtype=np.float32) for part in (weight, offset))
    decoder = Decoder(weight, offset, float(softening))
    if weight.ndim != 2 or offset.shape != weight.shape[1:]:
        raise BSAError(f"a decoder has shapes (D, d) and (d,), got {weight.shape} and {offset.shape}")
    if len(weight) != hidden_dim:
        raise BSAError(f"the codes have {hidden_dim} features, the decoder {len(weight)}")
    if not all(np.isfinite(part).all() for part in decoder):
        raise BSAError("the decoder holds NaN or infinite values")
    return decoder
