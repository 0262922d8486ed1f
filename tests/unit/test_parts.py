import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imagesearch.errors import PartError
from imagesearch.index.base import Action, Delete, Upsert
from imagesearch.parquet import write_table
from imagesearch.parts import PART_SCHEMA, Part, PartKey, parse_part_key, part_key, read_part, write_part
from imagesearch.records import ImageMetadata

DIM = 4
COLUMNS = [
    *("id", "op", "version", "vector", "uri", "etag", "width", "height", "format", "bytes"),
    *("title", "description", "tags", "color", "created_at", "lat", "lon", "credit", "extra"),
]

texts = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.integers(0, 2**63 - 1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
metadata = st.builds(
    ImageMetadata,
    uri=texts,
    etag=st.none() | texts,
    width=st.none() | counts,
    height=st.none() | counts,
    format=st.none() | texts,
    bytes=st.none() | counts,
    title=st.none() | texts,
    description=st.none() | texts,
    tags=st.lists(texts, max_size=3).map(tuple),
    color=st.none() | texts,
    created_at=st.none() | st.datetimes(timezones=st.just(UTC)),
    lat=st.none() | st.floats(-90, 90),
    lon=st.none() | st.floats(-180, 180),
    credit=st.none() | texts,
    extra=st.dictionaries(texts, json_values, max_size=3),
)
versions = st.integers(-(2**63), 2**63 - 1)
vectors = arrays(np.float32, DIM, elements=st.floats(-1, 1, width=32))
actions = st.lists(
    st.builds(Upsert, texts, versions, vectors, metadata) | st.builds(Delete, texts, versions), max_size=5
)

DOG = ImageMetadata(
    uri="s3://b/dög 1+.jpg",
    etag="e",
    width=3,
    height=2,
    format="jpeg",
    bytes=99,
    title="Dög",
    description="",
    tags=("dog", "a,b|c"),
    color="#fff",
    created_at=datetime(2024, 5, 1, 12, 30, 0, 123456, tzinfo=UTC),
    lat=47.4,
    lon=8.5,
    credit="me",
    extra={"likes": 3, "nested": {"ü": [1, None, "\0"]}},
)
VECTOR = np.array([0.5, 0.5, 0.5, 0.5], np.float32)
ROWS: list[Action] = [
    Upsert("dög", 1_714_566_600_000, VECTOR, DOG),
    Upsert("bare", 5, -VECTOR, ImageMetadata(uri="file:///x")),
    Delete("gone", 6),
]


def part(rows: list[Action]) -> Part:
    return Part("3f2a", DIM, "run 1", rows)


def comparable(rows: Any) -> list[Any]:
    """Actions as plain values: numpy arrays don't compare with ==, and two NULL vectors do."""
    return [
        (row.id, row.version, row.vector.tolist(), row.vector.dtype, row.metadata)
        if isinstance(row, Upsert)
        else (row.id, row.version)
        for row in rows
    ]


@settings(max_examples=40, deadline=None)
@given(actions)
def test_a_part_is_read_as_it_was_written(rows: list[Action]) -> None:
    data = write_part(part(rows))
    found = read_part(data, fingerprint="3f2a", dim=DIM)
    assert (found.fingerprint, found.dim, found.run) == ("3f2a", DIM, "run 1")
    assert comparable(found.actions) == comparable(rows)
    assert write_part(found) == data


def test_pandas_reads_a_part() -> None:
    frame = pd.read_parquet(BytesIO(write_part(part(ROWS))))
    assert list(frame.columns) == COLUMNS
    dog, bare, gone = (frame.iloc[n] for n in range(3))
    assert dog.vector.tolist() == VECTOR.tolist()
    assert list(dog.tags) == ["dog", "a,b|c"]
    assert dog.created_at == pd.Timestamp("2024-05-01T12:30:00.123456Z")
    assert json.loads(dog.extra) == DOG.extra
    assert list(bare.tags) == []
    assert pd.isna(bare.lat)
    assert (gone.op, gone.version, gone.vector) == ("delete", 6, None)


def test_duckdb_reads_a_part_with_the_types_of_the_contract(tmp_path: Path) -> None:
    (tmp_path / "part.parquet").write_bytes(write_part(part(ROWS)))
    relation = duckdb.read_parquet(f"{tmp_path}/part.parquet")
    assert relation.columns == COLUMNS
    assert dict(zip(relation.columns, map(str, relation.types), strict=True)) == PART_SCHEMA
    assert relation.filter("op = 'upsert' AND list_contains(tags, 'dog')").fetchall()[0][0] == "dög"
    assert relation.filter("op = 'delete'").fetchall() == [("gone", "delete", 6, *[None] * 16)]


def test_the_file_says_what_it_is_and_is_compressed_with_zstd() -> None:
    file = pq.ParquetFile(BytesIO(write_part(part(ROWS))))
    about = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
    assert about == {"fingerprint": "3f2a", "dim": "4", "run": "run 1", "schema_version": "1"}
    group = file.metadata.row_group(0)
    assert {group.column(n).compression for n in range(group.num_columns)} == {"ZSTD"}


def test_a_date_without_a_zone_is_utc_and_any_zone_is_the_same_moment() -> None:
    moment = datetime(2024, 5, 1, 12)
    for given_date in (
        moment,
        moment.replace(tzinfo=UTC),
        datetime(2024, 5, 1, 14, tzinfo=timezone(timedelta(hours=2))),
    ):
        row = Upsert("a", 1, VECTOR, ImageMetadata(uri="u", created_at=given_date))
        (found,) = read_part(write_part(part([row]))).actions
        assert isinstance(found, Upsert)
        assert found.metadata.created_at == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (Upsert("a", 1, np.zeros(3, np.float32), DOG), r"'a' is \(3,\) float32, and should be \(4,\) float32"),
        (Upsert("a", 1, np.zeros(4), DOG), "float64"),  # type: ignore[arg-type]
        (Upsert("a", 1, VECTOR, ImageMetadata(uri="u", extra={"x": float("nan")})), "u can't be JSON"),
        (Upsert("a", 1, VECTOR, ImageMetadata(uri="u", extra={"x": {1, 2}})), "u can't be JSON"),
        (Upsert("a\ud800", 1, VECTOR, DOG), "can't be written"),
        (Delete("a", 2**63), "can't be written"),
    ],
)
def test_what_a_part_cannot_hold_is_refused(row: Action, message: str) -> None:
    with pytest.raises(PartError, match=message):
        write_part(part([row]))


