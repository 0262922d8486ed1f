"""Download files that the operator asked for, from servers that may be busy, slow or broken for a while.

This is no `Fetcher`, which goes where strangers send it, once: here a few hosts are asked for many files, so
connections are kept, and what may get better is tried again, at the pace that the server asks for.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError, InvalidHeader, LocationParseError, MaxRetryError
from urllib3.util import parse_url

from imagesearch.errors import ImageReason, InvalidImage, InvalidInput, NotFound, StorageError, UnreachableUrl

MAX_REDIRECTS = 3
MAX_SILENCE = 20.0
"""Seconds without a byte after which an answer counts as broken off."""
MAX_WAIT = 300.0
"""Seconds. A server that asks for more patience is left alone until the next run."""

_CHUNK = 2**16
_HEADERS = {"User-Agent": "clip-image-search", "Accept-Encoding": "identity"}
_WORTH_RETRYING = (408, 429, 500, 502, 503, 504)


class Downloader:
    """Downloads over at most `connections` connections to a host; one is shared by all threads.

    With `domain`, only https:// URLs of that domain and those below it are followed, redirects too. An answer of 408,
    429 or 5xx, and one that doesn't come or breaks off, is tried again `retries` times: after the seconds that
    Retry-After says, else after 0, 2, 4, … times `backoff` seconds (and up to one more, so that threads don't march in
    step). One attempt may take `seconds`.
    """

    def __init__(
        self,
        connections: int,
        *,
        domain: str | None = None,
        seconds: float = 60,
        retries: int = 5,
        backoff: float = 1,
    ) -> None:
        self.domain = domain
        self.seconds = seconds
        self.retries = retries
        self._pool = PoolManager(maxsize=connections, block=True, headers=_HEADERS)
        self._retries = Retry(
            total=retries,
            status_forcelist=_WORTH_RETRYING,
            backoff_factor=backoff,
            backoff_jitter=min(backoff, 1),
            backoff_max=MAX_WAIT,
        )
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End all downloads, those that wait to be tried again too, with CancelledError."""
        self._stopped.set()

    def get(self, url: str, max_bytes: int) -> bytes:
        """The file at `url`.

        Raises:
            NotFound: it is gone (404, 410).
            UnreachableUrl: it can't be had now.
            InvalidInput: the URL is malformed or of another domain.
            InvalidImage: it is larger than `max_bytes`.
        """
        buffer = BytesIO()
        self._download(url, buffer, max_bytes, self.seconds)
        return buffer.getvalue()

    def save(self, url: str, path: Path) -> None:
        """Write the file at `url` to `path`, however long it takes; nothing is there until all of it is.

        Raises:
            NotFound, UnreachableUrl, InvalidInput: see `get`.
            StorageError: the disk is full.
        """
        part = path.with_name(f".{path.name}.tmp")
        try:
            with part.open("wb") as file:
                self._download(url, file, None, None)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _download(self, url: str, into: BinaryIO, max_bytes: int | None, seconds: float | None) -> None:
        retries = self._retries
        while True:
            into.seek(0)
            into.truncate()
            response: BaseHTTPResponse | None = None
            try:
                with self._request(url, seconds) as response:
                    if response.status == 200:
                        self._read(response, into, max_bytes, seconds)
                        return
                    response.read(_CHUNK)
                    problem = f"the URL answers with status {response.status}"
                    if response.status in (404, 410):
                        raise NotFound(problem)
                    if response.status not in _WORTH_RETRYING:
                        raise UnreachableUrl(problem)
            except (HTTPError, OSError) as error:
                problem = f"the URL doesn't answer as it should: {error}"
                response = None
            try:
                retries = retries.increment("GET", url, response=response)
            except MaxRetryError:
                raise UnreachableUrl(f"{problem}, {1 + self.retries} times") from None
            wait = _seconds_to_wait(retries, response)
            if wait > MAX_WAIT:
                raise UnreachableUrl(f"{problem}, and asks to be left alone for {wait:,.0f} seconds")
            if self._stopped.wait(wait):
                raise CancelledError

    @contextmanager
    def _request(self, url: str, seconds: float | None) -> Iterator[BaseHTTPResponse]:
        """The answer to a GET, redirects followed; its body is still to be read."""
        for _ in range(1 + MAX_REDIRECTS):
            self._check(url)
            response = self._pool.request(
                "GET",
                url,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=Timeout(connect=10, read=min(seconds or MAX_SILENCE, MAX_SILENCE)),
            )
            try:
                location = response.get_redirect_location()
                if not location:
                    yield response
                    return
                response.read(_CHUNK)  # to its end, if it is short: then the connection can be used again
            finally:
                response.close()  # what hasn't been read to its end can't be used again
                response.release_conn()
            url = urljoin(url, location)
        raise UnreachableUrl(f"the URL redirects more than {MAX_REDIRECTS} times")

    def _check(self, url: str) -> None:
        try:
            target = parse_url(url)
        except LocationParseError:
            raise InvalidInput("the URL is malformed") from None
        host, ports = target.host or "", {"https": 443, "http": 80}
        if target.scheme not in ports or not host:
            raise InvalidInput("the URL should start with https://")
        if self.domain is None:
            return
        if host != self.domain and not host.endswith(f".{self.domain}"):
            raise InvalidInput(f"the URL leads to {host}, not to {self.domain}")
        if target.scheme != "https" or target.port not in (None, 443) or target.auth:
            raise InvalidInput("the URL should start with https://, and name no user and no port")

    def _read(self, response: BaseHTTPResponse, into: BinaryIO, max_bytes: int | None, seconds: float | None) -> None:
        deadline = time.monotonic() + seconds if seconds else None
        announced = response.headers.get("Content-Length", "")
        size = int(announced) if announced.isdecimal() else 0
        while max_bytes is None or size <= max_bytes:
            data = response.read1(_CHUNK)  # not `read`, which would wait until it has so much
            if self._stopped.is_set():
                raise CancelledError
            if not data:
                return
            if deadline and time.monotonic() > deadline:
                raise TimeoutError(f"it took longer than {seconds:g} seconds")
            try:
                into.write(data)
            except OSError as error:
                raise StorageError(f"can't write what is downloaded: {error}") from error
            size = max(size, into.tell())
        raise InvalidImage(ImageReason.TOO_MANY_BYTES, f"the file is larger than {max_bytes:,} bytes")


def _seconds_to_wait(retries: Retry, response: BaseHTTPResponse | None) -> float:
    try:
        asked = retries.get_retry_after(response) if response else None
    except InvalidHeader:
        asked = None
    return retries.get_backoff_time() if asked is None else asked
