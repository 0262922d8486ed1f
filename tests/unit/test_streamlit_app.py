"""The Streamlit app as its widgets and messages, against a search API that does as it is told."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from PIL import Image
from streamlit import config
from streamlit.runtime.secrets import Secrets
from streamlit.testing.v1 import AppTest

from streamlit_app import escape

APP = Path(__file__).parents[2] / "streamlit_app.py"
ORIENTATION = 274  # tag of EXIF
FOUND = {
    "hits": [
        {
            "id": "dogs/a.jpg",
            "score": 0.3141,
            "url": "https://photos.example/dogs/a.jpg?X-Amz-Signature=1&b=2",
            "title": "Two *dogs*",
            "credit": "Photo by Ann on Unsplash (https://unsplash.com/@ann?utm_source=a&b=c)",
        },
        {"id": "b.jpg", "score": 0.25, "url": None, "uri": "s3://photos/b.jpg", "credit": "Bob_B_"},
    ]
}


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A file for secrets, which isn't there yet; nor is there anything in the environment."""
    monkeypatch.setenv("IMAGESEARCH_ENDPOINT", "")  # Streamlit puts what a file has there too
    monkeypatch.setenv("IMAGESEARCH_API_KEY", "")
    monkeypatch.setattr(streamlit, "secrets", Secrets())
    files = config.get_option("secrets.files")
    config.set_option("secrets.files", [str(tmp_path / "secrets.toml")])
    yield tmp_path / "secrets.toml"
    config.set_option("secrets.files", files)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, search_api: Any) -> AppTest:
    """The app, with the search API as its endpoint."""
    monkeypatch.setenv("IMAGESEARCH_ENDPOINT", search_api.url)
    return run(AppTest.from_file(str(APP), default_timeout=60))


