"""Answers to the questions that the method's reviewers asked: small measurements, each a cell that is kept, and the page STUDY.md."""
