"""Downloads from a real server that misbehaves."""

import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from batch.download import Downloader
from imagesearch.errors import ImageSearchError, InvalidImage, InvalidInput, NotFound, UnreachableUrl


def quick(connections: int = 4, **options: Any) -> Downloader:
    return Downloader(connections, **({"backoff": 0.01, "seconds": 1, "retries": 3} | options))


@pytest.mark.parametrize(("does", "requests"), [("ok", 1), ("broken", 3), ("cut-once", 2), ("moved", 1), ("busy", 2)])
def test_what_gets_better_is_downloaded(photo_server: Any, does: str, requests: int) -> None:
    photos, url = photo_server
    start = time.monotonic()
    assert quick().get(f"{url}/{does}/cat", 10**6) == photos.photo("cat")
    assert photos.hits[f"/{does}/cat"] == requests
    if does == "busy":
        assert time.monotonic() - start >= 1  # as Retry-After says


@pytest.mark.parametrize(
    ("does", "error", "message", "requests"),
    [
        ("gone", NotFound, "status 404", 1),
        ("status-418", UnreachableUrl, "status 418", 1),
        ("cut", UnreachableUrl, "3 times", 3),
        ("slow", UnreachableUrl, "longer than 0.2 seconds, 3 times", 3),
        ("loop", UnreachableUrl, "redirects more than 3 times", 4),
        ("huge", InvalidImage, "larger than 1,000,000 bytes", 1),
        ("banned", UnreachableUrl, "left alone for 20,000 seconds", 1),
    ],
)
def test_what_does_not_is_given_up(
    photo_server: Any, does: str, error: type[ImageSearchError], message: str, requests: int
) -> None:
    photos, url = photo_server
    with pytest.raises(error, match=message):
        quick(retries=2, seconds=0.2).get(f"{url}/{does}/cat", 10**6)
    assert photos.hits[f"/{does}/cat"] == requests


def test_a_size_that_is_not_announced_is_limited_too(photo_server: Any) -> None:
    _, url = photo_server
    with pytest.raises(InvalidImage, match="larger than 100 bytes"):
        quick().get(f"{url}/short-once/cat", 100)


def test_nobody_there_is_unreachable() -> None:
    with pytest.raises(UnreachableUrl, match="refused"):
        quick().get("http://127.0.0.1:9/cat.jpg", 100)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://images.unsplash.com/a", "should start with https"),
        ("https://images.unsplash.com:8443/a", "no port"),
        ("https://me@images.unsplash.com/a", "no user"),
        ("https://169.254.169.254/latest", "leads to 169.254.169.254, not to unsplash.com"),
        ("https://images.unsplash.com.jpg/", "leads to images.unsplash.com.jpg"),
        ("https://notunsplash.com/a", "leads to notunsplash.com"),
        ("file:///etc/passwd", "should start with https"),
        ("https://[", "malformed"),
        ("", "should start with https"),
    ],
)
def test_other_places_than_the_domain_are_not_asked(url: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        quick(domain="unsplash.com").get(url, 100)
    assert not isinstance(raised.value, UnreachableUrl)


def test_connections_are_used_again_and_never_more_than_allowed(photo_server: Any) -> None:
    photos, url = photo_server
    photos.delay = 0.02
    downloader = quick(3)
    with ThreadPoolExecutor(8) as pool:
        for n, place in enumerate(["ok", "gone", "broken", "moved"] * 10):
            pool.submit(downloader.get, f"{url}/{place}/{('cat', 'dog')[n % 2]}", 10**6)
    assert photos.most_at_once <= 3
    assert photos.connections <= 3


def test_stopping_ends_a_wait_at_once(photo_server: Any) -> None:
    _, url = photo_server
    downloader = quick(backoff=100)
    threading.Timer(0.2, downloader.stop).start()
    start = time.monotonic()
    with pytest.raises(CancelledError):
        downloader.get(f"{url}/broken/cat", 10**6)
    assert time.monotonic() - start < 5


def test_a_file_is_saved_whole_or_not_at_all(photo_server: Any, tmp_path: Path) -> None:
    photos, url = photo_server
    quick().save(f"{url}/cut-once/cat", tmp_path / "cat.jpg")
    assert (tmp_path / "cat.jpg").read_bytes() == photos.photo("cat")
    with pytest.raises(UnreachableUrl):
        quick().save(f"{url}/cut/dog", tmp_path / "dog.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["cat.jpg"]
