"""The tables of the Unsplash dataset: unpack its archive, and make one table of photos that `encode` takes as a source.

The dataset is a zip of tab-separated files, each perhaps in several: `photos.tsv000`, `photos.tsv001`,
`keywords.tsv000` and so on; some versions call them `.csv000`. Their columns are described in
https://github.com/unsplash/datasets/blob/master/DOCS.md; later versions have more than earlier ones.
"""

import csv
import logging
import re
import shutil
import zipfile
import zlib
from pathlib import Path

import duckdb

from imagesearch.errors import SourceError
from imagesearch.parquet import identifier, literal

logger = logging.getLogger(__name__)

NEEDED = ("photo_id", "photo_image_url")
COLUMNS = {
    "photos": (
        *NEEDED,
        "photo_url",
        "photo_submitted_at",
        "photo_description",
        "photographer_username",
        "photographer_first_name",
        "photographer_last_name",
        "photo_location_latitude",
        "photo_location_longitude",
        "ai_description",
    ),
    "keywords": ("photo_id", "keyword", "ai_service_1_confidence", "ai_service_2_confidence", "suggested_by_user"),
    "colors": ("photo_id", "hex", "keyword", "coverage", "ai_coverage"),
    "collections": ("photo_id", "collection_title"),
}
"""The files that are read (not `conversions`), and the columns of theirs that have a part in the table of photos."""

MAX_RATIO = 100
"""How much larger than in the archive a file may be. Text packs to a fifth or so; a zip bomb to a thousandth."""

MAX_COLLECTIONS = 10
REFERRAL = "?utm_source=clip-image-search&utm_medium=referral"
"""What Unsplash asks links to it to end with:
https://help.unsplash.com/api-guidelines/more-on-each-guideline/guideline-attribution."""

_FILE = re.compile(rf"({'|'.join(COLUMNS)})\.[ct]sv\d*")


def unpack(archive: Path, folder: Path) -> list[Path]:
    """The files of the dataset: those in `archive` if it is a folder, else unpacked from it to `folder`.

    Nothing is written outside `folder`, whatever names the archive has in it.

    Raises:
        SourceError: it is no such archive, is damaged, or is much larger than it seems.
    """
    if archive.is_dir():
        return sorted(path for path in archive.iterdir() if _FILE.fullmatch(path.name))
    unpacked = []
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [one for one in zipped.infolist() if _FILE.fullmatch(Path(one.filename).name)]
            size = sum(one.file_size for one in members)
            if any(one.file_size > MAX_RATIO * one.compress_size + 2**20 for one in members):
                raise SourceError(f"a file in {archive} is more than {MAX_RATIO} times as large unpacked: a zip bomb?")
            if size > shutil.disk_usage(folder).free:
                raise SourceError(f"{archive} needs {size:,} bytes unpacked, more than are free in {folder}")
            for number, member in enumerate(members):  # the name in the archive may lead anywhere
                path = folder / f"{number:06d}-{Path(member.filename).name}"
                with zipped.open(member) as data, path.open("wb") as file:
                    shutil.copyfileobj(data, file)
                unpacked.append(path)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        raise SourceError(f"can't unpack {archive}: {error}") from error
    return unpacked


