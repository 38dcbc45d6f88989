"""PostgreSQL with pgvector: one table, exact scores in SQL.

The table ``(id, code, factor, source, payload)`` holds each code as ``sparsevec(D)`` of ones, and its factor as ``real``; the query is a sparsevec of
weights, and ``factor * (sum + constant)`` is computed by the query itself, over all rows: a sequential scan, exact. With ``form="bit"`` the code is a
``bit(D)``, for ``overlap``, ``jaccard`` and ``hamming``; it takes D / 8 bytes, however sparse. pgvector's HNSW indexes are approximate and none is made;
who wants one adds it, e.g. ``CREATE INDEX ON "name" USING hnsw (code bit_jaccard_ops)``, and queries in SQL.

Every batch is one transaction: copied into a temporary table, then inserted, replacing rows of the same id. Run for real, on a server from a package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from bsa_st.engines.base import Engine
from bsa_st.engines.documents import Documents, Filter, Layout, Unavailable, check_name, filter_values
from bsa_st.engines.queries import SparseQuery
from bsa_st.engines.url import shown_url
from bsa_st.errors import BSAError

OLDEST = (0, 7)
"""The first pgvector with sparsevec and distances of bit."""
REFUSED = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry", "permission denied")

ARRIVING = sql.Identifier("_arriving")
"""A temporary table; no collection can have its name, which would hide the collection."""

SCORES = {
    ("sparsevec", "overlap"): "-(code <#> {query})",
    ("sparsevec", "idf"): "-(code <#> {query})",
    ("sparsevec", "asymmetric"): "factor * (-(code <#> {query}) + {constant})",
    ("bit", "overlap"): "bit_count(code & {query})",
    ("bit", "jaccard"): "1 - (code <%%> {query})",
    ("bit", "hamming"): "-(code <~> {query})",
}
"""How a row is scored, by form and scoring; ``%`` doubled for psycopg."""


def sparsevec_text(features: np.ndarray | Sequence[int], weights: Sequence[float] | None, hidden_dim: int) -> str:
    """pgvector's text form of a sparse vector, ``{1:1,5:1}/D``, counting from 1; weights of 0 are left out."""
    if weights is None:
        entries = [f"{feature + 1}:1" for feature in features]
    else:
        entries = [f"{int(feature) + 1}:{weight!r}" for feature, weight in zip(features, weights, strict=True) if weight != 0]
    return "{" + ",".join(entries) + "}/" + str(hidden_dim)


def bit_text(features: np.ndarray | Sequence[int], hidden_dim: int) -> str:
    """PostgreSQL's text form of bits, feature 0 first."""
    bits = np.full(hidden_dim, ord("0"), np.uint8)
    bits[np.asarray(features, dtype=np.int64)] = ord("1")
    return bits.tobytes().decode()


def rows(documents: Documents, layout: Layout) -> Iterator[tuple[Any, ...]]:
    """Documents as rows to copy: id, code as text, factor, source, payload as JSON."""
    for row, name in enumerate(documents.ids):
        features = documents.features(row)
        is_bit = layout.form == "bit"
        code = bit_text(features, layout.hidden_dim) if is_bit else sparsevec_text(features, None, layout.hidden_dim)
        factor = None if documents.factors is None else documents.factors[row]
        yield name, code, factor, documents.source, json.dumps(documents.payloads[row])


def condition(filter: Filter | None) -> tuple[str, list[str]]:
    """SQL of a filter, and its parameters."""
    parts, parameters = [], []
    for field, values in filter_values(filter).items():
        parts.append("(" + " OR ".join(["payload @> %s::jsonb"] * len(values)) + ")")
        parameters += [json.dumps({field: value}) for value in values]
    return " AND ".join(parts) or "true", parameters


