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

from imagesearch.errors import IndexUnavailable, InvalidInput, VectorIndexError
from imagesearch.index.base import (
    Action,
    BulkResult,
    Document,
    Facet,
    Float32,
    Hit,
    Ranked,
    Rejection,
    Upsert,
    VectorQuery,
    index_name,
)
from imagesearch.index.documents import (
    check_page,
    check_search,
    milliseconds,
    to_document,
    to_metadata,
    unit,
    valid_id,
)
from imagesearch.index.embedded_sql import best_by_words, facet_counts, nearest, where
from imagesearch.index.facets import check_facets
from imagesearch.index.filters import Filter
from imagesearch.index.words import MAX_QUERY_WORDS, stored_length, words_of
from imagesearch.parquet import ctrl_c
from imagesearch.records import ImageMetadata

BATCH = 2_000
"""Actions that one transaction applies."""

# What searches compare, with its DuckDB type: the columns of a table besides id, version, vector and document. A date
# is its milliseconds since 1970.
TEXTS = ("uri", "etag", "format", "color", "credit", "title", "description", "orientation")
COLUMNS: dict[str, str | list[str]] = {
    **dict.fromkeys(TEXTS, "VARCHAR"),
    **dict.fromkeys(("width", "height", "bytes", "created_at"), "BIGINT"),
    **dict.fromkeys(("lat", "lon"), "DOUBLE"),
    "tags": ["VARCHAR"],
    "extra_values": ["VARCHAR"],
    "present": ["VARCHAR"],
    "words": ["VARCHAR"],
    "words_length": "BIGINT",
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
        with _WRITING, self._cursor() as cursor:
            for column in _columns():  # a table that was made earlier may lack some
                cursor.execute(f"ALTER TABLE IF EXISTS {self._table} ADD COLUMN IF NOT EXISTS {column}")

    def close(self) -> None:
        """Release the file, so that another process may open it."""
        self._database.close()

    def create(self) -> None:
        """See VectorIndex.

        Raises:
            VectorIndexError: the table is there with another dimension.
        """
        with _WRITING, self._cursor() as cursor:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {self._table} "
                f"(id VARCHAR, version BIGINT, vector FLOAT[{self.dim}], document VARCHAR, {', '.join(_columns())})"
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
        rows = self._rows(*nearest(self._table, query, k, offset, filter))
        return [Hit(id, _cosine(score), to_metadata(json.loads(document))) for id, score, document in rows]

    def search_many(self, queries: Sequence[VectorQuery]) -> list[list[Hit]]:
        """See VectorIndex."""
        for query in queries:  # all of them, before the first is answered
            check_search(query.vector, query.k, query.offset, self.dim)
        return [self.search(q.vector, q.k, filter=q.filter, offset=q.offset) for q in queries]

    def rank_many(self, queries: Sequence[VectorQuery]) -> list[list[Ranked]]:
        """See VectorIndex."""
        vectors = [check_search(query.vector, query.k, query.offset, self.dim) for query in queries]
        return [
            [
                Ranked(id, _cosine(score))
                for id, score in self._rows(
                    *nearest(self._table, vector, query.k, query.offset, query.filter, documents=False)
                )
            ]
            for query, vector in zip(queries, vectors, strict=True)
        ]

    def search_words(self, text: str, k: int, *, filter: Filter | None = None) -> list[Ranked]:
        """See VectorIndex."""
        check_page(k, 0)
        words = words_of(text)[:MAX_QUERY_WORDS]
        return [Ranked(id, score) for id, score in self._rows(*best_by_words(self._table, words, k, filter))]

    def facets(
        self,
        vector: Float32 | None,
        fields: Sequence[str],
        *,
        filter: Filter | None = None,
        candidates: int = 1_000,
        size: int = 20,
    ) -> dict[str, list[Facet]]:
        """See VectorIndex."""
        check_facets(fields, candidates, size)
        query = None if vector is None else unit(vector, self.dim)
        facets: dict[str, list[Facet]] = {field: [] for field in fields}
        if facets:
            for field, value, count in self._rows(
                *facet_counts(self._table, query, list(facets), filter, candidates, size)
            ):
                facets[field].append(Facet(value, count))
        return facets

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See VectorIndex."""
        rows = self._rows(
            f"SELECT id, version, vector, document FROM {self._table} "
            "WHERE vector IS NOT NULL AND id IN (SELECT unnest(?::VARCHAR[]))",
            [[id for id in ids if valid_id(id)]],
        )
        return {
            id: Document(id, version, np.array(vector, dtype=np.float32), to_metadata(json.loads(document)))
            for id, version, vector, document in rows
        }

    def describe(self, ids: Sequence[str], *, filter: Filter | None = None) -> dict[str, ImageMetadata]:
        """See VectorIndex."""
        condition, values = where(filter)
        rows = self._rows(
            f"SELECT id, document FROM {self._table} WHERE {condition} AND id IN (SELECT unnest(?::VARCHAR[]))",
            [*values, [id for id in ids if valid_id(id)]],
        )
        return {id: to_metadata(json.loads(document)) for id, document in rows}

    def count(self, filter: Filter | None = None) -> int:
        """See VectorIndex."""
        condition, values = where(filter)
        rows = self._rows(f"SELECT count(*) FROM {self._table} WHERE {condition}", values)
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
        columns["document"] = _objects(json.dumps(_kept(document)) for _, _, document in rows.values())
        columns["compared"] = _objects(json.dumps(_compared(document)) for _, _, document in rows.values())
        cursor.register("batch", columns)
        cursor.begin()
        cursor.execute(f"DELETE FROM {self._table} WHERE id IN (SELECT id FROM batch)")
        cursor.execute(
            f"INSERT INTO {self._table} BY NAME "
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


def _columns() -> list[str]:
    """The columns of COLUMNS as SQL."""
    return [f"{name} {kind if isinstance(kind, str) else kind[0] + '[]'}" for name, kind in COLUMNS.items()]


def _cosine(product: float) -> float:
    return min(1.0, max(-1.0, product))  # rounding may leave it outside


def _objects(values: Iterable[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """An object array, one element a value, even where the values are arrays of one length."""
    listed = list(values)
    array = np.empty(len(listed), dtype=object)
    for i, value in enumerate(listed):
        array[i] = value
    return array


def _kept(document: dict[str, Any]) -> dict[str, Any]:
    """What comes back of a document; its words are in a column."""
    return {name: value for name, value in document.items() if name != "words"}


def _compared(document: dict[str, Any]) -> dict[str, Any]:
    """The columns of a document that searches compare."""
    compared = {name: document.get(name) for name in COLUMNS}
    if words := compared["words"]:
        compared["words"] = words.split(" ")
        compared["words_length"] = stored_length(len(compared["words"]))
    if taken := compared["created_at"]:
        compared["created_at"] = milliseconds(datetime.fromisoformat(taken))
    return compared
