"""LanceDB: a table ``(id, bits, tags, payload)`` of the Lance format, in a folder or an object store.

The bits are a list of D / 8 uint8 of fixed size. Without an index every row is compared; the index is LanceDB's own IVF_FLAT by Hamming distance, which holds
the bits a second time. Appends, deletes, versions and crash safety are the format's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat

from bsa_st.engines.base import Documents, Engine, Found
from bsa_st.engines.url import one_line, shown_url
from bsa_st.errors import BSAError

PROBES = 320
"""Lists that are looked at; evaluation/NOTES.md has what fewer and more find at a million codes."""


class LanceDBEngine(Engine):
    """A table in a folder (``lancedb:///folder``) or an object store (``lancedb+s3://bucket/path``, ``lancedb+gs://...``).

    Args:
        url: The address.
        collection: Name of the table.
        index: See :class:`Engine`.
        probes: Lists that a search looks at, where there is an index.
    """

    name = "LanceDB"
    batch_size = 65_536

    def __init__(self, url: str, collection: str, *, index: bool | None = None, probes: int = PROBES) -> None:
        super().__init__(collection, index=index)
        transport, place = url.removeprefix("lancedb").split("://", 1)
        self._place = f"{transport[1:]}://{place}" if transport else place
        self._shown, self.probes = shown_url(url), probes
        with self._translated():
            self._database = lancedb.connect(self._place)
        self._open: Any = None

    @property
    def _table(self) -> Any:
        if self._open is None:
            self._open = self._database.open_table(self.collection)
        return self._open

    def hidden_dim(self) -> int | None:
        with self._translated():
            if self.collection not in self._database.list_tables(limit=10_000).tables:
                return None
            schema = self._table.schema
        kind = schema.field("bits").type if "bits" in schema.names else None
        if schema.names != ["id", "bits", "tags", "payload"] or not pa.types.is_fixed_size_list(kind):
            raise BSAError(f"table {self.collection} was not made by bsa_st; choose another collection")
        assert kind is not None
        return 8 * int(kind.list_size)

    def _create(self, hidden_dim: int) -> None:
        with self._translated():
            self._open = self._database.create_table(self.collection, schema=_schema(hidden_dim))

    def _upsert(self, documents: Documents) -> None:
        rows = _rows(documents, self._existing())
        with self._translated():
            # most loads bring new documents: appending is many times cheaper than merging
            between = f"id >= {documents.ids.min()} AND id <= {documents.ids.max()}"
            if self._table.count_rows(between) == 0:
                self._table.add(rows)
            else:
                self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        with self._translated():
            query = self._table.search(bits, vector_column_name="bits").distance_type("hamming").nprobes(self.probes)
            if self.index is False:
                query = query.bypass_vector_index()
            if groups:
                query = query.where(_condition(groups), prefilter=True)
            return _found(query.select(["id", "bits", "_distance"]).limit(count).to_arrow())

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        with self._translated():
            rows = self._table.search().where(_among(ids)).select(["id", "bits", "payload"]).limit(len(ids)).to_arrow()
        return _found(rows), [json.loads(text) if text else {} for text in rows["payload"].to_pylist()]

    def _count(self, groups: list[list[str]]) -> int:
        with self._translated():
            return int(self._table.count_rows(_condition(groups) if groups else None))

    def _delete(self, ids: list[int]) -> None:
        with self._translated():
            self._table.delete(_among(ids))

    def drop(self) -> None:
        with self._translated():
            self._database.drop_table(self.collection, ignore_missing=True)  # type: ignore[call-arg]  # the base class lacks it
        self._open = self._width = None

    def finish(self) -> None:
        """Build the IVF index, or bring it up to date with what was added."""
        with self._translated():
            if any(index.columns == ["bits"] for index in self._table.list_indices()):
                self._table.optimize()
            elif self._wants_index():
                lists = max(1, int(math.sqrt(self._table.count_rows())))
                self._table.create_index("bits", config=IvfFlat(distance_type="hamming", num_partitions=lists))

    def disk_bytes(self) -> dict[str, int]:
        """Bytes of the table's files, and of its indexes."""
        if "://" in self._place:
            return super().disk_bytes()
        folder = Path(self._place) / f"{self.collection}.lance"
        files = [path for path in folder.rglob("*") if path.is_file()]
        index = sum(path.stat().st_size for path in files if "_indices" in path.parts)
        return {"documents": sum(path.stat().st_size for path in files) - index, "index": index}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except BSAError:
            raise
        except Exception as error:  # Rust's errors come as ValueError, RuntimeError, OSError and others
            raise BSAError(f"LanceDB at {self._shown}: {one_line(error)}") from error


def _schema(hidden_dim: int) -> pa.Schema:
    bits = pa.list_(pa.uint8(), hidden_dim // 8)
    return pa.schema([("id", pa.int64()), ("bits", bits), ("tags", pa.list_(pa.string())), ("payload", pa.string())])


def _rows(documents: Documents, hidden_dim: int) -> pa.Table:
    bits = pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(documents.bits).reshape(-1)), hidden_dim // 8)
    payloads = [json.dumps(payload, ensure_ascii=False) if payload else None for payload in documents.payloads]
    tags = [names or None for names in documents.keywords]
    return pa.table(
        [pa.array(documents.ids), bits, pa.array(tags, pa.list_(pa.string())), pa.array(payloads, pa.string())],
        schema=_schema(hidden_dim),
    )


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
