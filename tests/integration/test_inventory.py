"""Photos listed by an S3 Inventory, with files as S3 delivers them, on moto's S3."""

import csv
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import boto3
import pandas as pd
import pytest

from batch.cli import main
from batch.sources import Reader, SourceImage, open_source
from imagesearch.errors import SourceError
from local.aws import Aws

MODEL = Path(__file__).parents[2] / "models" / "tiny"
CONFIG = "inventory/photos/daily"
COLUMNS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "ETag", "StorageClass")
PARQUET_COLUMNS = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size", "e_tag", "storage_class")

Row = tuple[Any, ...]


def row(key: str, *, etag: str = "e", size: int = 1, latest: bool = True, deleted: bool = False) -> Row:
    return ("photos", key, "v1", latest, deleted, None if deleted else size, None if deleted else etag, "STANDARD")


class Inventory:
    """Delivers inventories of the bucket `photos` to the bucket `lists`."""

    def __init__(self) -> None:
        self.s3 = boto3.client("s3")
        for bucket in ("photos", "lists"):
            self.s3.create_bucket(Bucket=bucket)

    def deliver(
        self,
        files: Sequence[Sequence[Row]],
        format: str = "CSV",
        date: str = "2024-05-01T01-00Z",
        columns: Sequence[str] = COLUMNS,
    ) -> str:
        """The URI of the new inventory's manifest."""
        listed = []
        for n, rows in enumerate(files):
            kept = [[values[COLUMNS.index(name)] for name in columns] for values in rows]
            data = self._csv(columns, kept) if format == "CSV" else self._parquet(columns, kept)
            key = f"{CONFIG}/data/{date}-{n}.{'csv.gz' if format == 'CSV' else 'parquet'}"
            self.s3.put_object(Bucket="lists", Key=key, Body=data)
            listed.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
        schema = ", ".join(columns) if format == "CSV" else "message s3.inventory { … }"
        manifest = {
            "sourceBucket": "photos",
            "destinationBucket": "arn:aws:s3:::lists",
            "version": "2016-11-30",
            "creationTimestamp": "1714525200000",
            "fileFormat": format,
            "fileSchema": schema,
            "files": listed,
        }
        key = f"{CONFIG}/{date}/manifest.json"
        self.s3.put_object(Bucket="lists", Key=key, Body=json.dumps(manifest).encode())
        self.s3.put_object(Bucket="lists", Key=key.replace(".json", ".checksum"), Body=b"")
        return f"s3://lists/{key}"

    @staticmethod
    def _csv(columns: Sequence[str], rows: list[list[Any]]) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, quoting=csv.QUOTE_ALL)
        for values in rows:
            named = dict(zip(columns, values, strict=True))
            flags = {name: str(value).lower() for name, value in named.items() if isinstance(value, bool)}
            writer.writerow((named | flags | {"Key": quote_plus(named["Key"], safe="/")}).values())
        return gzip.compress(text.getvalue().encode())

    @staticmethod
    def _parquet(columns: Sequence[str], rows: list[list[Any]]) -> bytes:
        names = [PARQUET_COLUMNS[COLUMNS.index(name)] for name in columns]
        return pd.DataFrame(rows, columns=names).to_parquet(compression="snappy")


@pytest.fixture
def inventory(aws: Aws) -> Inventory:
    return Inventory()


def listed(uri: str, **options: Any) -> dict[str, SourceImage]:
    found = list(open_source(uri, **options).list())
    assert len({image.id for image in found}) == len(found)
    return {image.id: image for image in found}


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_an_inventory_lists_the_photos_of_its_bucket(inventory: Inventory, format: str) -> None:
    keys = ["2024/a b+c%20.jpg", 'é 🐶/"x", y.PNG', "z.webp"]
    for key in keys:
        inventory.s3.put_object(Bucket="photos", Key=key, Body=key.encode())
    rows = [row(key, etag=f"etag-{n}", size=len(key.encode())) for n, key in enumerate(keys)]
    uri = inventory.deliver([[*rows[:2], row("notes.txt"), row("folder.jpg/")], rows[2:]], format)
    found = listed(uri)
    assert list(found) == keys
    for n, key in enumerate(keys):
        assert found[key].metadata.model_dump(include={"uri", "etag", "bytes"}) == {
            "uri": f"s3://photos/{key}",
            "etag": f"etag-{n}",
            "bytes": len(key.encode()),
        }
        assert Reader()(found[key].metadata.uri) == key.encode()


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_old_versions_and_deleted_objects_are_left_out(inventory: Inventory, format: str) -> None:
    rows = [
        row("a.jpg", etag="new"),
        row("a.jpg", etag="old", latest=False),
        row("b.jpg", deleted=True),
        row("b.jpg", latest=False),
    ]
    found = listed(inventory.deliver([rows], format))
    assert {id: image.metadata.etag for id, image in found.items()} == {"a.jpg": "new"}


