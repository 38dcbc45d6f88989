"""DuckDB: a table ``(id, bits BIT, tags, payload)`` in a file that anyone can query.

Every row's distance is computed, by ``bit_count(xor(bits, ...))``; there is no index. Facets: ``SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM bsa) GROUP
BY tag``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bsa_st.engines.base import Documents, Found
from bsa_st.engines.sql import SQLEngine
from bsa_st.errors import BSAError

ARRIVING = pa.schema([("id", "int64"), ("bits", "binary"), ("tags", pa.list_(pa.string())), ("payload", "string")])


class DuckDBEngine(SQLEngine):
    """A table in a file, open for writing in one process at a time; ``index`` must not be true."""

    name = "DuckDB"
    batch_size = 65_536
    errors = (duckdb.Error, OSError)
    columns = [("id", "BIGINT"), ("bits", "BIT"), ("tags", "VARCHAR[]"), ("payload", "JSON")]
    bits = "bits::BLOB"
    among = "id IN (SELECT unnest(?::BIGINT[]))"
    having = "list_has_any(tags, ?)"

    def _connect(self) -> None:
        if self.index:
            raise BSAError("DuckDB has no index for Hamming distances")

    @cached_property
    def _opened(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(self.place)

    def _run(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return self._opened.execute(query, values or []).fetchall()

    def _hidden_dim(self) -> int | None:
        if "_opened" not in vars(self) and not Path(self.place).exists():
            return None
        query = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
        columns = self._run(query, [self.collection])
        if not columns or columns != self.columns:
            return 0 if columns else None
        # BIT has no width of its own: it is in the constraint
        query = "SELECT constraint_text FROM duckdb_constraints() WHERE table_name = ? AND constraint_type = 'CHECK'"
        ((check,),) = self._run(query, [self.collection])
        return int("".join(letter for letter in check if letter.isdigit()))

    def _create(self, hidden_dim: int) -> None:
        bits = f"bits BIT NOT NULL CHECK (bit_length(bits) = {hidden_dim})"
        self._run(f"CREATE TABLE {self._table} (id BIGINT PRIMARY KEY, {bits}, tags VARCHAR[], payload JSON)")

    def _upsert(self, documents: Documents) -> None:
        bits, tags = [row.tobytes() for row in documents.bits], [names or None for names in documents.keywords]
        self._opened.register("arriving", pa.table([documents.ids, bits, tags, documents.json()], schema=ARRIVING))
        self._run(f"INSERT OR REPLACE INTO {self._table} SELECT id, bits::BIT, tags, payload FROM arriving")

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        order = f"ORDER BY bit_count(xor(bits, ?::BLOB::BIT)) LIMIT {count}"
        query = f"SELECT id, {self.bits} FROM {self._table} {self._condition(groups)} {order}"
        return self._found(self._run(query, [*groups, bits.tobytes()]))

    def _finish(self) -> None:
        self._run("CHECKPOINT")  # from the log into the file
