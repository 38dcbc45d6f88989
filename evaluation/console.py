"""What a run prints: its own progress, not that of the libraries."""

from __future__ import annotations

import logging
import os
import warnings


def set_up_console() -> None:
    """Once in every process, before the libraries are imported where that is possible."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("evaluation").setLevel(logging.INFO)
    logging.getLogger("mteb.models.model_meta").setLevel(logging.ERROR)  # it guesses at encoders whose ModelMeta is given
    warnings.filterwarnings("ignore", category=FutureWarning)  # mteb calls names that sentence-transformers has renamed
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
