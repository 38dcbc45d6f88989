"""PostgreSQL with pgvector: a table ``(id, bits bit(D), tags text[], payload jsonb)``, filtered and joined in SQL.

Without an index every row's distance is computed, exactly. The HNSW index takes about three times the table's bytes; with a filter it is scanned on
until there are enough rows (``hnsw.iterative_scan``). Facets: ``SELECT tag, count(*) FROM bsa, unnest(tags) AS tag GROUP BY tag``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from bsa_st.engines.base import Documents, Engine, Found, Unavailable
from bsa_st.engines.url import one_line, shown_url
from bsa_st.errors import BSAError

OLDEST = (0, 8)
"""The first pgvector with iterative scans; ``bit`` came with 0.7."""
REFUSED = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "permission denied")
MEMORY = "1GB"
"""Where a million documents' graph is built; beyond that pgvector goes on slowly, on disk."""
COLUMNS = [("id", "bigint"), ("bits", "bit"), ("tags", "text[]"), ("payload", "jsonb")]
ARRIVING = sql.Identifier("_arriving")


class PostgresEngine(Engine):
    """A table in a database that has the extension ``vector``, in the first schema of the search path.

    Args:
        url: ``postgresql://user:password@host/database``. The connection is opened when it is needed, and again after it was lost.
        collection: Name of the table.
        index: See :class:`Engine`.
    """

    name = "PostgreSQL"
    batch_size = 10_000

    def __init__(self, url: str, collection: str, *, index: bool | None = None) -> None:
        super().__init__(collection, index=index)
        self.url, self._shown = url, shown_url(url)
        self._table = sql.Identifier(collection)
        self._connection: psycopg.Connection[Any] | None = None

    def hidden_dim(self) -> int | None:
        query = "SELECT attname, format_type(atttypid, NULL), atttypmod FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        with self._transaction() as cursor:
            found = cursor.execute(query, [f'"{self.collection}"']).fetchall()
        if found and [(name, kind) for name, kind, _ in found[:4]] != COLUMNS:
            raise BSAError(f"table {self.collection} was not made by bsa_st; choose another collection")
        return int(found[1][2]) if found else None

    def _create(self, hidden_dim: int) -> None:
        with self._transaction() as cursor:
            self._check_extension(cursor)
            # ids mostly arrive in order, so that a full key wastes no room
            columns = "id bigint PRIMARY KEY WITH (fillfactor = 100), bits bit({}) NOT NULL, tags text[], payload jsonb"
            cursor.execute(sql.SQL("CREATE TABLE {} (" + columns + ")").format(self._table, sql.Literal(hidden_dim)))

    def _check_extension(self, cursor: psycopg.Cursor[Any]) -> None:
        if cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone() is None:
            raise BSAError(f"the PostgreSQL server at {self._shown} has no pgvector; install it there")
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        version = str(found[0]) if found else "0"
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise BSAError(
                f"pgvector {version} at {self._shown} is too old; bsa_st needs {needed} or newer (ALTER EXTENSION vector UPDATE)"
            )

    def _upsert(self, documents: Documents) -> None:
        rows = zip(documents.ids.tolist(), documents.bits, documents.keywords, documents.payloads, strict=True)
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(ARRIVING, self._table))
            with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(ARRIVING)) as copy:
                for name, bits, tags, payload in rows:
                    copy.write_row((name, f"x{bits.tobytes().hex()}", tags or None, json.dumps(payload) if payload else None))
            values = "bits = EXCLUDED.bits, tags = EXCLUDED.tags, payload = EXCLUDED.payload"
            insert = "INSERT INTO {} SELECT * FROM {} ORDER BY id ON CONFLICT (id) DO UPDATE SET " + values
            cursor.execute(sql.SQL(insert).format(self._table, ARRIVING))

    def _candidates(self, bits: np.ndarray, count: int, groups: list[list[str]]) -> Found:
        where, values = _condition(groups)
        query = sql.SQL("SELECT id, bits FROM {} " + where + " ORDER BY bits <~> {} LIMIT {}").format(
            self._table, sql.Literal(_bit_text(bits)) + sql.SQL(f"::bit({8 * len(bits)})"), sql.Literal(count)
        )
        with self._transaction() as cursor:
            cursor.execute(f"SET LOCAL hnsw.ef_search = {min(1000, max(100, count))}")
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
            if self.index is False:
                cursor.execute("SET LOCAL enable_indexscan = off")
            return _found(cursor.execute(query, values, binary=True).fetchall(), len(bits))

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        query = sql.SQL("SELECT id, bits, payload FROM {} WHERE id = ANY(%s)").format(self._table)
        with self._transaction() as cursor:
            rows = cursor.execute(query, [ids], binary=True).fetchall()
        return _found(rows, self._existing() // 8), [row[2] or {} for row in rows]

    def _count(self, groups: list[list[str]]) -> int:
        where, values = _condition(groups)
        with self._transaction() as cursor:
            found = cursor.execute(sql.SQL("SELECT count(*) FROM {} " + where).format(self._table), values).fetchone()
        return int(found[0]) if found else 0

    def _delete(self, ids: list[int]) -> None:
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._table), [ids])

    def drop(self) -> None:
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._table))
        self._width = None

    def finish(self) -> None:
        """Build the HNSW index over the bits and, where there are tags, an index over these; collect statistics."""
        wanted = {"bits": self._wants_index(), "tags": self._has_tags()}
        kinds = {"bits": "USING hnsw (bits bit_hamming_ops)", "tags": "USING gin (tags)"}
        for column in [one for one, is_wanted in wanted.items() if is_wanted]:
            name = sql.Identifier(f"{self.collection}_{column}")
            with self._transaction() as cursor:
                cursor.execute(f"SET LOCAL maintenance_work_mem = '{MEMORY}'")
                cursor.execute(sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} " + kinds[column]).format(name, self._table))
        with self._transaction(autocommit=True) as cursor:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(self._table))

    def _has_tags(self) -> bool:
        with self._transaction() as cursor:
            return bool(
                cursor.execute(sql.SQL("SELECT 1 FROM {} WHERE tags IS NOT NULL LIMIT 1").format(self._table)).fetchone()
            )

    def disk_bytes(self) -> dict[str, int]:
        """Bytes of the table with its primary key, and of the other indexes."""
        query = "SELECT pg_total_relation_size(%s::regclass), coalesce(sum(pg_relation_size(indexrelid)), 0) FROM pg_index WHERE indrelid = %s::regclass AND NOT indisprimary"
        with self._transaction() as cursor:
            whole, indexes = cursor.execute(query, [f'"{self.collection}"'] * 2).fetchone() or (0, 0)
        return {"documents": int(whole) - int(indexes), "index": int(indexes)}

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    @contextmanager
    def _transaction(self, autocommit: bool = False) -> Iterator[psycopg.Cursor[Any]]:
        """A cursor in a transaction of its own, on the open connection or a new one."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.url, connect_timeout=10, autocommit=True)
            if autocommit:
                yield self._connection.cursor()
            else:
                with self._connection.transaction():
                    yield self._connection.cursor()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            if error.sqlstate == "53300" or not any(words in str(error) for words in REFUSED):
                raise Unavailable(f"PostgreSQL at {self._shown} does not answer ({one_line(error)})") from error
            raise BSAError(f"PostgreSQL at {self._shown}: {one_line(error)}") from error
        except psycopg.Error as error:
            raise BSAError(f"PostgreSQL at {self._shown}: {one_line(error)}") from error


def _condition(groups: list[list[str]]) -> tuple[str, list[list[str]]]:
    return ("WHERE " + " AND ".join(["tags && %s"] * len(groups)) if groups else ""), groups


def _bit_text(bits: np.ndarray) -> str:
    return (np.unpackbits(bits) + ord("0")).tobytes().decode()


def _found(rows: list[tuple[Any, ...]], width: int) -> Found:
    """Rows in PostgreSQL's binary form: ``bit`` is its length, four bytes, then the bits, the first one highest."""
    packed = b"".join(row[1][4:] for row in rows)
    return Found(np.array([row[0] for row in rows], np.int64), np.frombuffer(packed, np.uint8).reshape(-1, width))
