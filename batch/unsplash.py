"""Download the Unsplash dataset: its tables, the photos they list, and a table of them for `encode`.

```
DESTINATION/photos.parquet        the photos that are there, with all that the dataset knows of them
DESTINATION/photos-480/<id>.jpg   the photos, 480 pixels wide
DESTINATION/failed.csv            the photos that couldn't be downloaded, and why
DESTINATION/unsplash-….zip        the archive, if it was downloaded to a local folder
```

A photo that is there isn't downloaded again, so a run that was stopped goes on where it was.
"""

import csv
import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import duckdb

from batch import report
from batch.download import Downloader
from batch.sources import path_of_uri
from batch.unsplash_dataset import describe, load, unpack
from imagesearch.errors import ImageReason, InvalidImage, InvalidInput, NotFound, SourceError, UnreachableUrl
from imagesearch.images import open_image
from imagesearch.parquet import connect, copy_to, load_rows
from imagesearch.storage import FolderStorage, Storage

LITE_ARCHIVE = "https://unsplash.com/data/lite/latest"
DOMAIN: str | None = "unsplash.com"
"""Photos are downloaded from this domain only: a table with other URLs in it may not lead into a private network."""

TABLE, FAILED = "photos.parquet", "failed.csv"
MAX_PHOTO_BYTES = 50_000_000
FOR_A_WHILE = ("unreachable_url", "truncated")
"""Reasons that may pass: the next run tries again. Photos that failed otherwise are gone, or no photos."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of failed.csv. `reason` is a stable code, `detail` a sentence."""

    id: str
    url: str
    reason: str
    detail: str


@dataclass(slots=True)
class Downloaded:
    """What became of the photos of a dataset: `table` rows are in photos.parquet, `fetched` of them are new.

    `failed` are all that failed.csv names; `failed_before` of them were not tried again.
    """

    table: int = 0
    fetched: int = 0
    failed_before: int = 0
    failed: list[Failure] = field(default_factory=list)


def download_unsplash(
    destination: Storage,
    *,
    dataset: Literal["lite", "full"] = "lite",
    archive: str | None = None,
    image_width: int = 480,
    threads: int = 32,
    min_confidence: float = 80,
    retry_failed: bool = False,
    downloader: Downloader | None = None,
) -> Downloaded:
    """Download what is missing of the dataset's photos, `image_width` pixels wide, and write the table of those there.

    `archive` is the URL or path of the dataset's zip, or the folder that it was unpacked to; the lite dataset's is
    public. `downloader` replaces the one that downloads photos, over at most `threads` connections.

    Raises:
        InvalidInput: the full dataset without its archive.
        SourceError: the archive isn't one.
        UnreachableUrl: the archive, or one photo after the other, can't be reached.
        StorageError: the destination can't be read or written.
    """
    if archive is None and dataset == "full":
        raise InvalidInput("the full dataset has no public address: give the one that Unsplash sent you as --archive")
    downloader = downloader or Downloader(threads, domain=DOMAIN)
    folder = f"photos-{image_width}"
    with tempfile.TemporaryDirectory() as work, connect(Path(work, "unsplash.duckdb")) as con:
        load(con, unpack(_local_archive(archive or LITE_ARCHIVE, dataset, destination, Path(work)), Path(work)))
        _load_there(con, destination, folder)
        before = {(failure.id, failure.url): failure for failure in _read_failures(destination)}
        done = Downloaded()

        def missing(advance: Callable[[int], None]) -> Iterator[tuple[str, str]]:
            for id, url in _missing(con):
                failure = before.get((id, url))
                if retry_failed or failure is None or failure.reason in FOR_A_WHILE:
                    yield id, url
                else:
                    done.failed_before += 1
                    done.failed.append(failure)
                    advance(1)

        def fetch(photo: tuple[str, str]) -> Failure | None:
            return _fetch(*photo, image_width, downloader, destination)

        in_a_row = 0
        with (
            report.progress(_count(con, "photos ANTI JOIN there USING (photo_id)"), "downloading", "photos") as advance,
            closing(_in_threads(threads, fetch, missing(advance), downloader.stop)) as results,
        ):
            for failure in results:
                advance(1)
                in_a_row = in_a_row + 1 if failure and failure.reason == "unreachable_url" else 0
                if failure is None:
                    done.fetched += 1
                    continue
                done.failed.append(failure)
                if in_a_row >= max(100, 4 * threads):
                    raise UnreachableUrl(f"the last {in_a_row} photos can't be reached; one of them: {failure.detail}")
        _write_failures(destination, done.failed)
        done.table = _write_table(con, destination, folder, min_confidence)
    return done


