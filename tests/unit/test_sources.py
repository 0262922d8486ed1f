import csv
import os
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch import sources
from batch.sources import FolderSource, Reader, SourceImage, open_source
from imagesearch.errors import InvalidImage, NotFound, SourceError, UnreachableUrl
from imagesearch.fetch import Fetcher
from imagesearch.records import ImageMetadata

read = Reader()


def listed(uri: Path | str) -> dict[str, SourceImage]:
    found = list(open_source(str(uri)).list())
    assert len({image.id for image in found}) == len(found)
    return {image.id: image for image in found}


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def test_a_folder_lists_the_photos_in_it_at_any_depth_in_order(tmp_path: Path) -> None:
    names = ["a b+c%20.jpg", "z.jpeg", "b/d.heic", "b/c/é 🐶.PNG"]  # the files of a folder, then its folders
    make(tmp_path, *reversed(names))
    found = list(open_source(str(tmp_path)).list())
    assert [image.id for image in found] == names
    for image in found:
        assert read(image.metadata.uri) == image.id.encode()
        assert image.metadata.bytes == len(image.id.encode())
        assert image.problem is None


def test_a_folder_leaves_out_what_is_no_photo_or_hidden(tmp_path: Path) -> None:
    make(tmp_path, "photo.jpg", "notes.txt", "film.mp4", "photo.jpg.xmp", "noextension", ".hidden.jpg", ".cache/a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert list(listed(tmp_path)) == ["photo.jpg"]


def test_a_folder_follows_no_symbolic_links_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path, "photos/a.jpg", "secret/b.jpg")
    (tmp_path / "photos/circle").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/out").symlink_to(tmp_path / "secret")
    (tmp_path / "photos/b.jpg").symlink_to(tmp_path / "secret/b.jpg")
    (tmp_path / "photos/dangling.jpg").symlink_to(tmp_path / "nowhere")
    assert list(listed(tmp_path / "photos")) == ["a.jpg"]
    assert "4 symbolic links" in caplog.text


def test_a_pipe_is_no_photo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert listed(tmp_path) == {}
    with pytest.raises(NotFound):
        read((tmp_path / "pipe.jpg").as_uri())


def test_a_name_that_is_not_utf8_gets_a_printable_id_and_can_be_read(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(path, "wb") as file:  # noqa: PTH123 - pathlib takes no bytes
        file.write(b"data")
    found = listed(tmp_path)
    assert list(found) == ["caf\\xe9.jpg"]
    assert read(found["caf\\xe9.jpg"].metadata.uri) == b"data"


def test_the_etag_of_a_file_changes_with_the_file_only(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "b.jpg")
    before = listed(tmp_path)
    assert listed(tmp_path) == before
    (tmp_path / "a.jpg").write_bytes(b"other")
    after = listed(tmp_path)
    assert after["a.jpg"].metadata.etag != before["a.jpg"].metadata.etag
    assert after["b.jpg"] == before["b.jpg"]


def test_a_folder_has_the_same_uri_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "photos/a.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    ways = ["photos", "./photos/", "link", str(tmp_path / "photos"), (tmp_path / "photos").as_uri()]
    assert {open_source(way).uri for way in ways} == {FolderSource(tmp_path / "photos").uri}
    assert listed("link").keys() == {"a.jpg"}


@pytest.mark.parametrize("name", ["nothing", "nothing.csv", "notes.txt"])
def test_what_is_no_source_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, "notes.txt")
    with pytest.raises(SourceError, match=name):
        open_source(str(tmp_path / name))


def test_a_table_gives_paths_and_metadata(tmp_path: Path) -> None:
    make(tmp_path, "pictures/a b.jpg")
    (tmp_path / "photos.csv").write_text(
        "path,title,description,tags,color,credit,created_at,lat,lon,Camera,extra\n"
        'pictures/a b.jpg,"A, ""dog""","line\nbreak",dog| beach ||,#fff,Me,2024-05-01T14:30+02:00,47.4,8.5,Leica,x\n',
        encoding="utf-8-sig",
    )
    (image,) = listed(tmp_path / "photos.csv").values()
    assert image.id == "pictures/a b.jpg"
    assert read(image.metadata.uri) == b"pictures/a b.jpg"
    assert image.metadata == ImageMetadata(
        uri=(tmp_path / "pictures/a b.jpg").as_uri(),
        etag=image.metadata.etag,
        title='A, "dog"',
        description="line\nbreak",
        tags=("dog", "beach"),
        color="#fff",
        credit="Me",
        created_at=datetime(2024, 5, 1, 12, 30, tzinfo=UTC),
        lat=47.4,
        lon=8.5,
        extra={"Camera": "Leica", "extra": "x"},
    )


