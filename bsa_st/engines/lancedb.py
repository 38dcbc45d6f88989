"""LanceDB: a table ``(id, bits, tags, payload)`` of the Lance format, in a folder or an object store.

The bits are a list of D / 8 uint8 of fixed size. Without an index every row is compared; the index is LanceDB's own IVF_FLAT by Hamming distance, which holds
the bits a second time. Appends, deletes, versions and crash safety are the format's.
"""

from __future__ import annotations

import json
import math
from functools import cached_property
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat

from bsa_st.engines.base import Documents, Engine, Found

PROBES = 320  # lists that are looked at; evaluation/NOTES.md has what fewer and more find at a million codes


class LanceDBEngine(Engine):
    """A table in a folder (``lancedb:///folder``) or an object store (``lancedb+s3://bucket/path``, ``lancedb+gs://...``)."""

    name = "LanceDB"
    batch_size = 65_536

    def _connect(self) -> None:
        self._database = lancedb.connect(f"{self.transport}://{self.place}" if self.transport else self.place)

    @cached_property
    def _table(self) -> Any:
        return self._database.open_table(self.collection)

    def _hidden_dim(self) -> int | None:
        if self.collection not in self._database.list_tables(limit=10_000).tables:
            return None
        schema = self._table.schema
        if schema.names != ["id", "bits", "tags", "payload"] or not pa.types.is_fixed_size_list(schema.field("bits").type):
            return 0
        return 8 * int(schema.field("bits").type.list_size)

    def _create(self, hidden_dim: int) -> None:
        self._table = self._database.create_table(self.collection, schema=_schema(hidden_dim // 8))

    def _upsert(self, documents: Documents) -> None:
        width = documents.bits.shape[1]
        bits = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(documents.bits).reshape(-1)), width)
        tags = [names or None for names in documents.keywords]
        rows = pa.table([documents.ids, bits, tags, documents.json()], schema=_schema(width))
        # most loads bring new documents: appending is many times cheaper than merging
        if self._table.count_rows(f"id >= {documents.ids.min()} AND id <= {documents.ids.max()}") == 0:
            self._table.add(rows)
        else:
            self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        query = self._table.search(bits, vector_column_name="bits").distance_type("hamming").nprobes(PROBES)
        if self.index is False:
            query = query.bypass_vector_index()
        if groups:
            query = query.where(_condition(groups), prefilter=True)
        return _found(query.select(["id", "bits", "_distance"]).limit(count).to_arrow())

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        rows = self._table.search().where(_among(ids)).select(["id", "bits", "payload"]).limit(len(ids)).to_arrow()
        return _found(rows), [json.loads(text) if text else {} for text in rows["payload"].to_pylist()]

    def _count(self, groups: list[list[str]]) -> int:
        return int(self._table.count_rows(_condition(groups) if groups else None))

    def _delete(self, ids: list[int]) -> None:
        self._table.delete(_among(ids))

    def _drop(self) -> None:
        self._database.drop_table(self.collection, ignore_missing=True)  # type: ignore[call-arg]  # the base class lacks it
        vars(self).pop("_table", None)

    def _finish(self) -> None:
        if any(index.columns == ["bits"] for index in self._table.list_indices()):
            self._table.optimize()  # brings the index up to date
        elif self._wants_index():
            lists = max(1, int(math.sqrt(self._table.count_rows())))
            self._table.create_index("bits", config=IvfFlat(distance_type="hamming", num_partitions=lists))


def _schema(width: int) -> pa.Schema:
    bits, tags = pa.list_(pa.uint8(), width), pa.list_(pa.string())
    return pa.schema([("id", pa.int64()), ("bits", bits), ("tags", tags), ("payload", pa.string())])


def _found(rows: pa.Table) -> Found:
    bits = rows["bits"].combine_chunks()
    return Found(rows["id"].to_numpy(), bits.flatten().to_numpy().reshape(len(rows), bits.type.list_size))


def _among(ids: list[int]) -> str:
    if len(ids) > 1 and max(ids) - min(ids) == len(ids) - 1:  # a batch of a load
        return f"id >= {min(ids)} AND id <= {max(ids)}"
    return f"id IN ({', '.join(map(str, ids))})"


def _condition(groups: list[list[str]]) -> str:
    quoted = [", ".join("'" + name.replace("'", "''") + "'" for name in group) for group in groups]
    return " AND ".join(f"array_has_any(tags, [{names}])" for names in quoted)
