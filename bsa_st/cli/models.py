"""Models as the commands load them: without the bars and notices of other libraries, unless ``-v`` asks for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

verbose = False
"""Whether ``-v`` was given."""


def quiet() -> None:
    """Silence what transformers and tokenizers print while they load and save weights; our own bars stay."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else forked workers warn
    if verbose:
        return
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def load_model(name: str, device: str | None = None) -> SentenceTransformer:
    """A BSA model from the Hub or a folder; raises what :func:`bsa_st.load` raises."""
    quiet()
    from bsa_st.hub import load

    return load(name, device=device)
