"""Plan a run: list the source, compare with the ledger, and cut the difference into work shards.

```
runs/<run>/plan.json               written last: a run without it was never planned
runs/<run>/work/00042.parquet      the images of a shard, with what the source knows of them
```

Everything about a shard is fixed here, the version of its rows too, so that doing it twice gives the same part.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
from pydantic import BaseModel, ConfigDict, ValidationError

from batch.ledger import LEDGER_SCHEMA, PASSING, current_state, finished_shards, load_ledgers
from batch.sources import Source, SourceImage
from imagesearch.errors import NotFound, SourceError, StorageError
from imagesearch.parquet import connect, copy_to, load_rows, read_table
from imagesearch.parts import METADATA_SCHEMA, metadata_of_row, metadata_row
from imagesearch.records import ImageMetadata
from imagesearch.storage import Storage

WORK_SCHEMA = {"id": "VARCHAR", "op": "VARCHAR", "problem": "VARCHAR", **METADATA_SCHEMA}

MEMORY = "2GB"
"""What DuckDB may take for tables; what is more goes to disk. A plan job has 8 GB, a laptop not much more."""

_LISTING_SCHEMA = {"position": "BIGINT", "id": "VARCHAR", "problem": "VARCHAR", **METADATA_SCHEMA}


class Plan(BaseModel):
    """`plan.json` of a run.

    `version` is that of all its rows: milliseconds since 1970, and greater than in every earlier run. `columns` are
    those of the source.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    source: str
    columns: dict[str, str]
    fingerprint: str
    created: datetime
    version: int
    shards: int
    shard_size: int
    upserts: int
    deletes: int
    duplicates: int
    unchanged: int
    failed_before: int


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One row of a work shard: encode an image, remove it, or only note in the ledger that its id was taken."""

    id: str
    op: Literal["upsert", "delete", "skip"]
    problem: str | None
    metadata: ImageMetadata


def plan_key(run: str) -> str:
    """Key of a run's plan."""
    return f"runs/{run}/plan.json"


def work_key(run: str, shard: int) -> str:
    """Key of a work shard."""
    return f"runs/{run}/work/{shard:05d}.parquet"


def read_plan(output: Storage, run: str) -> Plan:
    """The plan of `run`.

    Raises:
        NotFound: there is no such run.
        StorageError: its plan.json is damaged.
    """
    try:
        return Plan.model_validate_json(output.read(plan_key(run)))
    except NotFound:
        raise NotFound(f"there is no run {run} in {output.uri}") from None
    except ValidationError as error:
        raise StorageError(f"{plan_key(run)} in {output.uri} is no plan: {error}") from error


def read_plans(output: Storage) -> list[Plan]:
    """The plans of all runs, oldest first."""
    runs = [item.key.split("/")[1] for item in output.list("runs/") if item.key.endswith("/plan.json")]
    return sorted((read_plan(output, run) for run in runs), key=lambda plan: plan.version)


def unfinished(output: Storage, source: str, fingerprint: str) -> list[Plan]:
    """The runs of this source and model that were interrupted, oldest first."""
    plans = _of_source(read_plans(output), source, fingerprint)
    return [plan for plan in plans if waiting_shards(output, plan)]


def waiting_shards(output: Storage, plan: Plan) -> list[int]:
    """The shards of a run that aren't done yet."""
    done = finished_shards(output, plan.run)
    return [shard for shard in range(plan.shards) if shard not in done]


def _of_source(plans: list[Plan], source: str, fingerprint: str) -> list[Plan]:
    return [plan for plan in plans if (plan.source, plan.fingerprint) == (source, fingerprint)]


