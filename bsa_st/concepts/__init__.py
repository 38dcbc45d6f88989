"""Reading texts in words: a dictionary of named features, tags, and scores explained by names."""

from bsa_st.concepts.dictionary import NamedDictionary
from bsa_st.concepts.names import name_features, stream_tags, tags

__all__ = ["NamedDictionary", "name_features", "stream_tags", "tags"]
