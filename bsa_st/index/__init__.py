"""Exact search over many codes: compressed storage, an inverted index of postings and bitmaps, rescoring by the decoder."""

from bsa_st.index.index import Index
from bsa_st.index.stats import IndexStats

__all__ = ["Index", "IndexStats"]