def make_plan(
    source: Source,
    output: Storage,
    fingerprint: str,
    *,
    shard_size: int = 1_000,
    retry_failed: bool = False,
    allow_empty: bool = False,
    now: datetime | None = None,
) -> Plan:
    """Plan what has changed in `source` since its last run with this model. Nothing is written if nothing has.

    An image that failed isn't tried again while its etag stays the same, unless `retry_failed`, or the reason was
    one of PASSING.

    Raises:
        SourceError: the source can't be listed, or is suddenly empty and `allow_empty` isn't set.
    """
    created = now or datetime.now(UTC)
    plans = read_plans(output)
    version = max([int(created.timestamp() * 1000), *(plan.version + 1 for plan in plans)])
    run = f"{datetime.fromtimestamp(version / 1000, UTC):%Y%m%dT%H%M%S}{version % 1000:03d}Z"
    earlier = [plan.run for plan in _of_source(plans, source.uri, fingerprint)]
    with tempfile.TemporaryDirectory() as folder, connect(Path(folder, "plan.duckdb")) as con:
        con.execute(f"SET memory_limit = '{MEMORY}'")
        load_ledgers(con, output, earlier)
        current_state(con)
        _load_listing(con, source.list())
        _find_work(con, retry_failed)
        counts = _counts(con)
        if not counts["listed"] and counts["deletes"] and not allow_empty:
            raise SourceError(
                f"{source.uri} lists no photos at all, but {counts['deletes']:,} are indexed. Is it the right place? "
                "If they are to be removed, allow an empty source (--allow-empty)"
            )
        del counts["listed"]
        shards = -(-sum(counts[name] for name in ("upserts", "deletes", "duplicates")) // shard_size)
        plan = Plan(
            run=run,
            source=source.uri,
            columns=dict(source.columns),
            fingerprint=fingerprint,
            created=created,
            version=version,
            shards=shards,
            shard_size=shard_size,
            **counts,
        )
        for shard in range(shards):
            path = Path(folder, "work.parquet")
            first = shard * shard_size
            columns = ", ".join(WORK_SCHEMA)
            rows = f"(SELECT {columns} FROM work WHERE n BETWEEN {first} AND {first + shard_size - 1} ORDER BY n)"  # noqa: S608
            copy_to(con, rows, path, {"run": run, "fingerprint": fingerprint})
            output.write(work_key(run, shard), path.read_bytes())
    if shards:
        output.write(plan_key(run), plan.model_dump_json(indent=2).encode())
    return plan


def read_work(output: Storage, run: str, shard: int) -> list[WorkItem]:
    """The rows of a work shard."""
    key = work_key(run, shard)
    rows, _ = read_table(WORK_SCHEMA, output.read(key), key)
    return [WorkItem(id, op, problem, metadata_of_row(metadata)) for id, op, problem, *metadata in rows]


def _load_listing(con: duckdb.DuckDBPyConnection, images: Iterator[SourceImage]) -> None:
    """Fill the table `listing`, some thousands at a time: ten million images needn't be in memory."""
    rows = ((n, image.id, image.problem, *metadata_row(image.metadata)) for n, image in enumerate(images))
    load_rows(con, "listing", _LISTING_SCHEMA, rows)


def _find_work(con: duckdb.DuckDBPyConnection, retry_failed: bool) -> None:
    """Make the table `work` from `listing`, `state` and `ledger`, with a number `n` a row from 0."""
    metadata = ", ".join(METADATA_SCHEMA)
    gone = ", ".join(name if name in LEDGER_SCHEMA else f"NULL AS {name}" for name in METADATA_SCHEMA)
    con.execute(
        "CREATE TABLE ranked AS "
        "SELECT *, row_number() OVER (PARTITION BY id ORDER BY position) AS nth FROM listing ORDER BY position"
    )
    con.execute(
        f"""
        CREATE TABLE work AS
        SELECT row_number() OVER (ORDER BY position NULLS LAST, id) - 1 AS n, * FROM (
            SELECT position, id, 'upsert' AS op, problem, {metadata} FROM ranked
            WHERE nth = 1 AND NOT EXISTS (
                FROM state WHERE state.id = ranked.id AND state.etag IS NOT DISTINCT FROM ranked.etag
                AND (status = 'indexed' OR status = 'failed' AND NOT $retry_failed AND reason NOT IN $passing))
            UNION ALL BY NAME
            SELECT position, id, 'skip' AS op, {metadata} FROM ranked
            WHERE nth > 1 AND NOT EXISTS (
                FROM ledger WHERE status = 'skipped' AND ledger.id = ranked.id AND ledger.uri = ranked.uri
                AND ledger.etag IS NOT DISTINCT FROM ranked.etag)
            UNION ALL BY NAME
            SELECT id, 'delete' AS op, {gone} FROM state
            WHERE status <> 'deleted' AND NOT EXISTS (FROM listing WHERE listing.id = state.id)
        ) ORDER BY n
        """,  # noqa: S608 - our names
        {"retry_failed": retry_failed, "passing": PASSING},
    )


def _counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = con.execute(
        """
        SELECT (SELECT count(*) FROM listing),
            count(*) FILTER (op = 'upsert'), count(*) FILTER (op = 'delete'), count(*) FILTER (op = 'skip'),
            (SELECT count(*) FROM ranked WHERE nth = 1) - count(*) FILTER (op = 'upsert'),
            (SELECT count(*) FROM ranked JOIN state USING (id, etag) WHERE nth = 1 AND status = 'failed'
             AND NOT EXISTS (FROM work WHERE op = 'upsert' AND work.id = ranked.id))
        FROM work
        """
    ).fetchone()
    assert row is not None
    return dict(zip(("listed", "upserts", "deletes", "duplicates", "unchanged", "failed_before"), row, strict=True))
