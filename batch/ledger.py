"""The ledger: for each image of each run, what became of it and why, so that nobody has to guess.

One Parquet file a shard, `runs/<run>/ledger/00042.parquet`, written after the shard's part: a shard with a ledger is
done.
"""

import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from enum import StrEnum
from pathlib import Path

import duckdb

from batch.throughput import Throughput
from imagesearch.errors import NotFound, SourceError, StorageError
from imagesearch.parquet import columns_of, ctrl_c, literal, write_table
from imagesearch.storage import Storage

LEDGER_SCHEMA = {
    "id": "VARCHAR",
    "uri": "VARCHAR",
    "etag": "VARCHAR",
    "status": "VARCHAR",
    "reason": "VARCHAR",
    "detail": "VARCHAR",
    "version": "BIGINT",
    "run": "VARCHAR",
    "shard": "BIGINT",
}

PASSING = (NotFound.code, SourceError.code, StorageError.code)
"""Reasons that may pass, as when a disk was unmounted or S3 refused for a while: the next run tries again unasked."""


class Status(StrEnum):
    """What became of an image in a run.

    An image that hasn't changed since an earlier run gets no new row; the row of that run still holds.
    """

    INDEXED = "indexed"
    """It is in the shard's part."""
    SKIPPED = "skipped"
    """The source lists its id twice, and another image has it."""
    FAILED = "failed"
    """It can't be read or decoded."""
    DELETED = "deleted"
    """It has gone from the source, and the part removes it from the index."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What became of one image. `reason` is a stable code, `detail` a sentence; both are None for an indexed image."""

    id: str
    uri: str
    etag: str | None
    status: Status
    reason: str | None
    detail: str | None
    version: int
    run: str
    shard: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows of a run by status, and for each status those that have a reason by reason."""

    statuses: Counter[str]
    reasons: dict[str, Counter[str]]


def ledger_key(run: str, shard: int) -> str:
    """Key of the ledger of one shard: `runs/<run>/ledger/00042.parquet`."""
    return f"runs/{run}/ledger/{shard:05d}.parquet"


def write_ledger(
    output: Storage, run: str, shard: int, fingerprint: str, rows: Iterable[LedgerRow], took: Throughput
) -> None:
    """Write the ledger of a shard, which marks it as done; the file's metadata says how long that `took`."""
    about = {"fingerprint": fingerprint, "run": run, **took.to_metadata()}
    output.write(ledger_key(run, shard), write_table(LEDGER_SCHEMA, map(astuple, rows), about))


def finished_shards(output: Storage, run: str) -> set[int]:
    """The shards of `run` that are done."""
    found = (Path(item.key) for item in output.list(f"runs/{run}/ledger/"))
    return {int(path.stem) for path in found if path.suffix == ".parquet"}


def load_ledgers(
    con: duckdb.DuckDBPyConnection, output: Storage, runs: Sequence[str], shards: Collection[int] | None = None
) -> Throughput:
    """Make the table `ledger` in `con`, with the ledgers of `runs`: of all shards that are done, or of these.

    Returns what those shards took, added up.

    Raises:
        StorageError: a ledger is damaged, or has other columns than LEDGER_SCHEMA.
    """
    con.execute(f"CREATE OR REPLACE TABLE ledger ({columns_of(LEDGER_SCHEMA)})")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(16) as pool:

        def download(key: str) -> None:
            path = Path(folder, key.replace("/", "-"))
            path.write_bytes(output.read(key))

        keys = [
            ledger_key(run, shard)
            for run in runs
            for shard in (finished_shards(output, run) if shards is None else shards)
        ]
        list(pool.map(download, keys))
        return _read_ledgers(con, Path(folder)) if keys else Throughput()


def _read_ledgers(con: duckdb.DuckDBPyConnection, folder: Path) -> Throughput:
    files, took = literal(folder / "*.parquet"), Throughput()
    try:
        with ctrl_c():
            columns = con.execute(
                f"""
                SELECT parse_filename(file_name), list(name ORDER BY name)
                FROM parquet_schema({files}) WHERE num_children IS NULL GROUP BY file_name
                """  # noqa: S608 - our path
            )
            for name, found in columns.fetchall():
                if found != sorted(LEDGER_SCHEMA):
                    raise StorageError(
                        f"the ledger {name} has the columns {', '.join(found)}, "
                        f"and should have {', '.join(LEDGER_SCHEMA)}: "
                        "it was written by another version; give an output of its own to this one"
                    )
            con.execute(f"INSERT INTO ledger BY NAME FROM read_parquet({files})")
            pairs = con.execute(
                f"""
                SELECT map_from_entries(list((decode(key), decode(value))))
                FROM parquet_kv_metadata({files}) GROUP BY file_name
                """  # noqa: S608 - our path
            )
            for (metadata,) in pairs.fetchall():
                took.add(Throughput.of_metadata(metadata))
    except duckdb.Error as error:
        raise StorageError(f"a ledger can't be read: {str(error).replace(str(folder), '')}") from error
    return took


def current_state(con: duckdb.DuckDBPyConnection) -> None:
    """Make the table `state` from `ledger`: the latest row of each id, where ids listed twice don't count."""
    _latest(con, "state", "status <> 'skipped'")


def expected_state(con: duckdb.DuckDBPyConnection) -> None:
    """Make the table `expected` from `ledger`: of each id, the latest row that decides what the index has of it.

    A photo that failed after it had changed stays in the index as it was, so its earlier row counts.
    """
    _latest(con, "expected", "status IN ('indexed', 'deleted')")


def _latest(con: duckdb.DuckDBPyConnection, table: str, condition: str) -> None:
    con.execute(
        f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM ledger WHERE {condition} "  # noqa: S608 - our names
        "QUALIFY row_number() OVER (PARTITION BY id ORDER BY version DESC) = 1"
    )


def totals(con: duckdb.DuckDBPyConnection, run: str) -> Totals:
    """What became of the images of `run`, from the table `ledger`."""
    found = con.execute("SELECT status, reason, count(*) FROM ledger WHERE run = ? GROUP BY ALL ORDER BY ALL", [run])
    statuses: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {status: Counter() for status in Status}
    for status, reason, count in found.fetchall():
        statuses[status] += count
        if reason is not None:
            reasons[status][reason] += count
    return Totals(statuses, reasons)


def rows_of(con: duckdb.DuckDBPyConnection, run: str, status: Status, limit: int) -> list[LedgerRow]:
    """At most `limit` rows of `run` with this status, ordered by id, from the table `ledger`."""
    names = ", ".join(LEDGER_SCHEMA)
    found = con.execute(
        f"SELECT {names} FROM ledger WHERE run = ? AND status = ? ORDER BY id LIMIT ?",  # noqa: S608 - our names
        [run, status.value, limit],
    ).fetchall()
    return [LedgerRow(*row) for row in found]
