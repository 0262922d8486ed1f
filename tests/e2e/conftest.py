"""The search page as people meet it: a browser, the gateway, the query function, the tiny model, indexed pictures."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from functions.query import app as query
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from imagesearch.settings import get_settings
from imagesearch.statistics import CollectionStatistics, statistics_key
from local.gateway import Gateway

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MS = 30_000
"""How long a page is waited for: a machine that is busy with other things is slow, not wrong."""
LINKED_CREDIT = "Photo by Ann (the 1st) on Unsplash (https://unsplash.com/@ann?utm_source=a&utm_medium=b)"
HOSTILE_ID = "<img src=x onerror=document.title=3>.webp"
HOSTILE_TITLE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
HOSTILE_TAG = '"><svg onload=document.title=4>'
HOSTILE_CREDIT = "Photo by <b onclick=document.title=5>Eve</b> (javascript:document.title=6)"
COPIES = 12
ZURICH, PARIS = (47.377, 8.541), (48.857, 2.352)

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def photos(tiny_model: Path) -> Path:
    """Folder of the demo's pictures."""
    return tiny_model / "photos"


@pytest.fixture(scope="session")
def index_url(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, photos: Path) -> str:
    """An index of every tenth picture of the demo and some that the tests ask for, and beside it its statistics.

    They have years, places, sizes and credits; one has a hostile id, title, tag and credit, one has twelve copies.
    """
    folder = tmp_path_factory.mktemp("index")
    url = f"duckdb://{folder / 'pictures.duckdb'}"
    with (photos / "photos.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    named = {"dog face", "poodle", "cat face", "cat", "tiger face", "abacus"}
    rows = [row for number, row in enumerate(rows) if number % 10 == 0 or row["title"] in named]
    encoder = OnnxEncoder(tiny_model)
    vectors = encoder.encode_images([open_image(photos / row["path"]).image for row in rows])
    index = open_index(url, encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
    index.create()
    upserts = [
        Upsert(row["path"], 1, vector, _metadata(number, row, photos))
        for number, (row, vector) in enumerate(zip(rows, vectors, strict=True))
    ]
    index.bulk(hostile(one) if one.metadata.title == "abacus" else one for one in upserts)
    (cat,) = (one for one in upserts if one.metadata.title == "cat")
    index.bulk(replace(cat, id=f"copies/cat-{number}.webp") for number in range(COPIES))
    statistics = CollectionStatistics.of_vectors(vectors)
    file = folder / statistics_key(encoder.info.fingerprint)
    file.parent.mkdir(parents=True)
    file.write_bytes(statistics.to_bytes())
    return url


def _metadata(number: int, row: dict[str, str], photos: Path) -> ImageMetadata:
    """What is known of the picture in a row of the demo's table, and what only photos have, by its number."""
    width, height = [(144, 144), (3000, 2000), (800, 1200)][number % 3]
    lat, lon = [ZURICH, PARIS, (None, None)][number % 3]
    if row["title"] == "dog face":
        width, height, lat, lon = 144, 144, *ZURICH
    return ImageMetadata(
        uri=(photos / row["path"]).as_uri(),
        title=row["title"],
        description=row["description"],
        tags=tuple(row["tags"].split("|")),
        color=row["color"],
        credit=LINKED_CREDIT if row["title"] == "tiger face" else row["credit"] if number % 2 else "Ann Example",
        width=width,
        height=height,
        format="webp" if row["title"] == "dog face" or number % 4 else "jpeg",
        created_at=datetime(2019 + number % 5, 6, 15, 12, tzinfo=UTC),
        lat=lat,
        lon=lon,
    )


def hostile(picture: Upsert) -> Upsert:
    """The picture, with all that a source of photos might smuggle in."""
    changed = {"title": HOSTILE_TITLE, "credit": HOSTILE_CREDIT, "tags": (*picture.metadata.tags, HOSTILE_TAG)}
    return replace(picture, id=HOSTILE_ID, metadata=picture.metadata.model_copy(update=changed))


@pytest.fixture(scope="module")
def site(index_url: str, tiny_model: Path, photos: Path) -> Iterator[str]:
    """URL of the query function, with the index of pictures."""
    with pytest.MonkeyPatch.context() as environment, Gateway(query.lambda_handler, files=photos) as gateway:
        environment.setenv("IMAGESEARCH_MODEL", str(tiny_model))
        environment.setenv("IMAGESEARCH_INDEX_URL", index_url)
        environment.setenv("IMAGESEARCH_FILE_BASE_URL", f"{gateway.url}/files")
        environment.setenv("IMAGESEARCH_VECTORS_URL", str(Path(index_url.removeprefix("duckdb://")).parent))
        forget_settings()
        yield gateway.url
    forget_settings()


@pytest.fixture
def use_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets the query function open the index at a URL, from the next request on."""

    def use(url: str) -> None:
        monkeypatch.setenv("IMAGESEARCH_INDEX_URL", url)
        forget_settings()

    yield use
    monkeypatch.undo()
    forget_settings()


def forget_settings() -> None:
    """Let the query function read its settings again."""
    get_settings.cache_clear()
    query.service.cache_clear()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium: the system's, else the one that Playwright installed."""
    installed = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=installed, args=CHROMIUM_FLAGS)
        except Error as error:
            pytest.fail(f"no Chromium to test with: `make browser` or `playwright install chromium`\n{error.message}")
        yield browser
        browser.close()


@pytest.fixture
def expected_errors() -> list[str]:
    """What the console has to say in this test, in regular expressions; any other error fails it."""
    return []


@pytest.fixture
def open_tab(browser: Browser, expected_errors: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a page of its own, at desktop size unless the options of the browser context say otherwise."""
    contexts: list[BrowserContext] = []
    console: list[str] = []

    def open_one(**options: Any) -> Page:
        defaults = {"viewport": {"width": 1280, "height": 860}, "reduced_motion": "reduce"}
        contexts.append(browser.new_context(**defaults | options))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: console.append(str(error)))
        page.on("console", lambda said: console.append(said.text) if said.type in ("error", "warning") else None)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert [said for said in console if not any(re.search(error, said) for error in expected_errors)] == []
    assert [error for error in expected_errors if not any(re.search(error, said) for said in console)] == []


@pytest.fixture
def page(open_tab: Callable[..., Page]) -> Page:
    """A page at desktop size."""
    return open_tab()


@pytest.fixture
def hostile_title() -> str:
    """The title of one of the pictures."""
    return HOSTILE_TITLE


@pytest.fixture
def hostile_id() -> str:
    """The id of the same picture."""
    return HOSTILE_ID


@pytest.fixture
def hostile_tag() -> str:
    """A tag of the same picture."""
    return HOSTILE_TAG
