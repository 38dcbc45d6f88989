"""Ways to store embeddings side by side at the same bytes: cells, results, ``RESULTS.md``."""
