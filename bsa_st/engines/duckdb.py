"""DuckDB: a table ``(id, bits BIT, tags, payload)`` in a file that anyone can query.

Every row's distance is computed, by ``bit_count(xor(bits, ...))``; there is no index. Facets: ``SELECT tag, count(*) FROM (SELECT unnest(tags) AS tag FROM bsa) GROUP
BY tag``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from bsa_st.engines.base import Documents, Engine, Found
from bsa_st.engines.url import one_line
from bsa_st.errors import BSAError

COLUMNS = [("id", "BIGINT"), ("bits", "BIT"), ("tags", "VARCHAR[]"), ("payload", "JSON")]


class DuckDBEngine(Engine):
    """A table in a file, open for writing in one process at a time.

    Args:
        url: ``duckdb:///file``.
        collection: Name of the table.
        index: Must not be true.
    """

    name = "DuckDB"
    batch_size = 65_536

    def __init__(self, url: str, collection: str, *, index: bool | None = None) -> None:
        super().__init__(collection, index=index)
        if index:
            raise BSAError("DuckDB has no index for Hamming distances")
        self.path = Path(url.split("://", 1)[1])
        self._open: duckdb.DuckDBPyConnection | None = None

    def _run(self, query: str, values: list[Any] | None = None, **tables: pa.Table) -> list[tuple[Any, ...]]:
        try:
            if self._open is None:
                self._open = duckdb.connect(str(self.path))
            for name, table in tables.items():
                self._open.register(name, table)
            return self._open.execute(query, values or []).fetchall()
        except (duckdb.Error, OSError) as error:
            raise BSAError(f"DuckDB file {self.path}: {one_line(error)}") from error

    def hidden_dim(self) -> int | None:
        if self._open is None and not self.path.exists():
            return None
        query = "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index"
        columns = self._run(query, [self.collection])
        if columns and columns != COLUMNS:
            raise BSAError(f"table {self.collection} was not made by bsa_st; choose another collection")
        # BIT has no width of its own: it is in the constraint
        check = self._run(
            "SELECT constraint_text FROM duckdb_constraints() WHERE table_name = ? AND constraint_type = 'CHECK'",
            [self.collection],
        )
        return int("".join(letter for letter in check[0][0] if letter.isdigit())) if check else None

    def _create(self, hidden_dim: int) -> None:
        columns = (
            f"id BIGINT PRIMARY KEY, bits BIT NOT NULL CHECK (bit_length(bits) = {hidden_dim}), tags VARCHAR[], payload JSON"
        )
        self._run(f"CREATE TABLE {self.collection} ({columns})")

    def _upsert(self, documents: Documents) -> None:
        bits = pa.array([row.tobytes() for row in documents.bits], pa.binary())
        payloads = [json.dumps(payload, ensure_ascii=False) if payload else None for payload in documents.payloads]
        tags = pa.array([names or None for names in documents.keywords], pa.list_(pa.string()))
        rows = pa.table({"id": documents.ids, "bits": bits, "tags": tags, "payload": pa.array(payloads, pa.string())})
        query = f"INSERT OR REPLACE INTO {self.collection} SELECT id, bits::BIT, tags, payload FROM arriving"
        self._run(query, arriving=rows)

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        where, values = _condition(groups)
        query = (
            f"SELECT id, bits::BLOB FROM {self.collection} {where} ORDER BY bit_count(xor(bits, ?::BLOB::BIT)) LIMIT {count}"
        )
        return _found(self._run(query, [*values, bits.tobytes()]), len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        query = f"SELECT id, bits::BLOB, payload FROM {self.collection} WHERE id IN (SELECT unnest(?::BIGINT[]))"
        rows = self._run(query, [ids])
        return _found(rows, self._existing() // 8), [json.loads(row[2]) if row[2] else {} for row in rows]

    def _count(self, groups: list[list[str]]) -> int:
        where, values = _condition(groups)
        return int(self._run(f"SELECT count(*) FROM {self.collection} {where}", values)[0][0])

    def _delete(self, ids: list[int]) -> None:
        self._run(f"DELETE FROM {self.collection} WHERE id IN (SELECT unnest(?::BIGINT[]))", [ids])

    def drop(self) -> None:
        if self._open is not None or self.path.exists():
            self._run(f"DROP TABLE IF EXISTS {self.collection}")
        self._width = None

    def finish(self) -> None:
        """Move what was loaded from the log into the file."""
        self._run("CHECKPOINT")

    def disk_bytes(self) -> dict[str, int]:
        """Bytes of the file, other tables included."""
        return {"documents": self.path.stat().st_size, "index": 0}

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


def _condition(groups: list[list[str]]) -> tuple[str, list[Any]]:
    return ("WHERE " + " AND ".join(["list_has_any(tags, ?)"] * len(groups)) if groups else ""), list(groups)


def _found(rows: list[tuple[Any, ...]], width: int) -> Found:
    packed = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(-1, width)
    return Found(np.array([row[0] for row in rows], np.int64), packed)