def test_a_part_of_another_model_is_refused() -> None:
    data = write_part(part(ROWS))
    with pytest.raises(PartError, match="of the model 3f2a, not beef"):
        read_part(data, fingerprint="beef")
    with pytest.raises(PartError, match="4 dimensions, not 512"):
        read_part(data, dim=512)


def test_bytes_that_are_no_parquet_are_refused() -> None:
    good = write_part(part(ROWS))
    for data in (b"", b"PAR1", b"x" * 1000, good[:-1], good[: len(good) // 2], good[10:]):
        with pytest.raises(PartError, match=r"a\.parquet is no readable Parquet file"):
            read_part(data, name="a.parquet")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_part_is_refused_or_read_but_never_crashes(data: st.DataObject) -> None:
    good = bytearray(write_part(part(ROWS)))
    position = data.draw(st.integers(0, len(good) - 1))
    good[position] ^= data.draw(st.integers(1, 255))
    with suppress(PartError):
        read_part(bytes(good))


ABOUT = {"fingerprint": "3f2a", "dim": "4", "run": "r", "schema_version": "1"}
ROW = ("a", "upsert", 1, VECTOR, "u", *[None] * 14)


def with_values(**values: Any) -> tuple[Any, ...]:
    return tuple((dict(zip(PART_SCHEMA, ROW, strict=True)) | values).values())


@pytest.mark.parametrize(
    ("schema", "rows", "about", "message"),
    [
        ({"id": "VARCHAR"}, [("a",)], ABOUT, "lacks op, version, vector"),
        (PART_SCHEMA | {"smell": "VARCHAR"}, [(*ROW, "")], ABOUT, "has besides smell"),
        (PART_SCHEMA | {"version": "VARCHAR"}, [with_values(version="1")], ABOUT, "version is VARCHAR, not BIGINT"),
        (PART_SCHEMA, [ROW], ABOUT | {"schema_version": "2"}, "schema version 2, and this code reads version 1"),
        (PART_SCHEMA, [ROW], {}, "schema version None"),
        (PART_SCHEMA, [ROW], {"schema_version": "1", "dim": "4"}, "doesn't say its fingerprint, run"),
        (PART_SCHEMA, [ROW], ABOUT | {"dim": "many"}, "'many', which is no number"),
        (PART_SCHEMA, [with_values(vector=VECTOR[:3])], ABOUT, "a vector of 3 numbers for 'a', and should have 4"),
        (PART_SCHEMA, [with_values(vector=None)], ABOUT, "no vector for 'a'"),
        (PART_SCHEMA, [with_values(op="replace")], ABOUT, "'replace' 'a': op should be"),
        (PART_SCHEMA, [with_values(id=None)], ABOUT, "without an id or a version"),
        (PART_SCHEMA, [with_values(version=None)], ABOUT, "without an id or a version"),
        (PART_SCHEMA, [with_values(uri=None)], ABOUT, "invalid metadata for 'a'"),
        (PART_SCHEMA, [with_values(lat=91.0)], ABOUT, "invalid metadata for 'a'"),
        (PART_SCHEMA | {"created_at": "TIMESTAMP"}, [ROW], ABOUT, "created_at is TIMESTAMP, not"),
        (PART_SCHEMA, [with_values(extra="{")], ABOUT, "invalid metadata for 'a'"),
        (PART_SCHEMA, [with_values(extra="[]")], ABOUT, "invalid metadata for 'a'"),
    ],
)
def test_a_file_that_is_no_part_is_refused(schema: Any, rows: Any, about: dict[str, str], message: str) -> None:
    with pytest.raises(PartError, match=message) as raised:
        read_part(write_table(schema, rows, about), name="x.parquet")
    assert "x.parquet" in str(raised.value)


class Interrupting:
    """Ctrl-C comes while DuckDB asks for this value."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_a_ctrl_c_while_rows_are_written_is_no_bad_row() -> None:
    with pytest.raises(KeyboardInterrupt):
        write_table({"id": "VARCHAR"}, [(Interrupting(),)], {})


def test_keys() -> None:
    assert part_key("3f2a", "20250101T000000000Z", 42) == "vectors/3f2a/20250101T000000000Z/00042.parquet"
    assert parse_part_key("vectors/3f2a/r/00042.parquet") == PartKey("", "3f2a", "r", 42)
    assert parse_part_key("my +photos/é/vectors/3f2a/r/123456.parquet") == PartKey("my +photos/é", "3f2a", "r", 123456)
    for key in (
        "runs/r/work/00042.parquet",
        "vectors/3f2a/00042.parquet",
        "vectors/3f2a/r/s/00042.parquet",
        "vectors/3f2a/r/00042.json",
        "vectors/3f2a/r/x.parquet",
        "oldvectors/3f2a/r/00042.parquet",
        "",
    ):
        assert parse_part_key(key) is None


@given(st.from_regex(r"[0-9a-f]{1,16}", fullmatch=True), st.from_regex(r"[^/]+", fullmatch=True), st.integers(0, 10**9))
def test_a_key_says_what_it_was_made_of(fingerprint: str, run: str, shard: int) -> None:
    assert parse_part_key(part_key(fingerprint, run, shard)) == PartKey("", fingerprint, run, shard)
    assert parse_part_key("a/b/" + part_key(fingerprint, run, shard)) == PartKey("a/b", fingerprint, run, shard)