class PostgresEngine(Engine):
    """A table in a PostgreSQL database that has the extension ``vector``.

    Args:
        url: ``postgresql://user:password@host/database``, or any other connection string of libpq.
        collection: Name of the table, in the first schema of the search path.

    The connection is opened when it is first needed, and again after it was lost.
    """

    name = "PostgreSQL"
    scorings = ("overlap", "idf", "asymmetric", "jaccard", "hamming")
    forms = ("sparsevec", "bit")

    def __init__(self, url: str, collection: str) -> None:
        self.url, self.collection = url, check_name(collection)
        self._shown = shown_url(url)
        self._table = sql.Identifier(collection)
        self._connection: psycopg.Connection[Any] | None = None

    def layout(self) -> Layout | None:
        with self._transaction() as cursor:
            found = cursor.execute("SELECT to_regclass(%s)::oid", [f'"{self.collection}"']).fetchone()
            if found is None or found[0] is None:
                return None
            comment = cursor.execute("SELECT obj_description(%s, 'pg_class')", [found[0]]).fetchone()
        try:
            record = json.loads((comment or [None])[0] or "null")
        except ValueError:
            record = None
        return Layout.from_json(record, f"table {self.collection}")

    def _create(self, layout: Layout) -> None:
        if layout.form == "bit" and layout.asymmetric:
            raise BSAError("asymmetric scores need form='sparsevec'")
        with self._transaction() as cursor:
            self._check_extension(cursor)
            columns = f"id bigint PRIMARY KEY, code {layout.form}({layout.hidden_dim}) NOT NULL, factor real, source text NOT NULL, payload jsonb NOT NULL"
            cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(self._table, sql.SQL(columns)))
            comment = sql.Literal(json.dumps(layout.to_json()))
            cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(self._table, comment))

    def _check_extension(self, cursor: psycopg.Cursor[Any]) -> None:
        offered = cursor.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        if offered is None:
            raise BSAError(f"the PostgreSQL server at {self._shown} has no pgvector; install it there")
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        found = cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        version = str(found[0]) if found else "0"
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            raise BSAError(
                f"pgvector {version} at {self._shown} is too old; bsa_st needs 0.7 or newer (ALTER EXTENSION vector UPDATE)"
            )

    def _upsert(self, documents: Documents) -> None:
        layout = self._existing()
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("CREATE TEMP TABLE {} (LIKE {}) ON COMMIT DROP").format(ARRIVING, self._table))
            with cursor.copy(sql.SQL("COPY {} (id, code, factor, source, payload) FROM STDIN").format(ARRIVING)) as copy:
                for row in rows(documents, layout):
                    copy.write_row(row)
            cursor.execute(
                sql.SQL(
                    "INSERT INTO {} SELECT * FROM {} ON CONFLICT (id) DO UPDATE SET code = EXCLUDED.code, "
                    "factor = EXCLUDED.factor, source = EXCLUDED.source, payload = EXCLUDED.payload"
                ).format(self._table, ARRIVING)
            )

    def count(self, filter: Filter | None = None) -> int:
        where, parameters = condition(filter)
        with self._transaction() as cursor:
            query = sql.SQL("SELECT count(*) FROM {} WHERE " + where).format(self._table)
            found = cursor.execute(query, parameters).fetchone()
        return int(found[0]) if found else 0

    def _fetch(self, ids: Sequence[int], with_payload: bool) -> list[tuple[int, str, dict[str, Any]]]:
        columns = sql.SQL("payload" if with_payload else "'{}'::jsonb")
        query = sql.SQL("SELECT id, source, {} FROM {} WHERE id = ANY(%s)").format(columns, self._table)
        with self._transaction() as cursor:
            return list(cursor.execute(query, [list(ids)]).fetchall())

    def delete(self, ids: Sequence[int]) -> None:
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._table), [[int(name) for name in ids]])

    def drop(self) -> None:
        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(self._table))
        self._known = None

    def finish(self) -> None:
        """Collect statistics and mark pages as all-visible, which the planner and later counts gain from."""
        with self._transaction(autocommit=True) as cursor:
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(self._table))

    def _search(self, query: SparseQuery, top_k: int, filter: Filter | None) -> list[tuple[int, float]]:
        layout = self._existing()
        score = SCORES.get((layout.form, query.scoring))
        if score is None:
            raise BSAError(f"a collection of form {layout.form} does not know the scoring {query.scoring}")
        where, parameters = condition(filter)
        table = self._table if not filter else sql.SQL("(SELECT * FROM {} WHERE " + where + ") AS filtered").format(self._table)
        if query.probes is not None:
            first = sql.SQL(score).format(query=_literal(query.heaviest(), layout), constant=sql.Literal(query.constant))
            table = sql.SQL("(SELECT * FROM {} ORDER BY {} DESC LIMIT {}) AS candidates").format(
                table, first, sql.Literal(query.candidates)
            )
        with self._transaction() as cursor:
            found = cursor.execute(
                sql.SQL(
                    "SELECT id, score FROM (SELECT id, ({})::float8 AS score FROM {}) AS scored {} ORDER BY score DESC, id LIMIT {}"
                ).format(
                    sql.SQL(score).format(query=_literal(query, layout), constant=sql.Literal(query.constant)),
                    table,
                    sql.SQL("" if query.scoring in ("asymmetric", "hamming") else "WHERE score > 0"),
                    sql.Literal(top_k),
                ),
                parameters,
            ).fetchall()
        return [(int(name), float(value)) for name, value in found]

    def disk_bytes(self) -> int:
        """Bytes of the table and its indexes."""
        with self._transaction() as cursor:
            found = cursor.execute("SELECT pg_total_relation_size(%s::regclass)", [f'"{self.collection}"']).fetchone()
        return int(found[0]) if found else 0

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
        except psycopg.ProgrammingError as error:
            self._refuse(error)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            self.close()
            if error.sqlstate == "53300" or not any(words in str(error) for words in REFUSED):
                raise Unavailable(f"PostgreSQL at {self._shown} does not answer ({_one_line(error)})") from error
            self._refuse(error)
        except psycopg.Error as error:
            self._refuse(error)

    def _refuse(self, error: psycopg.Error) -> None:
        raise BSAError(f"PostgreSQL at {self._shown}: {_one_line(error)}") from error


def _literal(query: SparseQuery, layout: Layout) -> sql.Composable:
    if layout.form == "bit":
        return sql.Literal(bit_text(query.features, layout.hidden_dim)) + sql.SQL(f"::bit({layout.hidden_dim})")
    weights = sparsevec_text(query.features, query.weights.tolist(), layout.hidden_dim)
    return sql.Literal(weights) + sql.SQL("::sparsevec")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
