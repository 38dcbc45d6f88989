"""Heads that ship with the package, for encoders that many use: nothing to train."""
