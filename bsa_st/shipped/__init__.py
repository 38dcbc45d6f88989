"""Heads that ship with the package, for encoders that many use: nothing to train."""

from bsa_st.shipped.attach import attach

__all__ = ["attach"]
