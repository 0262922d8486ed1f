"""The Unsplash dataset: its tables, and its photos from a real server that misbehaves."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import unsplash
from batch.cli import main
from batch.download import Downloader
from batch.sources import SourceImage, open_source
from batch.unsplash import Downloaded, download_unsplash, photo_url
from batch.unsplash_dataset import load, unpack
from imagesearch.errors import InvalidInput, SourceError, StorageError, UnreachableUrl
from imagesearch.parquet import connect
from imagesearch.storage import FolderStorage

MODEL = Path(__file__).parents[2] / "models" / "tiny"

PHOTO = {
    "photo_id": "",
    "photo_url": "https://unsplash.com/photos/x",
    "photo_image_url": "",
    "photo_submitted_at": "2018-08-06 18:12:15.40226",
    "photo_featured": "t",
    "photo_width": "4000",
    "photo_height": "3000",
    "photo_description": "",
    "photographer_username": "anniespratt",
    "photographer_first_name": "Annie",
    "photographer_last_name": "Spratt",
    "exif_camera_make": "Leica",
    "photo_location_name": "Zürich",
    "photo_location_latitude": "47.4",
    "photo_location_longitude": "108.5",
    "ai_description": "",
}
KEYWORD = {
    "photo_id": "",
    "keyword": "",
    "ai_service_1_confidence": "",
    "ai_service_2_confidence": "",
    "suggested_by_user": "f",
}


def tsv(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter="\t")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def photos(urls: Mapping[str, str], **columns: str) -> bytes:
    return tsv([PHOTO | {"photo_id": id, "photo_image_url": url} | columns for id, url in urls.items()])


def archive_of(path: Path, files: Mapping[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in files.items():
            zipped.writestr(name, data)
    return str(path)


def download(folder: Path, archive: str, **options: Any) -> Downloaded:
    downloader = options.pop("downloader", None) or Downloader(8, backoff=0.01, seconds=1, retries=2)
    return download_unsplash(FolderStorage(folder), archive=archive, downloader=downloader, threads=8, **options)


def listed(folder: Path) -> dict[str, SourceImage]:
    return {image.id: image for image in open_source(str(folder / "photos.parquet")).list()}


def test_photos_are_downloaded_with_what_the_dataset_knows_of_them(photo_server: Any, tmp_path: Path) -> None:
    server, url = photo_server
    keywords = [("dog", "95", "", "f"), ("pet", "", "81.5", "f"), ("sofa", "12", "79.9", "f"), ("Rex", "", "", "t")]
    files = {
        "set/photos.tsv000": photos(
            {"a-1_X": f"{url}/ok/dog?ixid=7"}, ai_description="a dog", photo_description='Rex\n"the\tdog"'
        ),
        "set/photos.tsv001": photos({"b": f"{url}/ok/cat"}, photographer_last_name="", photo_location_latitude="91"),
        "keywords.csv000": tsv(
            [
                KEYWORD
                | {"photo_id": "a-1_X", "keyword": word, "ai_service_1_confidence": one}
                | {"ai_service_2_confidence": two, "suggested_by_user": user}
                for word, one, two, user in keywords
            ]
        ),
        "colors.tsv000": tsv(
            [
                {"photo_id": "a-1_X", "hex": "FFFFFF", "keyword": "white", "ai_coverage": "0.2"},
                {"photo_id": "a-1_X", "hex": "A52A2A", "keyword": "brown", "ai_coverage": "0.6"},
            ]
        ),
        "collections.tsv000": tsv([{"photo_id": "a-1_X", "collection_id": "1", "collection_title": "Dogs"}]),
        "conversions.tsv000": b"not read",
        "README.md": b"",
    }
    done = download(tmp_path, archive_of(tmp_path / "lite.zip", files))
    assert (done.table, done.fetched, done.failed) == (2, 2, [])
    assert server.queries == {"ixid=7&w=480&fit=max&fm=jpg", "w=480&fit=max&fm=jpg"}
    found = listed(tmp_path)
    dog = found["a-1_X"].metadata
    assert (tmp_path / "photos-480/a-1_X.jpg").read_bytes() == server.photo("dog")
    assert dog.uri == (tmp_path / "photos-480/a-1_X.jpg").as_uri()
    assert dog.title == "a dog"
    assert dog.description == 'Rex\n"the\tdog"'
    assert dog.tags == ("Rex", "dog", "pet")
    assert dog.color == "brown"
    link = "https://unsplash.com/@anniespratt?utm_source=clip-image-search&utm_medium=referral"
    assert dog.credit == f"Photo by Annie Spratt on Unsplash ({link})"
    assert dog.created_at == datetime(2018, 8, 6, 18, 12, 15, 402260, UTC)
    assert (dog.lat, dog.lon) == (47.4, 108.5)
    assert dog.extra["collections"] == ["Dogs"]
    assert dog.extra["color_hex"] == "A52A2A"
    assert dog.extra["exif_camera_make"] == "Leica"
    assert dog.extra["photo_width"] == "4000"
    assert (found["b"].metadata.lat, found["b"].metadata.lon) == (None, None)
    assert found["b"].metadata.credit == f"Photo by Annie on Unsplash ({link})"
    assert found["b"].problem is None


def test_places_of_versions_with_swapped_columns_are_put_right(photo_server: Any, tmp_path: Path) -> None:
    _, url = photo_server
    data = photos({"a": f"{url}/ok/dog"}, photo_location_latitude="-123.9", photo_location_longitude="45.4")
    download(tmp_path, archive_of(tmp_path / "lite.zip", {"photos.tsv000": data}))
    assert (listed(tmp_path)["a"].metadata.lat, listed(tmp_path)["a"].metadata.lon) == (45.4, -123.9)


def test_photos_that_fail_cost_no_other_photo_anything(photo_server: Any, tmp_path: Path) -> None:
    server, url = photo_server
    bad = {
        "gone": "not_found",
        "page": "not_an_image",
        "huge": "too_many_bytes",
        "cut": "unreachable_url",
        "slow": "unreachable_url",
        "loop": "unreachable_url",
    }
    good = ("ok", "busy", "broken", "cut-once", "short-once", "moved")
    urls = {does: f"{url}/{does}/cat" for does in (*bad, *good)}
    urls |= {"../../evil": f"{url}/ok/cat", "nourl": "", "weird": "https://[x"}
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos(urls)})
    done = download(tmp_path / "out", archive)
    expected = bad | {"../../evil": "invalid_input", "nourl": "invalid_input", "weird": "invalid_input"}
    assert {failure.id: failure.reason for failure in done.failed} == expected
    assert listed(tmp_path / "out").keys() == set(good)
    for name in good:
        assert (tmp_path / f"out/photos-480/{name}.jpg").read_bytes() == server.photo("cat")
    with (tmp_path / "out/failed.csv").open(newline="") as file:
        assert {row["id"]: row["reason"] for row in csv.DictReader(file)} == expected
    assert server.hits["/gone/cat"] == 1

    hits = server.hits.copy()
    again = download(tmp_path / "out", archive)
    assert (again.fetched, again.table, again.failed_before) == (0, len(good), 6)
    assert {failure.id: failure.reason for failure in again.failed} == expected
    assert {path for path in server.hits if server.hits[path] > hits[path]} == {"/cut/cat", "/slow/cat", "/loop/cat"}
    download(tmp_path / "out", archive, retry_failed=True)
    assert server.hits["/gone/cat"] == 2


def test_a_second_run_asks_only_for_what_is_missing(photo_server: Any, tmp_path: Path) -> None:
    server, url = photo_server
    names = ("cat", "dog", "pizza")
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos({name: f"{url}/ok/{name}" for name in names})})
    download(tmp_path, archive)
    (tmp_path / "photos-480/dog.jpg").unlink()
    assert download(tmp_path, archive).fetched == 1
    assert dict(server.hits) == {"/ok/cat": 1, "/ok/dog": 2, "/ok/pizza": 1}
    wide = download(tmp_path, archive, image_width=640)
    assert (wide.fetched, wide.table) == (3, 3)
    assert listed(tmp_path)["cat"].metadata.uri.endswith("/photos-640/cat.jpg")


def test_an_archive_is_downloaded_once(photo_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, url = photo_server
    path = archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos({"a": f"{url}/ok/cat"})})
    monkeypatch.setattr(server, "photo", lambda name: Path(path).read_bytes() if name == "zip" else b"")
    for _ in range(2):
        done = download(tmp_path / "out", f"{url}/moved/zip")
        assert [failure.reason for failure in done.failed] == ["empty"]
    assert server.hits["/ok/zip"] == 1


def test_an_unpacked_dataset_is_read_where_it_is(photo_server: Any, tmp_path: Path) -> None:
    _, url = photo_server
    (tmp_path / "photos.tsv000").write_bytes(photos({"a": f"{url}/ok/cat"}))
    assert download(tmp_path / "out", str(tmp_path)).table == 1


def test_a_server_that_has_gone_away_stops_the_run(tmp_path: Path) -> None:
    urls = {f"p{n}": f"http://127.0.0.1:9/{n}" for n in range(300)}
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos(urls)})
    with pytest.raises(UnreachableUrl, match=r"the last 100 photos can't be reached; one of them: .*refused"):
        download(tmp_path, archive, downloader=Downloader(8, retries=0))


class FullStorage(FolderStorage):
    def write(self, key: str, data: bytes) -> None:
        raise StorageError("the disk is full")


def test_a_destination_that_takes_no_photos_stops_the_run(photo_server: Any, tmp_path: Path) -> None:
    server, url = photo_server
    server.delay = 0.01
    data = photos({f"p{n:03d}": f"{url}/ok/cat" for n in range(500)})
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": data})
    downloader = Downloader(4, retries=0)
    with pytest.raises(StorageError, match="the disk is full"):
        download_unsplash(FullStorage(tmp_path), archive=archive, downloader=downloader, threads=4)
    assert server.hits["/ok/cat"] < 100


def test_photos_come_from_unsplash_alone(photo_server: Any, tmp_path: Path) -> None:
    server, url = photo_server
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos({"a": f"{url}/ok/cat"})})
    done = download_unsplash(FolderStorage(tmp_path), archive=archive)
    assert [failure.reason for failure in done.failed] == ["invalid_input"]
    assert not server.hits


def test_the_full_dataset_needs_its_archive(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--archive"):
        download_unsplash(FolderStorage(tmp_path), dataset="full")


def test_a_name_in_an_archive_leads_nowhere_else(tmp_path: Path) -> None:
    path = archive_of(
        tmp_path / "evil.zip", {"../../photos.tsv000": b"x", "/etc/colors.tsv000": b"y", "../keywords.txt": b"z"}
    )
    (tmp_path / "deep/out").mkdir(parents=True)
    files = unpack(Path(path), tmp_path / "deep/out")
    assert {file.parent for file in files} == {tmp_path / "deep/out"}
    assert sorted(file.read_bytes() for file in files) == [b"x", b"y"]
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {"evil.zip", *(file.name for file in files)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"photos.tsv000": b"0" * 50_000_000}, "zip bomb"),
        ({"pictures.tsv000": b""}, "no file photos.tsv000"),
        ({"photos.tsv000": b""}, "no column photo_id, photo_image_url"),
        ({"photos.tsv000": b"photo_id\tphoto_url\n"}, "no column photo_image_url"),
        ({"photos.tsv000": b"photo_id\tphoto_image_url\tphoto_id\n"}, "two columns of one name"),
    ],
)
def test_what_is_not_the_dataset_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        download(tmp_path / "out", archive_of(tmp_path / "lite.zip", files))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = Path(archive_of(tmp_path / "lite.zip", {"photos.tsv000": photos({"a": "https://e.org/" + "x" * 5000})}))
    data = path.read_bytes()
    for damaged in (b"<html>", data[:-50], data[:80] + b"xxxx" + data[84:]):
        path.write_bytes(damaged)
        with pytest.raises(SourceError, match="can't unpack"):
            download(tmp_path / "out", str(path))
    with pytest.raises(SourceError, match="there is no"):
        download(tmp_path / "out", str(tmp_path / "nothing.zip"))


def test_lines_that_cannot_be_read_are_counted(
    photo_server: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, url = photo_server
    data = photos({"a": f"{url}/ok/cat"}) + b"half a line\tonly\r\n" + photos({"b": f"{url}/ok/dog"}).splitlines()[1]
    assert download(tmp_path, archive_of(tmp_path / "lite.zip", {"photos.tsv000": data})).table == 2
    assert "photos.tsv000: 1 lines can't be read; the first is line 3" in caplog.text


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(cells.filter(bool), st.tuples(cells, cells), min_size=1, max_size=5))
def test_any_text_survives_a_dataset(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("dataset") / "photos.tsv000"
    named = [{"photo_id": id, "photo_image_url": url, "photo_description": text} for id, (url, text) in rows.items()]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(named[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(named)
    path.write_text(text.getvalue(), newline="", encoding="utf-8")
    with connect() as con:
        load(con, [path])
        found = con.execute("SELECT photo_id, photo_image_url, photo_description FROM photos").fetchall()
    assert {id: (url or "", text or "") for id, url, text in found} == rows


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://images.unsplash.com/photo-1", "https://images.unsplash.com/photo-1?w=480&fit=max&fm=jpg"),
        ("https://e.org/a%20b?w=9&ixid=a%2Bb#x", "https://e.org/a%20b?w=480&ixid=a%2Bb&fit=max&fm=jpg"),
    ],
)
def test_the_server_is_asked_to_scale_the_photo(url: str, expected: str) -> None:
    assert photo_url(url, 480) == expected


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


def test_from_the_dataset_to_a_search_that_credits_the_photographer(
    photo_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = photo_server
    monkeypatch.setattr(unsplash, "DOMAIN", None)
    urls = {name: f"{url}/ok/{name}" for name in ("cat", "pizza", "rocket")}
    words = tsv([KEYWORD | {"photo_id": "pizza", "keyword": "food", "suggested_by_user": "t"}])
    folder, index = tmp_path / "unsplash", f"duckdb:///{tmp_path}/index.duckdb"
    files = {"photos.tsv000": photos(urls, ai_description="a drawing"), "keywords.tsv000": words}
    archive = archive_of(tmp_path / "lite.zip", files)
    assert run("download-unsplash", folder, "--archive", archive, "--threads", "2") == 0
    out, err = (" ".join(text.split()) for text in capsys.readouterr())
    assert "3 photos are there, 3 of them new; 0 failed." in out
    assert "Go on with: imagesearch encode" in err
    encoded = tmp_path / "encoded"
    assert run("encode", folder / "photos.parquet", "-o", encoded, "--model", MODEL) == 0
    assert run("load", encoded, "--index", index) == 0
    capsys.readouterr()
    assert run("search", "pizza", "--index", index, "--model", MODEL, "-k", "1", "--json") == 0
    hit = json.loads(capsys.readouterr().out)
    assert hit["id"] == "pizza"
    assert hit["credit"].startswith("Photo by Annie Spratt on Unsplash (https://unsplash.com/@anniespratt?")
    assert (hit["title"], hit["tags"], hit["lat"], hit["lon"]) == ("a drawing", ["food"], 47.4, 108.5)
    assert hit["extra"]["photo_location_name"] == "Zürich"
    assert run("search", "pizza", "--index", index, "--model", MODEL) == 0
    assert "credit" in capsys.readouterr().out


def test_exit_codes_say_whether_photos_failed(
    photo_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = photo_server
    monkeypatch.setattr(unsplash, "DOMAIN", None)
    data = photos({"a": f"{url}/ok/cat", "b": f"{url}/gone/dog"})
    archive = archive_of(tmp_path / "lite.zip", {"photos.tsv000": data})
    command = ("download-unsplash", tmp_path / "out", "--archive", archive)
    assert run(*command) == 3
    out, err = capsys.readouterr()
    assert "1 photos are there, 1 of them new; 1 failed." in out
    assert "not_found" in out
    assert "failed.csv says why" in err
    assert run(*command) == 0
    assert "1 failed before and are not tried again; --retry-failed does" in " ".join(capsys.readouterr().err.split())
    assert run("download-unsplash", tmp_path / "out", "--dataset", "full") == 1
    assert "--archive" in capsys.readouterr().err
    assert run("download-unsplash", tmp_path / "out", "--threads", "0") == 2
