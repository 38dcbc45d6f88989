"""The decoder of a head as arrays. torch is imported only where there is a model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bsa_st.errors import BSAError


class Decoder(NamedTuple):
    """``x_hat = V^T h + c``: ``weight`` V, float32 (D, d), and ``offset`` c, float32 (d,)."""

    weight: np.ndarray
    offset: np.ndarray


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
