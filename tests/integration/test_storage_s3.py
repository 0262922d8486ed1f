"""S3 as storage and as a source, against moto's S3."""

import boto3
import pytest

from batch import sources
from batch.sources import Reader, open_source
from imagesearch.errors import InvalidImage, NotFound, SourceError, StorageError
from imagesearch.storage import open_storage
from local.aws import Aws


@pytest.fixture
def bucket(aws: Aws) -> str:
    boto3.client("s3").create_bucket(Bucket="photos")
    return "photos"


@pytest.mark.parametrize("key", ["a", "runs/1/plan.json", "a b+c%20d/é 🐶?#&=.parquet", "../x", "a//b"])
@pytest.mark.parametrize("prefix", ["", "/pre fix+/ü"])
def test_what_was_written_is_read(bucket: str, key: str, prefix: str) -> None:
    storage = open_storage(f"s3://{bucket}{prefix}")
    storage.write(key, b"one")
    storage.write(key, b"two\0")
    assert storage.read(key) == b"two\0"
    assert storage.read(key, 2) == b"tw"
    assert storage.exists(key)
    (found,) = storage.list()
    assert (found.key, found.size) == (key, 4)
    assert found.etag
    assert '"' not in found.etag
    assert found.modified.tzinfo is not None
    storage.delete(key)
    storage.delete(key)
    assert not storage.exists(key)
    with pytest.raises(NotFound):
        storage.read(key)


def test_a_listing_goes_over_pages_and_stays_under_its_prefix(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "4")  # a page of S3 has 1,000
    client = boto3.client("s3")
    for n in range(10):
        client.put_object(Bucket=bucket, Key=f"photos/{n:04d}.jpg", Body=b"")
    client.put_object(Bucket=bucket, Key="photos-old/a.jpg", Body=b"")
    assert client.list_objects_v2(Bucket=bucket)["IsTruncated"]
    found = [item.key for item in open_storage(f"s3://{bucket}/photos").list()]
    assert found == [f"{n:04d}.jpg" for n in range(10)]
    assert [item.key for item in open_storage(f"s3://{bucket}/photos/").list("000")] == [
        f"000{n}.jpg" for n in range(10)
    ]


def test_a_missing_bucket_is_a_storage_error(aws: Aws) -> None:
    storage = open_storage("s3://nothing")
    for call in (lambda: storage.read("a"), lambda: storage.write("a", b""), lambda: list(storage.list())):
        with pytest.raises(StorageError, match="NoSuchBucket"):
            call()


def test_missing_credentials_are_a_storage_error(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StorageError, match="can't read a in s3://photos: Unable to locate credentials"):
        open_storage("s3://photos").read("a")


def test_an_s3_prefix_lists_the_photos_under_it(bucket: str) -> None:
    client = boto3.client("s3")
    for key in ("in/a b+c%20.jpg", "in/é 🐶?#.PNG", "in/x.txt", "in/folder.jpg/", "inside.jpg"):
        client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    source = open_source(f"s3://{bucket}/in/")
    assert source.uri == "s3://photos/in"
    found = {image.id: image.metadata for image in source.list()}
    assert list(found) == ["a b+c%20.jpg", "é 🐶?#.PNG"]
    for id, metadata in found.items():
        assert Reader()(metadata.uri) == f"in/{id}".encode()
        assert metadata.bytes == len(f"in/{id}".encode())
    before = found["a b+c%20.jpg"].etag
    client.put_object(Bucket=bucket, Key="in/a b+c%20.jpg", Body=b"other")
    after = {image.id: image.metadata.etag for image in source.list()}["a b+c%20.jpg"]
    assert after != before


def test_a_table_on_s3_names_photos_beside_it(bucket: str) -> None:
    client = boto3.client("s3")
    client.put_object(Bucket=bucket, Key="in/t.csv", Body="path,title\nsub/a b.jpg,Ä\n".encode())
    client.put_object(Bucket=bucket, Key="in/sub/a b.jpg", Body=b"picture")
    (image,) = open_source(f"s3://{bucket}/in/t.csv").list()
    assert (image.id, image.metadata.title) == ("sub/a b.jpg", "Ä")
    assert Reader()(image.metadata.uri) == b"picture"
    with pytest.raises(SourceError, match=r"other\.csv"):
        list(open_source(f"s3://{bucket}/in/other.csv").list())


def test_a_photo_that_is_too_large_is_not_read_into_memory(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3.client("s3").put_object(Bucket=bucket, Key="a.jpg", Body=b"x" * 11)
    monkeypatch.setattr(sources, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(InvalidImage, match="larger than 10 bytes"):
        Reader()(f"s3://{bucket}/a.jpg")