def test_a_table_of_tabs_takes_urls_ids_and_quotes(tmp_path: Path) -> None:
    lines = [
        "ID\tURL\tPath\ttitle",
        "1\thttps://example.org/a.jpg?x=1&y=2\t\tone",
        "2\t\t/abs/b.jpg\ttwo",
        "\ts3://bucket/c d.jpg\t\t",
    ]
    (tmp_path / "photos.TSV").write_text("\n".join(lines))
    found = listed(tmp_path / "photos.TSV")
    assert {id: image.metadata.uri for id, image in found.items()} == {
        "1": "https://example.org/a.jpg?x=1&y=2",
        "2": "file:///abs/b.jpg",
        "s3://bucket/c d.jpg": "s3://bucket/c d.jpg",
    }
    assert found["s3://bucket/c d.jpg"].metadata.title is None


def test_a_parquet_table_keeps_types(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "url": ["https://e.org/a", "https://e.org/b"],
            "id": [7, 8],
            "tags": [["a", "b|c"], None],
            "lat": [47.5, float("nan")],
            "lon": [8.5, float("nan")],
            "created_at": [pd.Timestamp("2024-05-01T12:00:00Z"), pd.NaT],
            "likes": [3, 4],
            "score": [0.5, float("nan")],
            "day": [date(2024, 5, 1), None],
            "price": [Decimal("1.50"), None],
            "raw": [b"\x00\xff", None],
            "nested": [{"a": [1, 2]}, None],
        }
    )
    frame.to_parquet(tmp_path / "photos.parquet")
    a, b = listed(tmp_path / "photos.parquet").values()
    assert (a.id, b.id) == ("7", "8")
    assert a.metadata.tags == ("a", "b|c")
    assert a.metadata.created_at == datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert (a.metadata.lat, a.metadata.lon) == (47.5, 8.5)
    assert a.metadata.extra == {
        "likes": 3,
        "score": 0.5,
        "day": "2024-05-01",
        "price": 1.5,
        "raw": "00ff",
        "nested": {"a": [1, 2]},
    }
    assert b.metadata == ImageMetadata(uri="https://e.org/b", etag=b.metadata.etag, extra={"likes": 4})


def test_a_row_changes_its_etag_with_its_metadata_or_its_file(tmp_path: Path) -> None:
    table = tmp_path / "photos.csv"
    make(tmp_path, "a.jpg", "b.jpg")
    table.write_text("path,title\na.jpg,A\nb.jpg,B\n")
    first = listed(table)
    assert listed(table) == first
    table.write_text("path,title\na.jpg,new\nb.jpg,B\n")
    second = listed(table)
    assert second["a.jpg"].metadata.etag != first["a.jpg"].metadata.etag
    assert second["b.jpg"] == first["b.jpg"]
    (tmp_path / "b.jpg").write_bytes(b"another picture")
    third = listed(table)
    assert third["a.jpg"] == second["a.jpg"]
    assert third["b.jpg"].metadata.etag != first["b.jpg"].metadata.etag


