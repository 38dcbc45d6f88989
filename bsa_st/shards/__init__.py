"""Codes of collections beyond one process or one memory: a folder of shard files with a manifest."""

from __future__ import annotations

from bsa_st.shards.reader import ShardedCodes
from bsa_st.shards.run import encode_streamed, encode_to_shards

__all__ = ["ShardedCodes", "encode_streamed", "encode_to_shards"]
