"""PostgreSQL with pgvector: a table ``(id, bits bit(D), tags text[], payload jsonb)``, filtered and joined in SQL.

Without an index every row's distance is computed, exactly. The HNSW index takes about three times the table's bytes; with a filter it is scanned on
until there are enough rows (``hnsw.iterative_scan``). Facets: ``SELECT tag, count(*) FROM bsa, unnest(tags) AS tag GROUP BY tag``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import psycopg

from bsa_st.engines.base import Documents, Found, Unavailable, one_line
from bsa_st.engines.sql import SQLEngine
from bsa_st.errors import BSAError

OLDEST = (0, 8)  # the first pgvector with iterative scans; ``bit`` came with 0.7
REFUSED = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "permission denied")
EXPLORED = 2.1
"""Size of HNSW's candidate list, ``hnsw.ef_search``, per candidate: 97 % of what scoring every code finds, at a million documents."""
MEMORY = "1GB"  # where a million documents' graph is built; beyond that pgvector goes on slowly, on disk


class PostgresEngine(SQLEngine):
    """A table in a database that has the extension ``vector``, in the first schema of the search path.

    The connection is opened when it is needed, and again after it was lost.
    """

    name = "PostgreSQL"
    batch_size = 10_000
    errors = (psycopg.Error,)
    columns = [("id", "bigint"), ("bits", "bit"), ("tags", "text[]"), ("payload", "jsonb")]
    bits = "bits"
    prefix = 4  # PostgreSQL's binary form of ``bit``: its length, then the bits, the first one highest
    among = "id = ANY(%s)"
    having = "tags && %s"

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        with self._opened.transaction(), self._opened.cursor(binary=True) as cursor:
            yield cursor

    @cached_property
    def _opened(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, connect_timeout=10, autocommit=True)

    def _run(self, query: str, values: list[Any] | None = None, *settings: str) -> list[tuple[Any, ...]]:
        with self._transaction() as cursor:
            for setting in settings:
                cursor.execute(f"SET LOCAL {setting}".encode())
            cursor.execute(query.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def _error(self, error: Exception) -> BSAError:
        if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
            self.close()
            if error.sqlstate == "53300" or not any(words in str(error) for words in REFUSED):
                return Unavailable(f"{self.where} does not answer ({one_line(error)})")
        return super()._error(error)

    def _hidden_dim(self) -> int | None:
        known = "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        query = f"SELECT attname::text, format_type(atttypid, NULL), atttypmod FROM pg_attribute {known} ORDER BY attnum"
        found = self._run(query, [self._table])
        if not found or [(name, kind) for name, kind, _ in found[:4]] != self.columns:
            return 0 if found else None
        return int(found[1][2])

    def _create(self, hidden_dim: int) -> None:
        if not self._run("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'"):
            raise BSAError(f"{self.where} has no pgvector; install it there")
        # ids mostly arrive in order, so that a full key wastes no room
        columns = f"id bigint PRIMARY KEY WITH (fillfactor = 100), bits bit({hidden_dim}) NOT NULL, tags text[], payload jsonb"
        with self._transaction() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
            ((version,),) = cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchall()
            self._check_version(f"pgvector {version}", OLDEST, " (ALTER EXTENSION vector UPDATE)")
            cursor.execute(f"CREATE TABLE {self._table} ({columns})".encode())

    def _upsert(self, documents: Documents) -> None:
        rows = zip(documents.ids.tolist(), documents.bits, documents.keywords, documents.payloads, strict=True)
        with self._transaction() as cursor:
            cursor.execute(f"CREATE TEMP TABLE _arriving (LIKE {self._table}) ON COMMIT DROP".encode())
            with cursor.copy("COPY _arriving FROM STDIN") as copy:
                for name, bits, tags, payload in rows:
                    copy.write_row((name, f"x{bits.tobytes().hex()}", tags or None, json.dumps(payload) if payload else None))
            values = "bits = EXCLUDED.bits, tags = EXCLUDED.tags, payload = EXCLUDED.payload"
            insert = f"INSERT INTO {self._table} SELECT * FROM _arriving ORDER BY id ON CONFLICT (id) DO UPDATE SET {values}"
            cursor.execute(insert.encode())

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        text = "".join(map(str, np.unpackbits(bits)))
        order = f"ORDER BY bits <~> '{text}'::bit({len(text)}) LIMIT {count}"
        settings = [f"hnsw.ef_search = {min(1000, max(100, round(EXPLORED * count)))}"]
        settings += ["hnsw.iterative_scan = strict_order"] if groups else []  # what it keeps for later costs 2 % of the time
        settings += ["enable_indexscan = off"] if self.index is False else []
        query = f"SELECT id, bits FROM {self._table} {self._condition(groups)} {order}"
        return self._found(self._run(query, list(groups), *settings))

    def _finish(self) -> None:
        """Build the HNSW index over the bits and, where there are tags, an index over these; collect statistics."""
        wanted = {"bits": "USING hnsw (bits bit_hamming_ops)"} if self._wants_index() else {}
        if self._run(f"SELECT 1 FROM {self._table} WHERE tags IS NOT NULL LIMIT 1"):
            wanted["tags"] = "USING gin (tags)"
        for column, kind in wanted.items():
            query = f'CREATE INDEX IF NOT EXISTS "{self.collection}_{column}" ON {self._table} {kind}'
            self._run(query, None, f"maintenance_work_mem = '{MEMORY}'")
        self._opened.execute(f"VACUUM (ANALYZE) {self._table}".encode())