def test_columns_of_other_names_are_taken_for_what_they_are_said_to_be(tmp_path: Path) -> None:
    table = tmp_path / "photos.tsv"
    table.write_text("id\tsku\tPath\tphoto_image_url\tname\n7\ta-1\t/shelf/3\thttps://e.org/a.jpg\tChair\n")
    source = open_source(str(table), columns={"url": "photo_image_url", "id": "sku", "title": "name"})
    (image,) = source.list()
    assert (image.id, image.metadata.uri, image.metadata.title) == ("a-1", "https://e.org/a.jpg", "Chair")
    assert image.metadata.extra == {"column:id": "7", "column:Path": "/shelf/3"}
    assert source.uri == open_source(str(table)).uri
    (other,) = open_source(str(table), columns={"url": "photo_image_url", "id": "sku"}).list()
    assert other.metadata.etag != image.metadata.etag


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"url": "photo_url"}, "no column photo_url; its columns are link, name"),
        ({"title": "name"}, "no column path, url or uri; its columns are link, name"),
        ({"url": "link", "title": "link"}, "one thing only, not url=link, title=link"),
        ({"picture": "link"}, "picture can't be taken from a column, only path, url, uri, id, title"),
    ],
)
def test_columns_that_cannot_be_what_they_are_said_to_be_are_refused(
    tmp_path: Path, columns: dict[str, str], message: str
) -> None:
    (tmp_path / "photos.csv").write_text("link,name\nhttps://e.org/a.jpg,A\n")
    with pytest.raises(SourceError, match=message):
        list(open_source(str(tmp_path / "photos.csv"), columns=columns).list())


def test_options_of_another_kind_of_source_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no table"):
        open_source(str(tmp_path), columns={"url": "link"})
    with pytest.raises(SourceError, match="S3 Inventory"):
        open_source(str(tmp_path), prefix="photos")


@pytest.mark.parametrize(
    ("row", "id", "problem"),
    [
        ("a.jpg,91,0,", "a.jpg", "row 2: lat '91'"),
        ("a.jpg,north,0,", "a.jpg", "row 2: lat 'north'"),
        ("a.jpg,,,yesterday", "a.jpg", "row 2: created_at 'yesterday' should be a date such as"),
        (",1,2,", "row 2", "row 2 has no path, url, uri"),
    ],
)
def test_a_bad_row_is_listed_with_its_problem_beside_the_good_ones(
    tmp_path: Path, row: str, id: str, problem: str
) -> None:
    (tmp_path / "photos.csv").write_text(f"path,lat,lon,created_at\ngood.jpg,1,2,2024-01-01\n{row}\n")
    found = listed(tmp_path / "photos.csv")
    assert list(found) == ["good.jpg", id]
    assert found["good.jpg"].problem is None
    assert (found[id].problem or "").startswith(problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no column path, url or uri"),
        (b"name,title\na,b\n", "no column path, url or uri; its columns are name, title"),
        (b"path,path\na,b\n", "more than one column named path"),
        (b"path,title\na.jpg\n", "line 2 has 1 values where the header has 2"),
        (b"path,title\na.jpg,b,c\n", "line 2 has 3 values"),
        (b"path\n\xff\xfe\n", "can't decode"),
        (b'path\n"a', "unexpected end of data"),
    ],
)
def test_a_broken_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "photos.csv").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        listed(tmp_path / "photos.csv")


def test_a_table_that_only_calls_itself_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos.parquet").write_bytes(b"path\na.jpg\n")
    with pytest.raises(SourceError, match="can't read the table"):
        listed(tmp_path / "photos.parquet")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(cells.map(lambda cell: "x" + cell), cells, min_size=1, max_size=4))
def test_any_text_survives_a_table(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, str]) -> None:
    path = tmp_path_factory.mktemp("table") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("url", "id", "title"), *(("https://e.org/x", id, rows[id]) for id in rows)])
    assert {id: image.metadata.title or "" for id, image in listed(path).items()} == rows


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/a%20b.jpg"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(b"picture" if found else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_url_is_fetched(web: str) -> None:
    reader = Reader(Fetcher(1_000_000, seconds=5, allow_http=True, allow_private=True))
    assert reader(f"{web}/a%20b.jpg") == b"picture"
    with pytest.raises(UnreachableUrl, match="404"):
        reader(f"{web}/other.jpg")


def test_a_table_cannot_lead_to_private_addresses(web: str) -> None:
    for url in (f"{web}/a%20b.jpg", web.replace("http:", "https:"), "https://169.254.169.254/latest"):
        with pytest.raises(UnreachableUrl):
            read(url)


def test_a_file_that_is_too_large_is_not_read_into_memory(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(sources.MAX_IMAGE_BYTES + 1)  # sparse
    with pytest.raises(InvalidImage, match="larger than 200,000,000 bytes") as raised:
        read((tmp_path / "huge.jpg").as_uri())
    assert raised.value.reason == "too_many_bytes"


def test_a_file_that_has_gone_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.jpg"):
        read((tmp_path / "gone.jpg").as_uri())
