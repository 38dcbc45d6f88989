"""Answers to the questions that reviewers asked about the method: small measurements, each a cell that is kept, and the page PAPER.md."""
