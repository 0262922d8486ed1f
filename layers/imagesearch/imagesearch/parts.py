"""The vector part: what the encoder writes and the loader reads, one Parquet file a shard (DESIGN.md, section 3).

It is plain Parquet, so pandas, DuckDB and Athena read it too:

```
SELECT id, title, vector FROM 'vectors/3f2a…/20250101T000000000Z/*.parquet' WHERE op = 'upsert'
```
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import numpy as np
from pydantic import ValidationError

from imagesearch.errors import PartError
from imagesearch.index.base import Action, Delete, Upsert
from imagesearch.parquet import TIMESTAMP, read_table, write_table
from imagesearch.records import ImageMetadata

SCHEMA_VERSION = "1"
"""Raised when columns or their meaning change; a reader refuses a version it doesn't know."""

METADATA_SCHEMA = {
    "uri": "VARCHAR",
    "etag": "VARCHAR",
    "width": "BIGINT",
    "height": "BIGINT",
    "format": "VARCHAR",
    "bytes": "BIGINT",
    "title": "VARCHAR",
    "description": "VARCHAR",
    "tags": "VARCHAR[]",
    "color": "VARCHAR",
    "created_at": TIMESTAMP,
    "lat": "DOUBLE",
    "lon": "DOUBLE",
    "credit": "VARCHAR",
    "extra": "VARCHAR",  # a JSON object
}
PART_SCHEMA = {"id": "VARCHAR", "op": "VARCHAR", "version": "BIGINT", "vector": "FLOAT[]", **METADATA_SCHEMA}

_NO_METADATA = (None,) * len(METADATA_SCHEMA)


@dataclass(frozen=True, slots=True)
class Part:
    """The actions of one shard on the index of the model with `fingerprint`; every vector is (dim,) float32."""

    fingerprint: str
    dim: int
    run: str
    actions: Sequence[Action]


@dataclass(frozen=True, slots=True)
class PartKey:
    """A part's place: `root` is what stands before `vectors/`, without a slash at the end."""

    root: str
    fingerprint: str
    run: str
    shard: int


def part_key(fingerprint: str, run: str, shard: int) -> str:
    """Key of a part in its storage: `vectors/<fingerprint>/<run>/00042.parquet`."""
    return f"vectors/{fingerprint}/{run}/{shard:05d}.parquet"


def parse_part_key(key: str) -> PartKey | None:
    """What `key` says, or None if it isn't the key of a part."""
    match = re.fullmatch(r"(?:(?P<root>.*)/)?vectors/([^/]+)/([^/]+)/(\d{5,})\.parquet", key, re.DOTALL)
    return PartKey(match["root"] or "", match[2], match[3], int(match[4])) if match else None


def write_part(part: Part) -> bytes:
    """The part as Parquet. The same part gives the same bytes.

    Raises:
        PartError: a vector of another shape or type than (dim,) float32, or metadata that Parquet or JSON can't hold.
    """
    rows: list[tuple[Any, ...]] = []
    for action in part.actions:
        if isinstance(action, Delete):
            rows.append((action.id, "delete", action.version, None, *_NO_METADATA))
            continue
        if action.vector.shape != (part.dim,) or action.vector.dtype != np.float32:
            found = f"{action.vector.shape} {action.vector.dtype}"
            raise PartError(f"the vector of {action.id!r} is {found}, and should be ({part.dim},) float32")
        rows.append((action.id, "upsert", action.version, action.vector, *metadata_row(action.metadata)))
    about = {"fingerprint": part.fingerprint, "dim": str(part.dim), "run": part.run, "schema_version": SCHEMA_VERSION}
    return write_table(PART_SCHEMA, rows, about)


def read_part(data: bytes, *, fingerprint: str | None = None, dim: int | None = None, name: str = "the part") -> Part:
    """The part in Parquet bytes; `name` stands in the errors.

    Raises:
        PartError: it isn't a part, is damaged, or is of another model than `fingerprint` and `dim` say.
    """
    rows, about = read_table(PART_SCHEMA, data, name)
    if about.get("schema_version") != SCHEMA_VERSION:
        found = about.get("schema_version")
        raise PartError(f"{name} has schema version {found}, and this code reads version {SCHEMA_VERSION}")
    if missing := {"fingerprint", "dim", "run"} - about.keys():
        raise PartError(f"{name} doesn't say its {', '.join(sorted(missing))} in the file metadata")
    if not about["dim"].isdecimal():
        raise PartError(f"{name} says its dimension is {about['dim']!r}, which is no number")
    part = Part(about["fingerprint"], int(about["dim"]), about["run"], [])
    if fingerprint is not None and part.fingerprint != fingerprint:
        raise PartError(f"{name} is of the model {part.fingerprint}, not {fingerprint}: encode with the right model")
    if dim is not None and part.dim != dim:
        raise PartError(f"{name} has vectors of {part.dim} dimensions, not {dim}")
    return Part(part.fingerprint, part.dim, part.run, [_action(row, part.dim, name) for row in rows])


def _action(row: tuple[Any, ...], dim: int, name: str) -> Action:
    id, op, version, vector, *metadata = row
    if not isinstance(id, str) or not isinstance(version, int):
        raise PartError(f"{name} has a row without an id or a version: {id!r}, {version!r}")
    if op == "delete":
        return Delete(id, version)
    if op != "upsert":
        raise PartError(f"{name} wants to {op!r} {id!r}: op should be upsert or delete")
    if vector is None or np.ma.is_masked(vector) or vector.shape != (dim,):
        found = "no vector" if vector is None else f"a vector of {vector.size} numbers"
        raise PartError(f"{name} has {found} for {id!r}, and should have {dim} numbers")
    try:
        return Upsert(id, version, np.asarray(vector, np.float32), metadata_of_row(metadata))
    except (ValidationError, ValueError) as error:
        raise PartError(f"{name} has invalid metadata for {id!r}: {error}") from error


def metadata_row(metadata: ImageMetadata) -> tuple[Any, ...]:
    """The values of the columns of METADATA_SCHEMA.

    Raises:
        PartError: `extra` isn't JSON.
    """
    values = {name: getattr(metadata, name) for name in METADATA_SCHEMA}
    try:
        # Sorted, so that equal dicts give equal bytes.
        values["extra"] = json.dumps(metadata.extra, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise PartError(f"what else is known of {metadata.uri} can't be JSON: {error}") from error
    if metadata.created_at and metadata.created_at.tzinfo is None:
        values["created_at"] = metadata.created_at.replace(tzinfo=UTC)
    return tuple(values.values())


def metadata_of_row(row: Sequence[Any]) -> ImageMetadata:
    """The inverse of `metadata_row`.

    Raises:
        ValueError: the values are none of an image (pydantic's ValidationError is one).
    """
    values = dict(zip(METADATA_SCHEMA, row, strict=True))
    return ImageMetadata(
        **values
        | {"tags": values["tags"] if values["tags"] is not None else ()}
        | {"extra": json.loads(values["extra"] or "{}")}
    )
