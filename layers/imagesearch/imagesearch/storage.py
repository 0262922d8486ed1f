"""Where parts, ledgers and models are kept: one small interface over an S3 prefix and a local folder."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from imagesearch.errors import NotFound, StorageError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of a listing: `size` in bytes, `etag` changes when the content does, `modified` is in UTC."""

    key: str
    size: int
    etag: str
    modified: datetime


class Storage(Protocol):
    """Objects under keys such as `vectors/3f2a/20250101/00042.parquet`; keys are relative to the storage's own URI.

    Every method raises StorageError when the store refuses or fails, after retries.
    """

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix` or `file:///folder`, without a slash at the end."""
        ...

    def read(self, key: str, limit: int | None = None) -> bytes:
        """The whole object, or its first `limit` bytes.

        Raises:
            NotFound: there is no such object.
        """
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write the whole object; a reader sees the old content or the new one, never a part of it."""
        ...

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """The objects whose key starts with `prefix`, ordered by key (as bytes of UTF-8, like S3 orders them)."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens if it isn't there."""
        ...


def open_storage(uri: str) -> Storage:
    """The storage at `uri`: `s3://bucket/prefix`, `file:///folder` or the path of a folder, which needn't exist yet.

    Raises:
        StorageError: another kind of URI.
    """
    if uri.startswith("s3://"):
        bucket, prefix = split_s3_uri(uri)
        return S3Storage(bucket, prefix)
    if uri.startswith("file://"):
        return FolderStorage(Path(url2pathname(urlsplit(uri).path)))
    if "://" in uri or not uri:
        raise StorageError(f"{uri!r} is no storage: give s3://bucket/prefix or a local folder")
    return FolderStorage(Path(uri))


def split_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key is taken as it stands, nothing in it is decoded.

    Raises:
        StorageError: it names no bucket.
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise StorageError(f"{uri!r} names no bucket: it should be s3://bucket/prefix")
    return bucket, key


class FolderStorage:
    """A local folder. Writing goes to a hidden temporary file that is synced and renamed, so a crash leaves no half."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def uri(self) -> str:
        """`file:///folder`."""
        return self.folder.as_uri()

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise StorageError(f"{key!r} is no key: it should be names joined by single slashes, without . and ..")
        return self.folder.joinpath(*parts)

    def read(self, key: str, limit: int | None = None) -> bytes:
        """See Storage."""
        try:
            with self._path(key).open("rb") as file:
                return file.read(limit)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"there is no {key} in {self.uri}") from None
        except OSError as error:
            raise StorageError(f"can't read {key} in {self.uri}: {error}") from error

    def write(self, key: str, data: bytes) -> None:
        """See Storage."""
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.chmod(0o644)  # mkstemp makes it private, but parts are there to be read
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
        except OSError as error:
            raise StorageError(f"can't write {key} to {self.uri}: {error}") from error

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See Storage. Temporary files that a killed process left behind are not listed."""
        # Only the folder that holds all of the prefix is walked, not the whole storage.
        start = self._path(prefix.rpartition("/")[0]) if "/" in prefix else self.folder
        try:
            found = [path for path in _walk(start) if self._key(path).startswith(prefix)]
            for path in sorted(found, key=lambda path: self._key(path).encode()):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    stat = path.stat()
                    modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                    yield StoredObject(self._key(path), stat.st_size, file_etag(stat), modified)
        except OSError as error:
            raise StorageError(f"can't list {prefix!r} in {self.uri}: {error}") from error

    def _key(self, path: Path) -> str:
        return PurePosixPath(path.relative_to(self.folder)).as_posix()

    def exists(self, key: str) -> bool:
        """See Storage."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """See Storage."""
        try:
            self._path(key).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"can't delete {key} in {self.uri}: {error}") from error


def file_etag(stat: os.stat_result) -> str:
    """Etag of a local file from size and modification time: quick, and a change in place moves the time."""
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"


def _walk(folder: Path) -> Iterator[Path]:
    def raise_unless_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, _, names in os.walk(folder, onerror=raise_unless_gone):  # a missing folder is an empty one
        for name in names:
            if not (name.startswith(".") and name.endswith(".tmp")):
                yield Path(parent, name)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class S3Storage:
    """An S3 prefix. `client` is for sharing one; by default it is boto3's, which honours AWS_ENDPOINT_URL."""

    def __init__(self, bucket: str, prefix: str = "", client: "S3Client | None" = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.client = client or s3_client()

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def read(self, key: str, limit: int | None = None) -> bytes:
        """See Storage."""
        with _s3_errors(f"read {key} in {self.uri}"):
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with contextlib.closing(body):
                return body.read(limit)

    def download(self, key: str, path: Path) -> None:
        """Copy an object to the local file `path`, which may be larger than memory.

        Raises:
            NotFound: there is no such object.
        """
        with _s3_errors(f"read {key} in {self.uri}"), path.open("wb") as file:
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"]
            with contextlib.closing(body):
                shutil.copyfileobj(body, file)

    def write(self, key: str, data: bytes) -> None:
        """See Storage."""
        with _s3_errors(f"write {key} to {self.uri}"):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """See Storage."""
        skip = len(self._key(""))
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._key(prefix))
        with _s3_errors(f"list {prefix!r} in {self.uri}"):
            for page in pages:
                for found in page.get("Contents", ()):
                    etag = found["ETag"].strip('"')
                    yield StoredObject(found["Key"][skip:], found["Size"], etag, found["LastModified"])

    def exists(self, key: str) -> bool:
        """See Storage."""
        try:
            with _s3_errors(f"look for {key} in {self.uri}"):
                self.client.head_object(Bucket=self.bucket, Key=self._key(key))
        except NotFound:
            return False
        return True

    def delete(self, key: str) -> None:
        """See Storage."""
        with _s3_errors(f"delete {key} in {self.uri}"):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))


def s3_client() -> "S3Client":
    """An S3 client that retries what is worth it (throttling, 5xx, broken connections) with back-off."""
    import boto3  # a third of a second, which a local folder needn't pay
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "total_max_attempts": 8}, connect_timeout=5, max_pool_connections=64)
    return boto3.client("s3", config=config)


@contextlib.contextmanager
def _s3_errors(doing: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchKey", "404"):
            raise NotFound(f"can't {doing}: there is no such object") from None
        raise StorageError(f"can't {doing}: {error}") from error
    except (BotoCoreError, HTTPClientError) as error:
        raise StorageError(f"can't {doing}: {error}") from error
