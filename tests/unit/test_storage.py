"""A local folder as storage; S3 is in tests/integration/test_storage_s3.py."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagesearch.errors import NotFound, StorageError
from imagesearch.storage import FolderStorage, S3Storage, Storage, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path / "not there yet"))


@pytest.mark.parametrize("key", ["a", "runs/1/plan.json", "a b+c%20d/é 🐶.parquet", ".hidden", "x/..."])
def test_what_was_written_is_read(storage: Storage, key: str) -> None:
    storage.write(key, b"one")
    storage.write(key, b"two\0")
    assert storage.read(key) == b"two\0"
    assert storage.read(key, 2) == b"tw"
    assert storage.exists(key)
    assert [found.key for found in storage.list()] == [key]


def test_a_listing_tells_size_etag_and_time(storage: Storage) -> None:
    storage.write("a", b"one")
    (first,) = storage.list()
    assert first.size == 3
    assert abs(first.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert list(storage.list()) == [first]
    storage.write("a", b"other")
    (second,) = storage.list()
    assert second.etag != first.etag


def test_a_listing_is_in_the_order_of_s3_and_by_prefix(storage: Storage) -> None:
    keys = ["a!b", "a/b", "a/c/d", "a0", "b/a", "é", "🐶"]  # in the order of their UTF-8 bytes
    for key in reversed(keys):
        storage.write(key, b"")
    assert [found.key for found in storage.list()] == keys
    assert [found.key for found in storage.list("a/")] == ["a/b", "a/c/d"]
    assert [found.key for found in storage.list("a")] == ["a!b", "a/b", "a/c/d", "a0"]
    assert [found.key for found in storage.list("a/c/")] == ["a/c/d"]
    assert list(storage.list("c/")) == []


def test_what_is_missing_is_not_found(storage: Storage) -> None:
    assert not storage.exists("a/b")
    assert list(storage.list()) == []
    storage.delete("a/b")
    with pytest.raises(NotFound, match="a/b"):
        storage.read("a/b")
    storage.write("a/b", b"")
    for key in ("a", "a/b/c"):
        with pytest.raises(NotFound):
            storage.read(key)
    storage.delete("a/b")
    assert not storage.exists("a/b")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\0b"])
def test_a_key_cannot_leave_the_folder(storage: Storage, key: str) -> None:
    for call in (storage.read, storage.exists, storage.delete, lambda key: storage.write(key, b"")):
        with pytest.raises(StorageError, match="is no key"):
            call(key)


def test_a_failed_write_leaves_the_old_object_and_no_litter(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    storage.write("a", b"old")
    with pytest.raises(TypeError):
        storage.write("a", "no bytes")  # type: ignore[arg-type]
    assert storage.read("a") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_a_killed_process_left_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / ".abc.tmp").write_bytes(b"half")
    assert list(FolderStorage(tmp_path).list()) == []


def test_a_folder_in_the_way_of_an_object_is_a_storage_error(storage: Storage) -> None:
    storage.write("a/b", b"")
    with pytest.raises(StorageError, match="can't write a "):
        storage.write("a", b"")
    with pytest.raises(StorageError, match="can't write a/b/c"):
        storage.write("a/b/c", b"")


def test_uris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = tmp_path / "with blank"
    for uri in (str(folder), folder.as_uri()):
        storage = open_storage(uri)
        assert isinstance(storage, FolderStorage)
        assert storage.folder == folder
        assert storage.uri == folder.as_uri()
    for uri in ("s3://bucket/pre fix+#", "s3://bucket/pre fix+#/"):
        storage = open_storage(uri)
        assert isinstance(storage, S3Storage)
        assert (storage.bucket, storage.prefix, storage.uri) == ("bucket", "pre fix+#", "s3://bucket/pre fix+#")
    assert open_storage("s3://bucket").uri == "s3://bucket"
    for uri in ("", "gs://bucket", "https://example.org/x", "s3://", "s3:///x"):
        with pytest.raises(StorageError):
            open_storage(uri)
