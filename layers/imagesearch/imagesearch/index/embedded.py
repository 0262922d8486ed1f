"""The embedded index: exact search in a DuckDB file, for the demo, for tests, and for some ten thousand photos.

Each index is a table named after it, so one file can hold several vector spaces. A row has the document as JSON, and
columns for what filters compare. A deletion is a row too, without a vector, so that an upsert that comes late can't
bring the image back.
"""
# ruff: noqa: S608  # SQL is put together from names that are constants; values are always bound

import itertools
import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from imagesearch.errors import IndexUnavailable, InvalidFilter, InvalidInput, VectorIndexError
from imagesearch.index.base import Action, BulkResult, Document, Float32, Hit, Rejection, Upsert, index_name
from imagesearch.index.documents import (
    check_search,
    extra_term,
    milliseconds,
    to_document,
    to_metadata,
    unit,
    valid_id,
)
from imagesearch.index.filters import EXTRA, AllOf, And, AnyOf, Exists, Filter, Near, Not, Or, Range, Value, known_field
from imagesearch.parquet import ctrl_c

BATCH = 2_000
"""Actions that one transaction applies."""
EARTH_KM = 6_371.0087714
"""Mean radius of the Earth, as in Lucene's geo distance."""

# What filters compare, with its DuckDB type: the columns of a table besides id, version, vector and document. A date is
# its milliseconds since 1970.
TEXTS = ("uri", "etag", "format", "color", "credit", "title", "description")
COLUMNS: dict[str, str | list[str]] = {
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **dict.fromkeys(("width", "height", "bytes", "created_at"), "BIGINT"),
    **dict.fromkeys(("lat", "lon"), "DOUBLE"),
    "tags": ["VARCHAR"],
    "extra_values": ["VARCHAR"],
    "present": ["VARCHAR"],
}

_WRITING = threading.Lock()  # DuckDB refuses, rather than queues, a transaction that meets another's writes


class EmbeddedIndex:
    """A VectorIndex in the DuckDB file at `path`; in memory, and gone with this object, where `path` is None.

    Threads may share it. A file belongs to one process at a time.
    """

    def __init__(self, path: Path | None, fingerprint: str, dim: int) -> None:
        self.name = index_name(fingerprint)
        self.dim = dim
        self._table = '"' + self.name.replace('"', '""') + '"'
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = duckdb.connect(":memory:" if path is None else str(path))
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise IndexUnavailable(
                    f"the index {path} is in use by another process: end it, or use another file ({error})"
                ) from None
            raise VectorIndexError(f"the index {path} can't be opened: {error}") from error

    def close(self) -> None:
        """Release the file, so that another process may open it."""
        self._database.close()

    def create(self) -> None:
        """See VectorIndex.

        Raises:
            VectorIndexError: the table is there with another dimension.
        """
        columns = [f"{name} {kind if isinstance(kind, str) else kind[0] + '[]'}" for name, kind in COLUMNS.items()]
        with _WRITING, self._cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} "
                f"(id VARCHAR, version BIGINT, vector FLOAT[{self.dim}], document VARCHAR, {', '.join(columns)})"
            )
            there = "SELECT data_type FROM duckdb_columns() WHERE table_name = ? AND column_name = 'vector'"
            found = cursor.execute(there, [self.name]).fetchone()
        if found != (f"FLOAT[{self.dim}]",):
            raise VectorIndexError(f"the index {self.name} has vectors of type {found}, not of dimension {self.dim}")

    def drop(self) -> None:
        """See VectorIndex."""
        with _WRITING, self._cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {self._table}")

    def bulk(self, actions: Iterable[Action]) -> BulkResult:
        """See VectorIndex."""
        self.create()
        result = BulkResult()
        remaining = iter(actions)
        while batch := list(itertools.islice(remaining, BATCH)):
            self._apply(batch, result)
        return result

    def search(
        self,
        vector: Float32,
        k: int,
        *,
        filter: Filter | None = None,
        offset: int = 0,
        exact: bool = False,  # noqa: ARG002
    ) -> list[Hit]:
        """See VectorIndex. Every search is exact."""
        query = check_search(vector, k, offset, self.dim)
        where, values = _where(filter)
        rows = self._rows(
            f"SELECT id, array_inner_product(vector, ?::FLOAT[{self.dim}]) AS score, document FROM {self._table} "
            f"WHERE {where} ORDER BY score DESC, id LIMIT ? OFFSET ?",
            [query, *values, k, offset],
        )
        return [Hit(id, min(1.0, max(-1.0, score)), to_metadata(json.loads(document))) for id, score, document in rows]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See VectorIndex."""
        rows = self._rows(
            f"SELECT id, version, vector, document FROM {self._table} "
            "WHERE vector IS NOT NULL AND list_contains(?::VARCHAR[], id)",
            [[id for id in ids if valid_id(id)]],
        )
        return {
            id: Document(id, version, np.array(vector, dtype=np.float32), to_metadata(json.loads(document)))
            for id, version, vector, document in rows
        }

    def count(self, filter: Filter | None = None) -> int:
        """See VectorIndex."""
        where, values = _where(filter)
        rows = self._rows(f"SELECT count(*) FROM {self._table} WHERE {where}", values)
        return int(rows[0][0]) if rows else 0

    def versions(self) -> Iterator[tuple[str, int]]:
        """See VectorIndex."""
        return iter(self._rows(f"SELECT id, version FROM {self._table} WHERE vector IS NOT NULL", []))

    def refresh(self) -> None:
        """See VectorIndex. Nothing to do: what is committed is visible."""

    def _apply(self, actions: list[Action], result: BulkResult) -> None:
        """Apply `actions` in one transaction, one after the other as far as their versions are concerned."""
        rows = {}
        with _WRITING, self._cursor() as cursor:
            ids = [action.id for action in actions if valid_id(action.id)]
            known = f"SELECT id, version FROM {self._table} WHERE list_contains(?::VARCHAR[], id)"
            versions = dict(cursor.execute(known, [ids]).fetchall())
            for action in actions:
                try:
                    vector = unit(action.vector, self.dim) if isinstance(action, Upsert) else None
                    document = to_document(action)
                except InvalidInput as reason:
                    result.rejected.append(Rejection(action.id, str(reason)))
                    continue
                if action.version < versions.get(action.id, 0):
                    result.stale += 1
                    continue
                versions[action.id] = action.version
                rows[action.id] = (action.version, vector, document)
                result.upserted += vector is not None
                result.deleted += vector is None
            if rows:
                self._write(cursor, rows)

    def _write(
        self, cursor: duckdb.DuckDBPyConnection, rows: dict[str, tuple[int, Float32 | None, dict[str, Any]]]
    ) -> None:
        """Replace the rows of these ids."""
        columns = {}
        columns["id"] = _objects(rows)
        columns["version"] = np.array([version for version, _, _ in rows.values()], dtype=np.int64)
        columns["vector"] = _objects(vector for _, vector, _ in rows.values())
        columns["document"] = _objects(json.dumps(document) for _, _, document in rows.values())
        columns["compared"] = _objects(json.dumps(_compared(document)) for _, _, document in rows.values())
        cursor.register("batch", columns)
        cursor.begin()
        cursor.execute(f"DELETE FROM {self._table} WHERE id IN (SELECT id FROM batch)")
        cursor.execute(
            f"INSERT INTO {self._table} "
            "SELECT id, version, vector, document, unnest(from_json(compared, ?)) FROM batch",
            [json.dumps(COLUMNS)],
        )
        cursor.commit()

    def _rows(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The rows of a query; none if there is no table yet."""
        with self._cursor() as cursor:
            try:
                return cursor.execute(sql, values).fetchall()
            except duckdb.CatalogException:
                tables = cursor.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [self.name])
                if tables.fetchone():
                    raise
                return []

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of this thread's own; what goes wrong in the database comes out as VectorIndexError."""
        try:
            with ctrl_c(), self._database.cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            raise VectorIndexError(f"the embedded index {self.name} failed: {error}") from error


