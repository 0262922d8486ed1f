"""Photos listed in a table: a CSV, TSV or Parquet file with a row for each."""

import csv
import hashlib
import json
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
from pydantic import ValidationError

from batch.sources import SourceImage, path_of_uri
from imagesearch.errors import NotFound, SourceError
from imagesearch.parquet import connect, literal
from imagesearch.records import ImageMetadata
from imagesearch.storage import file_etag, open_storage

PLACE_COLUMNS = ("path", "url", "uri")
TEXT_COLUMNS = ("title", "description", "color", "credit")
KNOWN_COLUMNS = (*PLACE_COLUMNS, "id", *TEXT_COLUMNS, "tags", "created_at", "lat", "lon")


class TableSource:
    """The rows of a table with a header.

    One of the columns `path`, `url` and `uri` is needed: a path relative to the table, an absolute one, or an https://,
    s3:// or file:// URI. `id`, `title`, `description`, `tags` (joined by |, or a list), `color`, `credit`,
    `created_at` (ISO 8601), `lat` and `lon` are known columns; every other one goes into `extra`.

    `columns` says which column is which known one where it has another name: `{"url": "photo_image_url"}`. A column
    that is named `url` itself then goes into `extra` as `column:url`. Choosing other columns doesn't make it another
    source, since a row that is read otherwise has another etag.
    """

    def __init__(self, uri: str, columns: Mapping[str, str] | None = None) -> None:
        self.uri = uri
        self.columns = dict(columns or {})
        if unknown := sorted(self.columns.keys() - set(KNOWN_COLUMNS)):
            raise SourceError(f"{', '.join(unknown)} can't be taken from a column, only {', '.join(KNOWN_COLUMNS)}")

    def list(self) -> Iterator[SourceImage]:
        """See Source. In the order of the table."""
        with tempfile.TemporaryDirectory() as folder:
            path = path_of_uri(self.uri) if self.uri.startswith("file://") else _download(self.uri, Path(folder))
            for number, row in enumerate(_rows(path, self.columns), start=1):
                yield self._image(number, row)

    def _image(self, number: int, row: dict[str, Any]) -> SourceImage:
        given = {name: value for name, value in row.items() if not _empty(value)}
        place = next((str(given.pop(name)) for name in PLACE_COLUMNS if name in given), None)
        id = str(given.pop("id", None) or place or f"row {number}")
        uri, etag = self._locate(place) if place else (f"{self.uri}#row={number}", "")
        etag = hashlib.sha256(json.dumps([uri, etag, given], default=str, sort_keys=True).encode()).hexdigest()[:32]
        if place is None:
            problem = f"row {number} has no {', '.join(PLACE_COLUMNS)}"
            return SourceImage(id, ImageMetadata(uri=uri, etag=etag), problem)
        try:
            return SourceImage(id, _metadata(uri, etag, given))
        except (ValidationError, ValueError) as error:
            return SourceImage(id, ImageMetadata(uri=uri, etag=etag), f"row {number}: {_reason(error)}")

    def _locate(self, place: str) -> tuple[str, str]:
        """URI and etag of what a row points to; the etag is empty where asking for it would take a request."""
        if urlsplit(place).scheme in ("https", "http", "s3"):
            return place, ""
        if self.uri.startswith("s3://"):
            return f"{self.uri.rpartition('/')[0]}/{place}", ""
        path = path_of_uri(place) if place.startswith("file://") else path_of_uri(self.uri).parent / place
        try:
            return path.absolute().as_uri(), file_etag(path.stat())
        except OSError:
            return path.absolute().as_uri(), ""  # fetching it says what is wrong


def _rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The rows of a table as dicts; names of known columns are in lower case, values of CSV and TSV are text."""
    try:
        if path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path, columns)
        else:
            yield from _text_rows(path, columns, "\t" if path.suffix.lower() == ".tsv" else ",")
    except (duckdb.Error, csv.Error, UnicodeDecodeError, OSError) as error:
        raise SourceError(f"can't read the table {path}: {error}") from error


def _text_rows(path: Path, columns: Mapping[str, str], delimiter: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        names = _column_names(next(reader, []), columns, path)
        for values in reader:
            if values and len(values) != len(names):
                found = f"{len(values)} values where the header has {len(names)}"
                raise SourceError(f"can't read the table {path}: line {reader.line_num} has {found}")
            if values:
                yield dict(zip(names, values, strict=True))


def _parquet_rows(path: Path, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"FROM read_parquet({literal(path)})")
        names = _column_names([name for name, *_ in con.description or ()], columns, path)
        while rows := con.fetchmany(10_000):
            yield from (dict(zip(names, row, strict=True)) for row in rows)


def _column_names(header: Sequence[str], columns: Mapping[str, str], path: Path) -> list[str]:
    """What each column of the header is: a known one, in lower case however it is written, or one with its own name."""
    header = [name.strip() for name in header]
    if missing := [name for name in columns.values() if name not in header]:
        raise SourceError(f"the table {path} has no column {', '.join(missing)}; its columns are {', '.join(header)}")
    fields = {column: field for field, column in columns.items()}
    if len(fields) < len(columns):
        raise SourceError(f"a column can be one thing only, not {', '.join(f'{f}={c}' for f, c in columns.items())}")
    taken = {*columns, *(PLACE_COLUMNS if set(PLACE_COLUMNS) & columns.keys() else ())}
    names = [fields.get(name) or _own_name(name, taken) for name in header]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"the table {path} has more than one column named {', '.join(twice)}")
    if not set(PLACE_COLUMNS) & set(names):
        columns_there = f"its columns are {', '.join(header)}"
        raise SourceError(
            f"the table {path} has no column path, url or uri; {columns_there}: say which is it (--column url=…)"
        )
    return names


def _own_name(name: str, taken: Collection[str]) -> str:
    """The name of a column that wasn't chosen, where `taken` are the known ones that others were chosen for."""
    known = name.lower() if name.lower() in KNOWN_COLUMNS else name
    return f"column:{name}" if known in taken else known


def _metadata(uri: str, etag: str, given: dict[str, Any]) -> ImageMetadata:
    """Metadata of a table's row, without id and place.

    Raises:
        ValueError: a value that its field can't have.
    """
    known: dict[str, Any] = {name: str(given.pop(name)) for name in TEXT_COLUMNS if name in given}
    if "tags" in given:
        tags = given.pop("tags")
        parts = tags.split("|") if isinstance(tags, str) else [str(tag) for tag in tags]
        known["tags"] = tuple(tag.strip() for tag in parts if tag.strip())
    if "created_at" in given:
        known["created_at"] = _date(given.pop("created_at"))
    for name in ("lat", "lon"):
        if name in given:
            known[name] = given.pop(name)  # pydantic reads numbers from text
    return ImageMetadata(uri=uri, etag=etag, extra={name: _plain(value) for name, value in given.items()}, **known)


def _date(value: Any) -> datetime:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise ValueError(f"created_at {value!r} should be a date such as 2024-05-01T12:30:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float() if math.isfinite(value):
            return value
        case Decimal():
            return float(value)
        case date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(name): _plain(item) for name, item in value.items()}
        case _:
            return str(value)


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _reason(error: ValueError) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))} {e['input']!r}: {e['msg']}" for e in error.errors())
    return str(error)


def _download(uri: str, folder: Path) -> Path:
    """A copy in `folder` of the table at the s3:// `uri`."""
    parent, _, name = uri.rpartition("/")
    path = folder / f"table{Path(name).suffix}"
    try:
        path.write_bytes(open_storage(parent).read(name))
    except NotFound as error:
        raise SourceError(str(error)) from error
    return path