@pytest.mark.parametrize("format", ["CSV", "Parquet"])
def test_an_inventory_of_current_versions_has_no_flags(inventory: Inventory, format: str) -> None:
    uri = inventory.deliver([[row("a.jpg")]], format, columns=("Bucket", "Key", "ETag"))
    assert listed(uri)["a.jpg"].metadata.bytes is None


def test_a_prefix_and_suffixes_choose_and_name_the_source(inventory: Inventory) -> None:
    uri = inventory.deliver([[row("in/a.jpg"), row("in/b.PNG"), row("in/c.dat"), row("in-old/d.jpg"), row("e.jpg")]])
    assert list(listed(uri, prefix="in")) == ["a.jpg", "b.PNG"]
    assert list(listed(uri, prefix="in/", suffixes=[".png", ".dat"])) == ["b.PNG", "c.dat"]
    config = f"s3://lists/{CONFIG}/manifest.json"
    assert open_source(uri).uri == config
    assert open_source(uri, prefix="/in/").uri == f"{config}?prefix=in"
    assert open_source(uri, prefix="in", suffixes=[".PNG", ".dat"]).uri == f"{config}?prefix=in&suffix=.dat&suffix=.png"


def test_the_uri_of_an_inventory_opens_it_again(inventory: Inventory) -> None:
    uri = inventory.deliver([[row("in/a b.jpg"), row("in/b.png"), row("c.jpg")]])
    source = open_source(uri, prefix="in", suffixes=[".JPG"])
    again = open_source(source.uri)
    assert again.uri == source.uri
    assert [image.id for image in again.list()] == [image.id for image in source.list()] == ["a b.jpg"]


def test_without_a_date_the_newest_inventory_is_read_and_it_stays_the_same_source(inventory: Inventory) -> None:
    first = inventory.deliver([[row("a.jpg")]], date="2024-05-01T01-00Z")
    second = inventory.deliver([[row("b.jpg")]], date="2024-05-02T01-00Z")
    newest = f"s3://lists/{CONFIG}/manifest.json"
    assert list(listed(newest)) == ["b.jpg"]
    assert list(listed(first)) == ["a.jpg"]
    assert open_source(first).uri == open_source(second).uri == open_source(newest).uri == newest


def test_what_is_no_usable_inventory_is_refused(inventory: Inventory) -> None:
    with pytest.raises(SourceError, match="no dated one"):
        listed("s3://lists/nothing/manifest.json")
    inventory.s3.put_object(Bucket="lists", Key="npm/manifest.json", Body=b'{"name": "x"}')
    with pytest.raises(SourceError, match="no manifest of an S3 Inventory"):
        listed("s3://lists/npm/manifest.json")
    with pytest.raises(SourceError, match="is ORC: let S3 deliver it as CSV or Parquet"):
        listed(inventory.deliver([], "ORC"))
    for format in ("CSV", "Parquet"):
        with pytest.raises(SourceError, match="lacks ETag: add it to the fields"):
            listed(inventory.deliver([[row("a.jpg")]], format, columns=("Bucket", "Key", "Size")))


def test_an_inventory_with_a_damaged_or_lost_file_is_refused(inventory: Inventory) -> None:
    uri = inventory.deliver([[row("a.jpg")], [row("b.jpg")]])
    key = f"{CONFIG}/data/2024-05-01T01-00Z-1.csv.gz"
    inventory.s3.put_object(Bucket="lists", Key=key, Body=b"damaged")
    with pytest.raises(SourceError, match="damaged"):
        listed(uri)
    inventory.s3.delete_object(Bucket="lists", Key=key)
    with pytest.raises(SourceError, match="use a newer manifest"):
        listed(uri)


def test_a_day_later_only_what_has_changed_is_encoded(
    inventory: Inventory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def encode(uri: str) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["encode", uri, "-o", str(tmp_path), "--model", str(MODEL), "--prefix", "in"])
        assert stopped.value.code == 0
        return " ".join(capsys.readouterr().err.split())

    etags = {}
    for name in ("cat", "dog", "pizza"):
        data = (MODEL / "photos" / f"{name}.webp").read_bytes()
        etags[name] = inventory.s3.put_object(Bucket="photos", Key=f"in/{name}.webp", Body=data)["ETag"].strip('"')
    rows = {name: row(f"in/{name}.webp", etag=etag) for name, etag in etags.items()}
    assert "2 to encode, 0 to remove" in encode(inventory.deliver([[rows["cat"], rows["dog"]]]))
    later = inventory.deliver([[rows["pizza"], rows["cat"]]], "Parquet", date="2024-05-02T01-00Z")
    assert "1 to encode, 1 to remove" in encode(later)
    assert "Nothing has changed" in encode(later)
