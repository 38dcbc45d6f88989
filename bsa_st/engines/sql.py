"""What the databases share: a table ``(id, bits, tags, payload)``, asked in SQL."""

from __future__ import annotations

import abc
import json
from typing import Any, ClassVar

from bsa_st.engines.base import Engine, Found


class SQLEngine(Engine):
    """A table of a database; what differs between their dialects is said once, in these attributes."""

    columns: ClassVar[list[tuple[str, str]]]  # names and types, as the database tells them
    bits: ClassVar[str]  # the bits as bytes, after so many bytes of ``prefix``
    prefix: ClassVar[int] = 0
    among: ClassVar[str]  # whether the id is in a list, the parameter
    having: ClassVar[str]  # whether there is a tag of a list, the parameter

    @abc.abstractmethod
    def _run(self, query: str, values: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows that a query finds."""

    @property
    def _table(self) -> str:
        return f'"{self.collection}"'

    def _condition(self, groups: list[list[str]]) -> str:
        return "WHERE " + " AND ".join([self.having] * len(groups)) if groups else ""

    def _found(self, rows: list[tuple[Any, ...]]) -> Found:
        return Found.of((row[0] for row in rows), (row[1][self.prefix :] for row in rows), self._existing() // 8)

    def _fetch(self, ids: list[int]) -> tuple[Found, list[dict[str, Any]]]:
        rows = self._run(f"SELECT id, {self.bits}, payload FROM {self._table} WHERE {self.among}", [ids])
        return self._found(rows), [json.loads(row[2]) if isinstance(row[2], str) else row[2] or {} for row in rows]

    def _count(self, groups: list[list[str]]) -> int:
        return int(self._run(f"SELECT count(*) FROM {self._table} {self._condition(groups)}", list(groups))[0][0])

    def _delete(self, ids: list[int]) -> None:
        self._run(f"DELETE FROM {self._table} WHERE {self.among}", [ids])

    def _drop(self) -> None:
        self._run(f"DROP TABLE IF EXISTS {self._table}")