def load(con: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
    """Make a table of text for each of COLUMNS in `con`, with these columns at least; all photos have different ids.

    Lines that can't be read are left out, and the log says how many.

    Raises:
        SourceError: there are no photos, or they lack a column that is needed.
    """
    found: dict[str, list[Path]] = {kind: [] for kind in COLUMNS}
    for path in files:
        if match := _FILE.search(path.name):
            found[match[1]].append(path)
    if not found["photos"]:
        raise SourceError("the dataset has no file photos.tsv000: is it the archive of the Unsplash dataset?")
    for kind, paths in found.items():
        con.execute(f"CREATE TABLE {kind} (photo_id VARCHAR)")
        for path in paths:
            _load_file(con, kind, path)
        for name in COLUMNS[kind]:
            con.execute(f"ALTER TABLE {kind} ADD COLUMN IF NOT EXISTS {name} VARCHAR")
    con.execute("DELETE FROM photos WHERE rowid NOT IN (SELECT min(rowid) FROM photos GROUP BY photo_id)")


def _load_file(con: duckdb.DuckDBPyConnection, kind: str, path: Path) -> None:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
        delimiter = "\t" if "\t" in line else ","
        header = next(csv.reader([line], delimiter=delimiter), [])
        needed = NEEDED if kind == "photos" else NEEDED[:1]
        if missing := [name for name in needed if name not in header]:
            raise SourceError(f"{path.name} of the dataset has no column {', '.join(missing)}")
        if len(set(header)) < len(header):
            raise SourceError(f"{path.name} of the dataset has two columns of one name: {', '.join(header)}")
        for name in header:
            con.execute(f"ALTER TABLE {kind} ADD COLUMN IF NOT EXISTS {identifier(name)} VARCHAR")
        types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        con.execute(
            f"INSERT INTO {kind} BY NAME FROM read_csv({literal(path)}, delim='{delimiter}', columns={{{types}}}, "
            "header=true, quote='\"', escape='\"', nullstr='', auto_detect=false, store_rejects=true)"
        )
        rejected = con.execute(
            "SELECT count(DISTINCT line), any_value(error_message), min(line) FROM reject_errors"
        ).fetchone()
        con.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")
    except (duckdb.Error, UnicodeDecodeError, OSError) as error:
        raise SourceError(f"can't read {path.name} of the dataset: {error}") from error
    if rejected and rejected[0]:
        count, message, first = rejected
        logger.warning("%s: %d lines can't be read; the first is line %d: %s", path.name, count, first, message)


def describe(con: duckdb.DuckDBPyConnection, folder: str, min_confidence: float) -> str:
    """A query (SQL that may follow FROM) for a row for each photo, with the columns that `TableSource` knows.

    `path` is the photo's in `folder`. Tags are the keywords that a person gave, and those that one of the dataset's
    models is sure of by `min_confidence` percent. All other columns of the dataset's photos are there too, unchanged.
    """
    lat, lon = "photo_location_latitude", "photo_location_longitude"
    if _swapped(con):
        lat, lon = lon, lat
    used = {"photo_id", "photo_submitted_at", "photo_description", "ai_description", lat, lon}
    others = [identifier(name) for name, *_ in con.execute("DESCRIBE photos").fetchall() if name not in used]
    return f"""(
        WITH scored AS (
            SELECT photo_id, keyword, bool_or(suggested_by_user IN ('t', 'true', '1')) IS TRUE AS by_person,
                max(greatest(try_cast(ai_service_1_confidence AS DOUBLE), try_cast(ai_service_2_confidence AS DOUBLE)))
                    AS confidence
            FROM keywords WHERE keyword IS NOT NULL GROUP BY ALL
        ), tagged AS (
            SELECT photo_id, list(keyword ORDER BY by_person DESC, confidence DESC NULLS LAST, keyword) AS tags
            FROM scored WHERE by_person OR confidence >= {min_confidence:f} GROUP BY photo_id
        ), covered AS (
            SELECT photo_id, keyword, hex, try_cast(coalesce(coverage, ai_coverage) AS DOUBLE) AS share FROM colors
        ), colored AS (
            SELECT photo_id, arg_max(keyword, share) AS color, arg_max(hex, share) AS color_hex
            FROM covered WHERE share IS NOT NULL AND keyword IS NOT NULL GROUP BY photo_id
        ), collected AS (
            SELECT photo_id,
                list(DISTINCT collection_title ORDER BY collection_title)[:{MAX_COLLECTIONS}] AS collections
            FROM collections WHERE collection_title IS NOT NULL GROUP BY photo_id
        ), located AS (
            SELECT *, try_cast({lat} AS DOUBLE) AS lat, try_cast({lon} AS DOUBLE) AS lon,
                coalesce(nullif(trim(concat_ws(' ', photographer_first_name, photographer_last_name)), ''),
                    photographer_username) AS photographer,
                'https://unsplash.com/@' || photographer_username || '{REFERRAL}' AS photographer_url
            FROM photos
        )
        SELECT photos.photo_id AS id, '{folder}/' || photos.photo_id || '.jpg' AS path,
            ai_description AS title, photo_description AS description, tags, color,
            'Photo by ' || photographer || ' on Unsplash' || coalesce(' (' || photographer_url || ')', '') AS credit,
            try_cast(photo_submitted_at AS TIMESTAMP) AS created_at,
            if(abs(lat) <= 90 AND abs(lon) <= 180, lat, NULL) AS lat,
            if(abs(lat) <= 90 AND abs(lon) <= 180, lon, NULL) AS lon,
            photographer, photographer_url, color_hex, collections, {", ".join(others)}
        FROM located AS photos LEFT JOIN tagged USING (photo_id) LEFT JOIN colored USING (photo_id)
            LEFT JOIN collected USING (photo_id)
        ORDER BY photos.photo_id
    )"""  # noqa: S608 - names are quoted


def _swapped(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether latitudes and longitudes stand in each other's column, as they do in all versions before 1.3.0."""
    row = con.execute(
        "SELECT max(abs(try_cast(photo_location_latitude AS DOUBLE))) > 90, "
        "max(abs(try_cast(photo_location_longitude AS DOUBLE))) <= 90 FROM photos"
    ).fetchone()
    return row is not None and all(row)
