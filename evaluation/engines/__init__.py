"""Bytes and times in engines: ``python -m evaluation.engines``."""