def run(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def search(app: AppTest, words: str = "two dogs") -> AppTest:
    app.text_input[0].set_value(words)
    app.button[0].click()
    return run(app)


def upload(app: AppTest, name: str, data: bytes) -> AppTest:
    app.file_uploader[0].set_value((name, data, "application/octet-stream"))
    return run(app)


def shown(app: AppTest) -> str:
    """All words on the page but those of the sidebar and of widgets."""
    kinds = ("title", "subheader", "markdown", "caption", "text", "info", "error", "code")
    return "\n".join(element.value for kind in kinds for element in getattr(app.main, kind))


def body(api: Any) -> dict[str, Any]:
    """What was asked last."""
    asked: dict[str, Any] = api.requests[-1][2]
    return asked


def image_file(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_without_an_endpoint_the_page_says_how_to_give_one() -> None:
    app = run(AppTest.from_file(str(APP)))
    assert "IMAGESEARCH_ENDPOINT = " in shown(app)
    assert "ApiKeyCommand" in shown(app)
    assert not app.error
    assert not app.text_input


def test_an_endpoint_that_can_not_be_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESEARCH_ENDPOINT", "abc123.execute-api.eu-west-1.amazonaws.com")
    app = run(AppTest.from_file(str(APP)))
    assert "is no https" in app.error[0].value.replace("\\", "")


def test_secrets_come_before_the_environment(monkeypatch: pytest.MonkeyPatch, secrets: Path, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    monkeypatch.setenv("IMAGESEARCH_ENDPOINT", "https://search.invalid")
    example = (APP.parent / ".streamlit/secrets.toml.example").read_text()
    assert '"the key"' in example
    secrets.write_text(re.sub('"https:.*"', f'" {search_api.url}/prod"', example).replace('"the key"', '"open-sesame"'))
    app = search(run(AppTest.from_file(str(APP), default_timeout=60)))
    path, headers, _ = search_api.requests[0]
    assert (path, headers["x-api-key"]) == ("/prod/search", "open-sesame")
    assert "open-sesame" not in str(app.main)


def test_secrets_that_are_no_toml_are_told(secrets: Path) -> None:
    secrets.write_text("IMAGESEARCH_ENDPOINT = https://search.invalid")
    app = run(AppTest.from_file(str(APP)))
    assert "secrets.toml" in app.warning[0].value


def test_the_start_page_asks_nothing(app: AppTest, search_api: Any) -> None:
    assert [tab.label for tab in app.tabs] == ["Words", "Picture on the web", "Picture of yours"]
    assert search_api.requests == []


def test_words_find_pictures_with_title_score_credit_and_link(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    search(app, "  two dogs ")
    assert body(search_api) == {"text": "two dogs", "k": 24}
    assert [text.value for text in app.text] == ["Two *dogs*", "b.jpg"]
    assert "0.314 · [Photo by Ann on Unsplash](<https://unsplash.com/@ann?utm_source=a&b=c>)" in shown(app)
    assert "0.250 · Bob\\_B\\_" in shown(app)
    assert [image.value for image in app.image] == [[FOUND["hits"][0]["url"]]]
    assert [link.proto.url for link in app.link_button] == [FOUND["hits"][0]["url"]]


def test_what_was_found_stays_until_something_else_is_asked(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    search(app)
    run(app)
    assert len(search_api.requests) == 1
    assert len(app.text) == 2
    search(app, "a cat")
    assert body(search_api)["text"] == "a cat"


def test_blank_words_ask_nothing(app: AppTest, search_api: Any) -> None:
    search(app, "   ")
    assert search_api.requests == []


def test_the_sidebar_narrows_the_search(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    search(app)
    app.sidebar.slider[0].set_value(7)
    app.sidebar.multiselect[0].set_value(["dog", "beach"])
    app.sidebar.multiselect[1].set_value(["jpeg", "heif"])
    app.sidebar.number_input[0].set_value(1000)
    run(app)
    assert body(search_api) == {
        "text": "two dogs",
        "k": 7,
        "filter": {
            "tags": {"all_of": ["dog", "beach"]},
            "format": {"any_of": ["jpeg", "heif"]},
            "width": {"gte": 1000},
        },
    }


def test_an_address_finds_what_its_picture_is_like(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    app.text_input[1].set_value(" https://example.com/dog.jpg ")
    app.button[1].click()
    run(app)
    assert body(search_api) == {"image_url": "https://example.com/dog.jpg", "k": 24}
    assert "closest to that picture" in shown(app)


def test_more_like_this(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    search(app)
    next(button for button in app.button if button.label == "More like this").click()
    run(app)
    assert body(search_api) == {"id": "dogs/a.jpg", "k": 24}


def test_a_picture_is_sent_small_upright_and_without_its_metadata(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    picture = Image.new("RGB", (4000, 2000), "blue")
    picture.paste("red", (0, 0, 4000, 1000))  # above; upright, it is on the right
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[271] = "Secret Camera"
    upload(app, "holiday.jpg", image_file(picture, "JPEG", exif=exif))
    (sent,) = [request[2] for request in search_api.requests]
    data = base64.b64decode(sent["image"])
    small = Image.open(io.BytesIO(data))
    assert (small.format, small.size) == ("JPEG", (320, 640))
    assert small.getpixel((70, 320))[2] > 200 < small.getpixel((250, 320))[0]
    assert b"Secret" not in data
    assert len(app.text) == 2


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF", "TIFF", "AVIF"])
def test_a_small_picture_of_any_format_is_sent_as_large_as_it_is(app: AppTest, search_api: Any, format: str) -> None:
    search_api.reply(body=FOUND)
    upload(app, f"small.{format.lower()}", image_file(Image.new("RGB", (30, 20), "red"), format))
    small = Image.open(io.BytesIO(base64.b64decode(body(search_api)["image"])))
    assert (small.format, small.size) == ("JPEG", (30, 20))


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "the image file is empty"), (b"no picture", "the file is no image"), (b"\x89PNG\r\n\x1a\n", "PNG file")],
)
def test_a_file_that_is_no_picture_is_refused_unsent(app: AppTest, search_api: Any, data: bytes, says: str) -> None:
    upload(app, "notes.png", data)
    assert says in app.error[0].value
    assert "That can't be read as a picture" in app.error[0].value
    assert search_api.requests == []
    search_api.reply(body=FOUND)
    search(app)  # and no longer told once something else is asked
    assert not app.error


def test_a_file_that_is_taken_away_leaves_the_start_page(app: AppTest, search_api: Any) -> None:
    search_api.reply(body=FOUND)
    upload(app, "a.png", image_file(Image.new("RGB", (9, 9)), "PNG"))
    app.file_uploader[0].set_value(None)
    run(app)
    assert not app.text


def test_a_function_that_warms_up_is_waited_for(app: AppTest, search_api: Any) -> None:
    search_api.reply(503, {"message": "Service Unavailable"}).reply(503).reply(429, headers={"Retry-After": "1"})
    search_api.reply(0).reply(body=FOUND, after=1)
    search(app)
    assert len(app.text) == 2
    assert not app.info
    assert not app.error
    assert len(search_api.requests) == 5


@pytest.mark.parametrize(
    ("status", "title", "advice"),
    [
        (400, "can't be read as it stands", ""),
        (401, "needs an API key", "Set IMAGESEARCH_API_KEY"),
        (403, "API key was refused", "Check IMAGESEARCH_API_KEY"),
        (404, "no such thing", "IMAGESEARCH_ENDPOINT"),
        (413, "too large", ""),
        (415, "can't be read as a picture", ""),
        (422, "can't be fetched", ""),
        (500, "didn't work", ""),
    ],
)
def test_a_refusal_says_what_was_wrong_and_what_would_be_right(
    app: AppTest, search_api: Any, status: int, title: str, advice: str
) -> None:
    search_api.reply(status, {"error": {"code": "c", "message": "k: *at most* 100"}})
    search(app)
    (error,) = app.error
    assert title in error.value
    assert "\\*at most\\* 100" in error.value
    assert advice in error.value
    search_api.reply(body=FOUND).replies.pop(0)
    next(button for button in app.button if button.label == "Try again").click()
    run(app)
    assert len(app.text) == 2
    assert not app.error


def test_too_many_searches_say_when_there_may_be_another(app: AppTest, search_api: Any) -> None:
    search_api.reply(429, {"error": {"code": "busy", "message": "later"}}, {"Retry-After": "1800"})
    search(app)
    assert "Too many searches" in app.error[0].value
    assert "1,800 seconds" in app.error[0].value


def test_a_used_up_quota_says_so(app: AppTest, search_api: Any) -> None:
    search_api.reply(429, {"error": {"code": "quota_exceeded", "message": "used up"}})
    search(app)
    assert "No more searches today" in app.error[0].value


def test_nothing_found_says_so(app: AppTest, search_api: Any) -> None:
    search_api.reply(body={"hits": []})
    search(app)
    assert "Nothing found" in app.info[0].value


@given(
    st.text() | st.lists(st.sampled_from([*"*_`[]()<>&;#!-+.1|~:$ a@\\", "&amp;", "http://", "www.a.b"])).map("".join)
)
def test_escaped_text_is_what_markdown_shows(text: str) -> None:
    """The reference is markdown-it, of CommonMark; that Streamlit's own additions are met too, tests/e2e holds."""
    words = " ".join(text.split()).replace("\0", "\ufffd")
    html = MarkdownIt().render(f"x {escape(text)} x")
    inline = re.fullmatch(r"<p>x ?(.*) x</p>\n", html)
    assert inline, html
    plain = inline[1].replace("\u2060", "")
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        plain = plain.replace(entity, character)
    assert plain.strip() == words.replace("\u2060", "").strip()
