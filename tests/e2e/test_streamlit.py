"""The Streamlit app in a browser, with everything behind it real; where trouble is wanted, an API that makes it."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from functions.query import app as query
from local.gateway import Gateway

PROJECT = Path(__file__).parents[2]
Start = Callable[..., str]
SOON = 30_000
"""Milliseconds. Streamlit imports a good deal when its page is opened for the first time."""

LOOKS_LIKE_MARKDOWN = (
    "*a* __b__ `c` ~~d~~ :red[e] :dog: :material/home: :streamlit: $f^2$ <b>g</b> &amp; [h](javascript:alert(1)) "
    "![i](https://a.example/b.png) https://a.example www.a.example a@a.example -- <- -> <-> >= <= ~= 1. j"
)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def outside() -> Iterator[socket.socket]:
    """What stands for everything beyond this machine: a proxy that Streamlit's server would have to go through."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="module")
def start(outside: socket.socket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts the app for an endpoint and a key, as its users do, and gives its URL."""
    home = tmp_path_factory.mktemp("home")  # no secrets, no settings but the project's
    proxy = f"http://127.0.0.1:{outside.getsockname()[1]}"
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with contextlib.ExitStack() as servers:

        def start(endpoint: str, key: str = "") -> str:
            port = free_port()
            command = [sys.executable, "-m", "streamlit", "run", "streamlit_app.py", "--server.headless", "true"]
            settings = ["--server.port", str(port), "--secrets.files", str(home / "secrets.toml")]
            environment = clean | {
                "HOME": str(home),
                "HTTP_PROXY": proxy,
                "HTTPS_PROXY": proxy,
                "NO_PROXY": "127.0.0.1,localhost",
                "IMAGESEARCH_ENDPOINT": endpoint,
                "IMAGESEARCH_API_KEY": key,
            }
            server = subprocess.Popen([*command, *settings], cwd=PROJECT, env=environment)
            servers.callback(server.wait)
            servers.callback(server.terminate)
            url = f"http://127.0.0.1:{port}"
            for _ in range(600):
                with contextlib.suppress(URLError), urllib.request.urlopen(f"{url}/_stcore/health") as answer:
                    assert answer.status == 200
                    return url
                assert server.poll() is None, "Streamlit ended"
                time.sleep(0.1)
            pytest.fail("Streamlit doesn't start")

        yield start


@pytest.fixture(scope="module")
def app(start: Start, site: str) -> str:
    """URL of the app that searches the demo's pictures."""
    return start(site)


def visit(page: Page, app: str) -> None:
    page.goto(app)
    expect(page.get_by_role("tab", name="Words")).to_be_visible(timeout=SOON)


def search(page: Page, words: str) -> None:
    page.get_by_label("What the picture shows").fill(words)
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"closest to “{words}”")).to_be_visible(timeout=SOON)


def titles(page: Page) -> list[str]:
    """The titles of all results that the line above them counts; a page is built up bit by bit."""
    line = page.get_by_text(re.compile(r"^The (\d+ )?closest")).inner_text(timeout=SOON)
    count = re.search(r"\d+", line.partition("closest")[0])
    found = page.get_by_test_id("stText")
    expect(found).to_have_count(int(count[0]) if count else 1, timeout=SOON)
    expect(page.locator("[data-stale=true]")).to_have_count(0, timeout=SOON)
    return found.all_inner_texts()


def test_words_find_pictures_and_nobody_else_is_asked(page: Page, app: str, site: str, outside: socket.socket) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit(page, app)
    expect(page).to_have_title("Image search")
    search(page, "dog")
    assert "dog face" in titles(page)[:5]
    assert len(titles(page)) == 24
    captions = [text.replace("\u2060", "") for text in page.get_by_test_id("stCaptionContainer").all_inner_texts()]
    scores = [float(score) for score in re.findall(r"^(\d\.\d{3}) · ", "\n".join(captions), re.M)]
    assert len(scores) == 24
    assert scores == sorted(scores, reverse=True)
    first = page.get_by_test_id("stImage").locator("img").first
    expect(first).to_have_js_property("naturalWidth", 144)
    expect(page.get_by_role("link", name="Open").first).to_have_attribute(
        "href", re.compile(f"^{re.escape(site)}/files/")
    )
    hosts = {urlsplit(url).netloc for url in asked if urlsplit(url).scheme in ("http", "https")}
    assert hosts == {urlsplit(app).netloc, urlsplit(site).netloc}
    with pytest.raises(BlockingIOError):
        outside.accept()


