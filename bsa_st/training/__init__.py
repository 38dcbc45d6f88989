"""Training a head from dense embeddings: losses by gradient, then least squares."""

from bsa_st.training.trainer import train_head

__all__ = ["train_head"]
