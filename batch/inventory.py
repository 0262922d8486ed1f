"""Photos listed by an S3 Inventory: a bucket's daily or weekly list of its own objects, as CSV or Parquet files.

Listing a bucket of a hundred million objects takes 100,000 requests; its inventory is a few files. The format is in
https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import parse_qs, unquote_plus, urlencode

import duckdb
from pydantic import BaseModel, Field, ValidationError

from batch.sources import IMAGE_SUFFIXES, SourceImage
from imagesearch.errors import NotFound, SourceError
from imagesearch.parquet import connect, literal
from imagesearch.records import ImageMetadata
from imagesearch.storage import S3Storage, split_s3_uri

MANIFEST = "manifest.json"

_DATED = re.compile(r"(?P<config>.*/)?\d{4}-\d\d-\d\dT\d\d-\d\dZ/manifest\.json")
_PARQUET_NAMES = {"Bucket": "bucket", "Key": "key", "IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker"} | {
    "Size": "size",
    "ETag": "e_tag",
}
"""What we read of the columns, as the `fileSchema` of a CSV inventory and as a Parquet file calls them."""


class _File(BaseModel):
    key: str
    md5: str | None = Field(None, alias="MD5checksum")


class _Manifest(BaseModel):
    bucket: str = Field(alias="sourceBucket")
    format: str = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: list[_File]


class InventorySource:
    """The photos of an S3 Inventory: of the objects' current versions, those below `prefix` with one of `suffixes`.

    `uri` is that of a `manifest.json`. Each inventory of a configuration has its own in a dated folder,
    `…/<bucket>/<configuration>/2024-05-01T01-00Z/manifest.json`; without the date, the newest is read. Either way, and
    on any day, it is the same source: its own URI has no date, but the prefix and the suffixes where they are given,
    since they decide what it lists.

    A prefix `photos` means `photos/…`, not `photos-old/…`, and ids are relative to it, as with S3Source.
    """

    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, uri: str, prefix: str = "", suffixes: Sequence[str] = ()) -> None:
        uri, _, query = uri.partition("?")  # as in its own URI
        given = parse_qs(query)
        prefix = prefix or given.get("prefix", [""])[0]
        suffixes = suffixes or given.get("suffix", [])
        self.bucket, self.key = split_s3_uri(uri)
        self.prefix = prefix.strip("/")
        self.suffixes = frozenset(suffix.lower() for suffix in suffixes) or IMAGE_SUFFIXES
        self._given = sorted(self.suffixes) if suffixes else []
        self.storage = S3Storage(self.bucket)

    @property
    def uri(self) -> str:
        """`s3://bucket/…/configuration/manifest.json?prefix=photos&suffix=.jpg`."""
        dated = _DATED.fullmatch(self.key)
        key = f"{dated['config'] or ''}{MANIFEST}" if dated else self.key
        given = [("prefix", self.prefix)] if self.prefix else []
        given += [("suffix", suffix) for suffix in self._given]
        return f"s3://{self.bucket}/{key}" + (f"?{urlencode(given)}" if given else "")

    def list(self) -> Iterator[SourceImage]:
        """See Source. In the order of the inventory."""
        manifest = self._manifest()
        with tempfile.TemporaryDirectory() as folder:
            for file in manifest.files:
                path = Path(folder, "inventory")
                self._download(file, path)
                try:
                    yield from self._images(manifest, path)
                except duckdb.Error as error:
                    raise SourceError(f"can't read {file.key} of the inventory {self.uri}: {error}") from error

    def _manifest(self) -> _Manifest:
        try:
            data = self.storage.read(self.key)
        except NotFound:
            data = self.storage.read(self._newest())
        try:
            manifest = _Manifest.model_validate_json(data)
        except ValidationError as error:
            raise SourceError(f"s3://{self.bucket}/{self.key} is no manifest of an S3 Inventory: {error}") from error
        if manifest.format not in ("CSV", "Parquet"):
            raise SourceError(f"the inventory {self.uri} is {manifest.format}: let S3 deliver it as CSV or Parquet")
        return manifest

    def _newest(self) -> str:
        """Key of the newest manifest of the configuration that `self.key` names without a date."""
        folder = self.key.removesuffix(MANIFEST)
        # Dates start with 2; the lists themselves, which are many, are in the folders `data` and `hive` beside them.
        keys = [found.key for found in self.storage.list(f"{folder}2")]
        dated = [key for key in keys if (match := _DATED.fullmatch(key)) and (match["config"] or "") == folder]
        if not dated:
            raise SourceError(f"there is no s3://{self.bucket}/{self.key}, and no dated one in the folders beside it")
        return max(dated)

    def _download(self, file: _File, path: Path) -> None:
        try:
            self.storage.download(file.key, path)
        except NotFound:
            raise SourceError(
                f"the inventory {self.uri} names {file.key}, which isn't there any more: use a newer manifest"
            ) from None
        with path.open("rb") as data:
            found = hashlib.file_digest(data, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if file.md5 and found != file.md5:
            raise SourceError(f"{file.key} of the inventory {self.uri} is damaged: its MD5 isn't that of the manifest")

    def _images(self, manifest: _Manifest, path: Path) -> Iterator[SourceImage]:
        start = f"{self.prefix}/" if self.prefix else ""
        for bucket, key, size, etag in _current_objects(manifest, path):
            key = unquote_plus(key) if manifest.format == "CSV" else key
            if key.startswith(start) and os.path.splitext(key)[1].lower() in self.suffixes:  # noqa: PTH122 - as S3Source
                metadata = ImageMetadata(uri=f"s3://{bucket}/{key}", etag=etag and etag.strip('"'), bytes=size)
                yield SourceImage(key.removeprefix(start), metadata)


def _current_objects(manifest: _Manifest, path: Path) -> Iterator[tuple[str, str, int | None, str | None]]:
    """Bucket, key, size and etag of what isn't deleted or an old version; keys are as they stand in the file."""
    with connect() as con:
        if manifest.format == "Parquet":
            table = f"read_parquet({literal(path)})"
            there = {name for name, *_ in con.execute(f"DESCRIBE FROM {table}").fetchall()}
            names = {name: column for name, column in _PARQUET_NAMES.items() if column in there}
        else:
            columns = [name.strip() for name in manifest.columns.split(",")]
            types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
            table = (
                f"read_csv({literal(path)}, columns={{{types}}}, header=false, compression='gzip', delim=',', "
                "quote='\"', escape='\"', nullstr='', auto_detect=false)"
            )
            names = {name: name for name in _PARQUET_NAMES if name in columns}
        if missing := {"Bucket", "Key", "ETag"} - names.keys():
            lacks = f"the inventory of {manifest.bucket} lacks {', '.join(sorted(missing))}"
            raise SourceError(f"{lacks}: add it to the fields of the inventory's configuration")
        values = [f'"{names[name]}"' if name in names else "NULL" for name in _PARQUET_NAMES]
        bucket, key, latest, deleted, size, etag = values
        con.execute(
            f"SELECT {bucket}, {key}, {size}::BIGINT, {etag} FROM {table} "  # noqa: S608 - our names, and our path
            f"WHERE coalesce({latest}::BOOLEAN, true) AND NOT coalesce({deleted}::BOOLEAN, false)"
        )
        while rows := con.fetchmany(10_000):
            yield from rows
