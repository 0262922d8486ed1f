"""Tables of Python values as Parquet bytes and back, by DuckDB: for parts, work shards and ledgers."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from imagesearch.errors import PartError, StorageError

Schema = Mapping[str, str]
"""Column names, in their order, and their SQL types; a type may be VARCHAR, BIGINT, DOUBLE, VARCHAR[], FLOAT[] or
TIMESTAMP WITH TIME ZONE."""

TIMESTAMP = "TIMESTAMP WITH TIME ZONE"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def connect(path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection, in memory or on a file, that loads nothing from the network; closed at the end.

    Raises:
        StorageError: a file of its own can't be read or written, as on a full disk.
    """
    try:
        with _open(path) as con, ctrl_c():
            yield con
    except duckdb.IOException as error:
        raise StorageError(f"a file on this machine can't be read or written: {error}") from error


@contextmanager
def _cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    with _memory().cursor() as con, ctrl_c():
        yield con


@cache
def _memory() -> duckdb.DuckDBPyConnection:
    """A database in memory to take cursors of, since making one takes longer than writing a small table."""
    return _open(None)


def _open(path: Path | None) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        str(path) if path else ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "threads": 1,  # rows keep their order, and the same rows give the same bytes
            "pandas_analyze_sample": 2**31 - 1,  # look at every value before choosing a type, not at a sample
        },
    )


@contextmanager
def ctrl_c() -> Iterator[None]:
    """Give a Ctrl-C that comes during a query its own exception again; DuckDB makes another one of it."""
    try:
        yield
    except (RuntimeError, duckdb.Error) as error:
        if "Query interrupted" in str(error) or "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        raise


def register(con: duckdb.DuckDBPyConnection, name: str, schema: Schema, rows: Iterable[Sequence[Any]]) -> None:
    """Make `rows`, each with a value or None for every column of `schema`, readable as the view `name`.

    Strings, numbers, datetimes with a time zone, and sequences of strings or float32 are values.
    """
    columns = {column: _objects(values) for column, values in zip(schema, _transpose(schema, rows), strict=True)}
    con.register(f"{name}_objects", columns)
    selected = ", ".join(f'{_cast(column, kind)} AS "{column}"' for column, kind in schema.items())
    con.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {selected} FROM {name}_objects")  # noqa: S608 - our names


def load_rows(
    con: duckdb.DuckDBPyConnection, table: str, schema: Schema, rows: Iterable[Sequence[Any]], size: int = 10_000
) -> None:
    """Make `table` with the columns of `schema`, and fill it with `rows`, `size` at a time: there may be millions."""
    con.execute(f"CREATE OR REPLACE TABLE {table} ({columns_of(schema)})")
    remaining = iter(rows)
    while chunk := list(islice(remaining, size)):
        register(con, "chunk", schema, chunk)
        con.execute(f"INSERT INTO {table} FROM chunk")


def columns_of(schema: Schema) -> str:
    """The columns of `schema` as CREATE TABLE takes them."""
    return ", ".join(f"{identifier(column)} {kind}" for column, kind in schema.items())


def fetch(con: duckdb.DuckDBPyConnection, schema: Schema, relation: str) -> list[tuple[Any, ...]]:
    """The rows of `relation` (SQL that may follow FROM), with the columns of `schema`; timestamps in UTC."""
    selected = ", ".join(
        f'epoch_us("{column}") AS "{column}"' if kind == TIMESTAMP else f'"{column}"' for column, kind in schema.items()
    )
    columns = con.execute(f"SELECT {selected} FROM {relation}").fetchnumpy()  # noqa: S608 - our names
    values: list[list[Any]] = [columns[column].tolist() for column in schema]  # None where masked
    for position, kind in enumerate(schema.values()):
        if kind == TIMESTAMP:
            values[position] = [None if us is None else _EPOCH + timedelta(microseconds=us) for us in values[position]]
    return list(zip(*values, strict=True))


def write_table(schema: Schema, rows: Iterable[Sequence[Any]], metadata: Mapping[str, str]) -> bytes:
    """Parquet bytes (zstd) of `rows`, with `metadata` in the file's footer. The same input gives the same bytes.

    Raises:
        PartError: a value that its column can't hold, such as text that is no valid Unicode.
    """
    with _cursor() as con, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        try:
            with ctrl_c():
                register(con, "rows", schema, rows)
                copy_to(con, "rows", path, metadata)
        except duckdb.Error as error:
            raise PartError(f"a row can't be written: {error}") from error
        return path.read_bytes()


def copy_to(con: duckdb.DuckDBPyConnection, relation: str, path: Path, metadata: Mapping[str, str]) -> None:
    """Write `relation` as Parquet (zstd) to `path`."""
    pairs = ", ".join(f'"{key}": ${key}' for key in metadata)
    options = f"FORMAT parquet, COMPRESSION zstd{f', KV_METADATA {{{pairs}}}' if pairs else ''}"
    con.execute(f"COPY (FROM {relation}) TO {literal(path)} ({options})", dict(metadata))


def read_table(schema: Schema, data: bytes, what: str) -> tuple[list[tuple[Any, ...]], dict[str, str]]:
    """The rows of Parquet bytes and the metadata of the file; `what` names the file in errors.

    Raises:
        PartError: it is no Parquet, is damaged, or its columns aren't those of `schema`.
    """
    with _cursor() as con, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "table.parquet")
        path.write_bytes(data)
        table = f"read_parquet({literal(path)})"
        try:
            with ctrl_c():
                described = con.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()  # noqa: S608 - our path
                columns = {name: kind for name, kind, *_ in described}
                if columns != dict(schema):
                    raise PartError(f"{what} {_difference(columns, schema)}")
                pairs = con.execute(
                    f"SELECT decode(key), decode(value) FROM parquet_kv_metadata({literal(path)})"  # noqa: S608
                ).fetchall()
                return fetch(con, schema, table), dict(pairs)
        except (duckdb.Error, UnicodeDecodeError, OverflowError) as error:  # overflow: a date after 9999
            raise PartError(f"{what} is no readable Parquet file: {_one_line(error, path)}") from error


def _difference(columns: Schema, schema: Schema) -> str:
    missing = [name for name in schema if name not in columns]
    unknown = [name for name in columns if name not in schema]
    wrong = [
        f"{name} is {columns[name]}, not {kind}" for name, kind in schema.items() if columns.get(name, kind) != kind
    ]
    found = (missing and f"lacks {', '.join(missing)}", unknown and f"has besides {', '.join(unknown)}", *wrong)
    return "has other columns than it should: " + "; ".join(text for text in found if text)


def _transpose(schema: Schema, rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    return list(zip(*rows, strict=True)) or [() for _ in schema]


def _objects(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    """A numpy array with one object a value, whatever the values are (numpy would make a matrix of equal lists)."""
    array = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        array[position] = (value - _EPOCH) // timedelta(microseconds=1) if isinstance(value, datetime) else value
    return array


def _cast(column: str, kind: str) -> str:
    return f'make_timestamptz("{column}"::BIGINT)' if kind == TIMESTAMP else f'"{column}"::{kind}'


def literal(text: str | Path) -> str:
    """`text` as a string in SQL, where a parameter may not stand: between single quotes."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as that of a table or a column in SQL: between double quotes."""
    return '"' + name.replace('"', '""') + '"'


def _one_line(error: Exception, path: Path) -> str:
    return " ".join(str(error).replace(str(path), "it").split())
