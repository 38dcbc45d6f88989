"""Binary codes as arrays: their two forms, their file and their scores. No torch."""

from bsa_st.codes.binary_codes import BinaryCodes

__all__ = ["BinaryCodes"]
