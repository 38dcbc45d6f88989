"""Search over codes: an index on faiss, and exhaustive search of texts."""

from bsa_st.search.index import Index, IndexStats
from bsa_st.search.queries import search
from bsa_st.search.rescoring import Ranking

__all__ = ["Index", "IndexStats", "Ranking", "search"]
