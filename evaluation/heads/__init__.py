"""The heads that ship with the package: what they learn from, how they are trained, and what they lose against heads trained on other texts."""
