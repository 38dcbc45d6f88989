"""What stock tools make of a model: plain sentence-transformers, mteb, other runtimes."""
