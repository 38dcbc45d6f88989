"""The search benchmark: ``python -m evaluation.search``."""
