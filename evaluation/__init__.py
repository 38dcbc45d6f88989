"""Evaluation of binary sparse codes beside every baseline, scored by mteb: ``python -m evaluation --help``."""
