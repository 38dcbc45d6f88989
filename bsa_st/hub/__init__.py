"""How a model travels: folders on disk and models on the Hub."""

from bsa_st.hub.checks import FOLDER
from bsa_st.hub.folder import check_target, load, save, save_sparse_encoder, write_names

__all__ = ["FOLDER", "check_target", "load", "save", "save_sparse_encoder", "write_names"]
