"""Where photos come from: a folder, an S3 prefix or inventory, or a table (CSV, TSV, Parquet) of paths and URLs.

A source only lists. What it lists has a URI that `fetch` reads, so a worker needs the work shard and nothing else.

Ids are stable, so that a photo keeps its id from run to run: the path relative to the folder, the key relative to the
prefix, the table's `id` column or else its path. An etag changes when the photo does: S3's own; size and modification
time of a file (quick, where a hash would read every byte); for a table's row, a hash of the row and of the file's etag,
so that a new title counts as a change too.
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISLNK, S_ISREG
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes, urlsplit

from imagesearch.errors import ImageReason, InvalidImage, NotFound, SourceError
from imagesearch.fetch import Fetcher
from imagesearch.records import ImageMetadata
from imagesearch.storage import S3Storage, file_etag, s3_client, split_s3_uri

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".png"}
    | {".tif", ".tiff", ".webp"}
)
"""What is taken for a photo in a folder or under a prefix. Other files (texts, videos, sidecars) are no failures, they
are simply not photos; a file with one of these suffixes that turns out to be none gets its row in the ledger."""

MAX_IMAGE_BYTES = 200_000_000
"""A larger file is not read: it would be no ordinary photo, and each thread holds one in memory."""

TABLE_SUFFIXES = frozenset([".csv", ".tsv", ".parquet"])


@dataclass(frozen=True, slots=True)
class SourceImage:
    """One photo of a source. `metadata` has the URI, the etag and what the source knows besides.

    `problem` says why the source itself is at fault (a row without a path, a latitude of 200); such a photo is not
    fetched, and its ledger row has the problem as the reason.
    """

    id: str
    metadata: ImageMetadata
    problem: str | None = None


class Source(Protocol):
    """A set of photos that can be listed."""

    @property
    def uri(self) -> str:
        """Names the source in plans: the same source has the same URI in every run, and `open_source` takes it."""
        ...

    @property
    def columns(self) -> Mapping[str, str]:
        """What else `open_source` has to be told to open it again: of a table, the columns that were chosen."""
        ...

    def list(self) -> Iterator[SourceImage]:
        """Every photo, in an order that stays the same while nothing changes.

        Raises:
            SourceError: it can't be listed.
            StorageError: S3 refused or failed.
        """
        ...


def open_source(
    uri: str, *, columns: Mapping[str, str] | None = None, prefix: str = "", suffixes: Sequence[str] = ()
) -> Source:
    """The source at `uri`: a folder, `s3://bucket/prefix`, or a .csv, .tsv or .parquet file, local or on S3.

    `s3://…/manifest.json` is an S3 Inventory. `columns` is for tables alone (see TableSource), `prefix` and `suffixes`
    are for inventories (see InventorySource), whose own URI has them in it.

    Raises:
        SourceError: there is no such folder or file, or it is of another kind, or of one without these options.
    """
    from batch.inventory import MANIFEST, InventorySource  # they build on this module
    from batch.tables import TableSource

    table = Path(uri).suffix.lower() in TABLE_SUFFIXES
    inventory = uri.startswith("s3://") and Path(uri.partition("?")[0]).name == MANIFEST
    if columns and not table:
        raise SourceError(f"{uri} is no table, so there are no columns to name")
    if (prefix or suffixes) and not inventory:
        raise SourceError(f"a prefix and suffixes are for an S3 Inventory, s3://…/{MANIFEST}, and {uri} is none")
    if uri.startswith("s3://"):
        split_s3_uri(uri)
        if inventory:
            return InventorySource(uri, prefix, suffixes)
        return TableSource(uri, columns) if table else S3Source(uri)
    path = path_of_uri(uri) if uri.startswith("file://") else Path(uri).expanduser()
    if path.is_dir():
        return FolderSource(path)
    if not path.exists():
        raise SourceError(f"there is no {path}: give a folder, s3://bucket/prefix, or a .csv, .tsv or .parquet file")
    if not table:
        raise SourceError(f"{path} is neither a folder nor a table: a table's name ends in .csv, .tsv or .parquet")
    return TableSource(path.absolute().as_uri(), columns)


class FolderSource:
    """The photos in a folder and the folders in it.

    Hidden files are left out, and so are symbolic links, which may lead anywhere, or in circles.
    """

    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    @property
    def uri(self) -> str:
        """`file:///folder`."""
        return self.folder.as_uri()

    def list(self) -> Iterator[SourceImage]:
        """See Source. Folder by folder, each by name."""

        def fail(error: OSError) -> None:
            raise SourceError(f"can't list {error.filename}: {error.strerror}") from error

        links = 0
        for parent, folders, names in os.walk(self.folder, onerror=fail):
            links += sum(Path(parent, name).is_symlink() for name in folders)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(parent, name)
                if name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                try:
                    stat = path.lstat()
                except FileNotFoundError:  # gone since its folder was listed
                    continue
                if S_ISLNK(stat.st_mode):
                    links += 1
                elif S_ISREG(stat.st_mode):
                    # A name that isn't UTF-8 is shown with escapes; the URI keeps its bytes.
                    id = os.fsencode(path.relative_to(self.folder)).decode(errors="backslashreplace")
                    yield SourceImage(id, ImageMetadata(uri=path.as_uri(), etag=file_etag(stat), bytes=stat.st_size))
        if links:
            logger.warning("%d symbolic links in %s were not followed", links, self.folder)


class S3Source:
    """The photos under an S3 prefix. A prefix `photos` means `photos/…`, not `photos-old/…`."""

    columns: Mapping[str, str] = MappingProxyType({})

    def __init__(self, uri: str, storage: S3Storage | None = None) -> None:
        self.storage = storage or S3Storage(*split_s3_uri(uri))

    @property
    def uri(self) -> str:
        """`s3://bucket/prefix`."""
        return self.storage.uri

    def list(self) -> Iterator[SourceImage]:
        """See Source. Ordered by key."""
        for found in self.storage.list():
            if os.path.splitext(found.key)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - Path drops a last slash
                uri = f"{self.uri}/{found.key}"
                yield SourceImage(found.key, ImageMetadata(uri=uri, etag=found.etag, bytes=found.size))


def path_of_uri(uri: str) -> Path:
    """The local path of a file:// URI; its bytes needn't be UTF-8."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


class Reader:
    """Reads photos by their URI (file://, s3:// or https://); one is shared by all threads."""

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self._fetcher = fetcher or Fetcher(MAX_IMAGE_BYTES, seconds=30)
        self._lock = threading.Lock()
        self._s3: S3Client | None = None

    def __call__(self, uri: str) -> bytes:
        """The bytes of the photo at `uri`.

        Raises:
            NotFound, SourceError, StorageError, UnreachableUrl: it isn't there, or can't be read.
            InvalidImage: it has more than MAX_IMAGE_BYTES.
        """
        match urlsplit(uri).scheme:
            case "s3":
                data = self._read_s3(uri)
            case "file":
                data = _read_file(path_of_uri(uri))
            case _:
                data = self._fetcher.fetch(uri)
        if len(data) > MAX_IMAGE_BYTES:
            raise InvalidImage(ImageReason.TOO_MANY_BYTES, f"the file is larger than {MAX_IMAGE_BYTES:,} bytes")
        return data

    def _read_s3(self, uri: str) -> bytes:
        with self._lock:
            self._s3 = self._s3 or s3_client()
        bucket, key = split_s3_uri(uri)
        return S3Storage(bucket, client=self._s3).read(key, MAX_IMAGE_BYTES + 1)


def _read_file(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise NotFound(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise SourceError(f"can't read {path}: {error.strerror}") from error
