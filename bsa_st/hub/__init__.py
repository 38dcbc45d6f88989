"""How a model travels: folders on disk and models on the Hub."""

from bsa_st.hub.checks import FOLDER, load_head_config
from bsa_st.hub.folder import check_folder, check_target, load, load_head, save, save_sparse_encoder

__all__ = ["FOLDER", "check_folder", "check_target", "load", "load_head", "load_head_config", "save", "save_sparse_encoder"]