def test_the_sidebar_narrows_what_was_searched(page: Page, app: str) -> None:
    visit(page, app)
    search(page, "dog")
    titles(page)  # until they are all there, the sidebar may be drawn anew
    page.get_by_label("with all of these tags").fill("pet")
    page.get_by_role("option", name="Add: pet").click()
    expect(page.get_by_text(re.compile(r"^The (?!24 )\d+ closest"))).to_be_visible(timeout=SOON)
    assert set(titles(page)) >= {"dog face", "cat face"}
    page.get_by_label("at least so many pixels wide").fill("100000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing found")).to_be_visible(timeout=SOON)


def test_a_picture_finds_the_like_and_one_leads_to_the_next(page: Page, app: str, photos: Path) -> None:
    visit(page, app)
    page.get_by_role("tab", name="Picture of yours").click()
    page.locator("input[type=file]").set_input_files(photos / "tiger-face.webp")
    expect(page.get_by_text("closest to that picture")).to_be_visible(timeout=SOON)
    assert titles(page)[0] == "tiger face"
    credit = page.get_by_role("link", name="Photo by Ann (the 1st) on Unsplash", exact=True)
    expect(credit).to_have_attribute("href", "https://unsplash.com/@ann?utm_source=a&utm_medium=b")

    page.get_by_role("button", name="More like this").first.click()
    expect(page.get_by_test_id("stText").first).not_to_have_text("tiger face", timeout=SOON)
    assert "tiger face" not in titles(page)


def test_an_address_finds_the_like_of_its_picture(
    page: Page, app: str, site: str, index_url: str, use_index: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch, photos: Path,
) -> None:  # fmt: skip
    visit(page, app)
    page.get_by_role("tab", name="Picture on the web").click()
    page.get_by_label("Its address").fill(f"{site}/files{photos}/tiger-face.webp")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("That picture can't be fetched", timeout=SOON)

    monkeypatch.setenv("IMAGESEARCH_ALLOW_HTTP", "true")
    monkeypatch.setenv("IMAGESEARCH_ALLOW_PRIVATE", "true")
    use_index(index_url)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text("closest to that picture")).to_be_visible(timeout=SOON)
    assert titles(page)[0] == "tiger face"


def test_a_hostile_title_is_text_and_nothing_else(page: Page, app: str, hostile_title: str) -> None:
    visit(page, app)
    search(page, "abacus")
    assert hostile_title in titles(page)
    assert page.locator("img[onerror]").count() == 0
    assert page.title() == "Image search"


def test_what_looks_like_markdown_is_text_and_nothing_else(page: Page, start: Start, search_api: Any) -> None:
    search_api.reply(
        body={"hits": [{"id": "a", "score": 1, "title": LOOKS_LIKE_MARKDOWN, "credit": LOOKS_LIKE_MARKDOWN}]}
    )
    visit(page, start(search_api.url))
    page.get_by_label("What the picture shows").fill(LOOKS_LIKE_MARKDOWN)
    page.keyboard.press("Enter")
    assert titles(page) == [LOOKS_LIKE_MARKDOWN]
    words = [text.replace("\u2060", "") for text in page.get_by_test_id("stCaptionContainer").all_inner_texts()]
    assert words == [f"The closest to “{LOOKS_LIKE_MARKDOWN}”", f"1.000 · {LOOKS_LIKE_MARKDOWN}"]
    results = page.get_by_test_id("stMain")
    assert results.get_by_role("link").evaluate_all("links => links.map(link => link.href)") == []
    assert results.locator("b, strong, em, del, code, .katex").count() == 0


def test_a_function_that_warms_up_is_told_and_waited_for(page: Page, start: Start, search_api: Any) -> None:
    for _ in range(3):
        search_api.reply(503, {"message": "Service Unavailable"})
    search_api.reply(body={"hits": [{"id": "a", "score": 1, "title": "found"}]})
    visit(page, start(search_api.url))
    page.get_by_label("What the picture shows").fill("dog")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The search is waking up")).to_be_visible(timeout=SOON)
    expect(page.get_by_test_id("stText")).to_have_text("found", timeout=SOON)
    expect(page.get_by_text("The search is waking up")).to_be_hidden()


@pytest.mark.usefixtures("site")
def test_a_key_that_is_missing_is_told_and_the_right_one_opens(page: Page, start: Start) -> None:
    with Gateway(query.lambda_handler, api_key="open-sesame") as gateway:
        visit(page, start(gateway.url))
        page.get_by_label("What the picture shows").fill("dog")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("Check IMAGESEARCH_API_KEY", timeout=SOON)

        visit(page, start(gateway.url, "open-sesame"))
        search(page, "dog")
        assert "dog face" in titles(page)[:5]
        assert "open-sesame" not in page.content()


def test_phone_has_nothing_to_scroll_sideways(open_tab: Callable[..., Page], app: str) -> None:
    page = open_tab(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    visit(page, app)
    search(page, "dog")
    assert len(titles(page)) == 24
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
