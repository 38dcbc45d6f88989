"""Codes of collections beyond one process or one memory: a folder of shard files with a manifest. The reader needs no torch."""