def photo_url(url: str, width: int) -> str:
    """`url` with the parameters that have Unsplash's image server scale the photo.

    https://unsplash.com/documentation#supported-parameters: `w` is the width in pixels; `fit=max` leaves a photo that
    is smaller as it is; `fm=jpg` makes all of them JPEG. The server's own quality is kept.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True)) | {"w": str(width), "fit": "max", "fm": "jpg"}
    return parts._replace(query=urlencode(query), fragment="").geturl()


def _fetch(id: str, url: str, width: int, downloader: Downloader, destination: Storage) -> Failure | None:
    """Download one photo; what is wrong with it costs no other photo anything."""
    try:
        if not _ID.fullmatch(id):  # it becomes the name of a file
            raise InvalidInput(f"{id!r} is no id of Unsplash's")
        data = _photo(photo_url(url, width), downloader)
    except InvalidImage as error:
        return Failure(id, url, error.reason, str(error))
    except (InvalidInput, NotFound) as error:
        return Failure(id, url, error.code, str(error))
    except ValueError as error:
        return Failure(id, url, InvalidInput.code, f"the URL is malformed: {error}")
    destination.write(f"photos-{width}/{id}.jpg", data)
    return None


def _photo(url: str, downloader: Downloader) -> bytes:
    """A photo that can be decoded. One that breaks off is asked for again: not every answer says how long it is."""
    for left in (2, 1, 0):
        data = downloader.get(url, MAX_PHOTO_BYTES)
        try:
            open_image(data, target=64)
        except InvalidImage as error:
            if error.reason != ImageReason.TRUNCATED or not left:
                raise
        else:
            break
    return data


def _local_archive(archive: str, dataset: str, destination: Storage, work: Path) -> Path:
    """The archive as a local file; one that is downloaded is kept where the photos are, if that is a local folder."""
    if archive.startswith("file://"):
        return path_of_uri(archive)
    if not archive.startswith(("https://", "http://")):
        path = Path(archive).expanduser()
        if not path.exists():
            raise SourceError(f"there is no {path}: give the URL or path of the dataset's zip, or its unpacked folder")
        return path
    folder = destination.folder if isinstance(destination, FolderStorage) else work
    path = folder / f"unsplash-{dataset}-{hashlib.sha256(archive.encode()).hexdigest()[:8]}.zip"
    if path.exists():
        report.messages.print(f"{path} is there already; remove it to have it downloaded anew.")
    else:
        report.messages.print("Downloading the tables of the dataset …")
        folder.mkdir(parents=True, exist_ok=True)
        Downloader(1).save(archive, path)
    return path


def _load_there(con: duckdb.DuckDBPyConnection, destination: Storage, folder: str) -> None:
    """Make the table `there` of the ids of the photos that are in the destination."""
    ids = ((Path(found.key).stem,) for found in destination.list(f"{folder}/") if found.key.endswith(".jpg"))
    load_rows(con, "there", {"photo_id": "VARCHAR"}, ids)


def _missing(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, str]]:
    """Id and URL of each photo that isn't in the destination; a URL that the dataset lacks is empty."""
    with con.cursor() as cursor:
        cursor.execute(
            "SELECT photo_id, coalesce(photo_image_url, '') FROM photos ANTI JOIN there USING (photo_id) ORDER BY 1"
        )
        while rows := cursor.fetchmany(1_000):
            yield from rows


def _count(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    row = con.execute(f"SELECT count(*) FROM {relation}").fetchone()  # noqa: S608 - our names
    assert row is not None
    return int(row[0])


def _write_table(con: duckdb.DuckDBPyConnection, destination: Storage, folder: str, min_confidence: float) -> int:
    """Write photos.parquet, and return how many photos are in it."""
    _load_there(con, destination, folder)
    for table in ("photos", "keywords", "colors", "collections"):
        con.execute(f"DELETE FROM {table} WHERE photo_id NOT IN (FROM there)")  # noqa: S608 - our names
    with tempfile.TemporaryDirectory() as work:
        path = Path(work, TABLE)
        copy_to(con, describe(con, folder, min_confidence), path, {})
        destination.write(TABLE, path.read_bytes())
    return _count(con, "photos")


def _read_failures(destination: Storage) -> list[Failure]:
    try:
        text = destination.read(FAILED).decode()
    except NotFound:
        return []
    _, *rows = csv.reader(io.StringIO(text))
    return [Failure(*row) for row in rows]


def _write_failures(destination: Storage, failures: Iterable[Failure]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([Failure.__slots__, *map(astuple, failures)])
    destination.write(FAILED, text.getvalue().encode())


def _in_threads(
    threads: int, work: Callable[[T], R], items: Iterable[T], stop: Callable[[], None]
) -> Generator[R, None, None]:
    """`work` on each of the items in so many threads, as they are done; few items are taken ahead. `stop` ends them."""
    with ThreadPoolExecutor(threads, thread_name_prefix="download") as pool:
        waiting: set[Future[R]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(work, item))
                if len(waiting) >= 4 * threads:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            stop()
            pool.shutdown(cancel_futures=True)
            raise