def _objects(values: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """An object array, one element a value, even where the values are arrays of one length."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    for i, value in enumerate(listed):
        array[i] = value
    return array


def _compared(document: dict[str, Any]) -> dict[str, Any]:
    """The columns of a document that filters compare."""
    compared = {name: document.get(name) for name in COLUMNS}
    if taken := compared["created_at"]:
        compared["created_at"] = milliseconds(datetime.fromisoformat(taken))
    return compared


def _where(filter: Filter | None) -> tuple[str, list[Any]]:
    """A condition, and the values of its `?`: the row is no deletion, and `filter` holds."""
    if filter is None:
        return "vector IS NOT NULL", []
    sql, values = _condition(filter)
    return f"vector IS NOT NULL AND {sql}", values


def _condition(node: Filter) -> tuple[str, list[Any]]:
    """A condition that is true or false, never NULL, and the values of its `?`."""
    match node:
        case And(parts) | Or(parts):
            compiled = [_condition(part) for part in parts]
            joined = (" AND " if isinstance(node, And) else " OR ").join(sql for sql, _ in compiled)
            nothing = "true" if isinstance(node, And) else "false"
            return f"({joined or nothing})", [value for _, values in compiled for value in values]
        case Not(part):
            sql, values = _condition(part)
            return f"(NOT {sql})", values
        case Exists(field, exists):
            found = "coalesce(list_contains(present, ?), false)"
            return found if exists else f"(NOT {found})", [known_field(field)]
        case AnyOf(field, wanted) if field.startswith(EXTRA):
            terms = [extra_term(field.removeprefix(EXTRA), value) for value in wanted]
            return "coalesce(list_has_any(extra_values, ?::VARCHAR[]), false)", [terms]
        case AnyOf("tags", wanted):
            return "coalesce(list_has_any(tags, ?::VARCHAR[]), false)", [list(wanted)]
        case AllOf("tags", wanted):
            return "coalesce(list_has_all(tags, ?::VARCHAR[]), false)", [list(wanted)]
        case AnyOf(field, wanted):
            values = [_sql_value(value) for value in wanted]
            return f'coalesce(list_contains(?, "{known_field(field)}"), false)', [values]
        case Range(field):
            bounds = {">": node.gt, ">=": node.gte, "<": node.lt, "<=": node.lte}
            given = {sign: _sql_value(bound) for sign, bound in bounds.items() if bound is not None}
            compared = " AND ".join(f'"{known_field(field)}" {sign} ?' for sign in given)
            return f"coalesce({compared or 'true'}, false)", list(given.values())
        case Near(lat, lon, km):
            # The haversine formula; the first factor under the root is the square of half the chord.
            chord = (
                "sin(radians(lat - ?) / 2) ** 2 + cos(radians(?)) * cos(radians(lat)) * sin(radians(lon - ?) / 2) ** 2"
            )
            near = f"2 * {EARTH_KM} * asin(sqrt(least(1, {chord}))) <= ?"  # least() passes over NULL
            return f"(lat IS NOT NULL AND lon IS NOT NULL AND {near})", [lat, lat, lon, km]
        case _:
            raise InvalidFilter(f"{node} can't be searched for")


def _sql_value(value: Value) -> Value:
    return milliseconds(value) if isinstance(value, datetime) else value
