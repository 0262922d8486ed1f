"""Fetch an image from a URL that a stranger gave, and don't be led anywhere private by it.

The host name is resolved here, all its addresses are checked, and the connection goes to an address that was checked:
a name that means something else a moment later (DNS rebinding) gains nothing. TLS still verifies the name. Redirects
are followed by hand, so that each is checked in the same way.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from ipaddress import IPv6Address, IPv6Network, ip_address
from queue import Empty, SimpleQueue
from urllib.parse import urljoin

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import Url, parse_url

from imagesearch.errors import ImageReason, InvalidImage, UnreachableUrl

MAX_REDIRECTS = 3
_PORTS = {"https": 443, "http": 80}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_HEADERS = {"User-Agent": "clip-image-search", "Accept": "image/*", "Accept-Encoding": "identity"}

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """The addresses of `host`, best first, as the operating system knows them. Raises OSError if there are none."""
    return list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def is_public(address: str) -> bool:
    """Whether `address` (as `resolve` gives it) is an ordinary one on the internet.

    Python's `is_global` knows IANA's registries of special-purpose addresses: private, loopback, link-local (where
    cloud metadata is), carrier-grade NAT, reserved. Refused besides: multicast, and all IPv6 that carries an IPv4
    address in it (mapped, NAT64, 6to4, Teredo) or names an interface.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        embeds_ipv4 = ip not in _GLOBAL_UNICAST or ip.sixtofour or ip.teredo
        return ip.is_global and not embeds_ipv4 and not ip.scope_id
    return ip.is_global and not ip.is_multicast


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches at most `max_bytes` within `seconds`, redirects included.

    `allow_private`, for tests, lifts the rules about addresses and ports. `resolve` and `ssl_context` can be replaced.
    """

    max_bytes: int
    seconds: float = 5.0
    allow_http: bool = False
    allow_private: bool = False
    resolve: Resolve = resolve
    ssl_context: ssl.SSLContext | None = None

    def fetch(self, url: str) -> bytes:
        """What is at `url`; probably an image, but only `open_image` can tell.

        Raises:
            UnreachableUrl: it may not be fetched, doesn't answer properly or in time, or is evidently no image.
            InvalidImage: it is larger than `max_bytes`.
        """
        deadline = time.monotonic() + self.seconds
        try:
            for _ in range(1 + MAX_REDIRECTS):
                target = self._check(url)
                with closing(self._connect(target, deadline)) as connection, _cut_off_at(deadline, connection):
                    # The headers name the host: the connection itself only knows the address.
                    headers = _HEADERS | {"Host": str(target.netloc)}
                    connection.request(
                        "GET", target.request_uri, headers=headers, preload_content=False, decode_content=False
                    )
                    with connection.getresponse() as response:
                        location = response.get_redirect_location()
                        if not location:
                            return self._read(response)
                    url = urljoin(target.url, location)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            if time.monotonic() >= deadline:
                raise _unreachable(f"took longer than {self.seconds:g} seconds") from error
            if isinstance(error, ssl.SSLError):
                raise _unreachable("doesn't answer with TLS and a valid certificate") from error
            raise _unreachable("doesn't answer, or not as it should") from error
        raise _unreachable(f"redirects more than {MAX_REDIRECTS} times")

    def _check(self, url: str) -> Url:
        """`url`, parsed, if it is one that may be fetched as far as can be told without resolving its host."""
        try:
            target = parse_url(url)
        except HTTPError:
            raise _unreachable("is malformed") from None
        if any(character <= " " or character in "\\\x7f" for character in url):
            raise _unreachable("has blanks, backslashes or control characters in it: percent-encode them")
        if target.scheme != "https" and not (self.allow_http and target.scheme == "http"):
            raise _unreachable(f"must start with https://{' or http://' if self.allow_http else ''}")
        if not target.host:
            raise _unreachable("has no host")
        if target.auth is not None:
            raise _unreachable("may not have a user name or a password in it")
        if target.port not in (None, _PORTS[target.scheme]) and not self.allow_private:
            raise _unreachable(f"may not name a port other than {_PORTS[target.scheme]}")
        return target

    def _connect(self, target: Url, deadline: float) -> HTTPConnection:
        """A connection to the first of the host's addresses that accepts one, all of them being public."""
        host, port = str(target.host).strip("[]"), target.port or _PORTS[str(target.scheme)]
        addresses = self._addresses(host, port, deadline)
        for left in range(len(addresses), 0, -1):
            address, timeout = addresses[-left], max(deadline - time.monotonic(), 0.001) / left
            if target.scheme == "https":
                connection: HTTPConnection = HTTPSConnection(
                    address,
                    port,
                    timeout=timeout,
                    server_hostname=host,
                    ssl_context=self.ssl_context or _default_ssl_context(),
                )
            else:
                connection = HTTPConnection(address, port, timeout=timeout)
            try:
                connection.connect()
            except (HTTPError, OSError):
                connection.close()
                if left == 1:
                    raise
            else:
                connection.timeout = max(deadline - time.monotonic(), 0.001)
                return connection
        raise _unreachable("has a host without an address")

    def _addresses(self, host: str, port: int, deadline: float) -> list[str]:
        """The addresses of `host`; looked up in a thread, because the operating system's look-up knows no deadline."""
        answer: SimpleQueue[list[str] | Exception] = SimpleQueue()

        def look_up() -> None:
            try:
                answer.put(self.resolve(host, port))
            except Exception as error:
                answer.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            addresses = answer.get(timeout=max(deadline - time.monotonic(), 0))
        except Empty:
            raise _unreachable("has a host that couldn't be looked up in time") from None
        if isinstance(addresses, Exception):
            raise _unreachable("has a host that doesn't exist") from addresses
        if not self.allow_private and not all(is_public(address) for address in addresses):
            raise _unreachable("leads to an address that isn't public")
        return addresses

    def _read(self, response: HTTPResponse) -> bytes:
        if response.status != 200:
            raise _unreachable(f"answers with status {response.status}")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _unreachable("answers with a compressed response, which wasn't asked for")
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind.startswith("text/"):
            raise _unreachable(f"is that of a page ({kind[:40]}), not of an image")
        # A claim of too many bytes is believed, one of fewer isn't.
        too_large = (response.length_remaining or 0) > self.max_bytes
        data = b"" if too_large else response.read(self.max_bytes + 1)
        if too_large or len(data) > self.max_bytes:
            reason = ImageReason.TOO_MANY_BYTES
            raise InvalidImage(reason, f"the image is larger than {self.max_bytes:,} bytes", field="image_url")
        if response.length_remaining:
            raise ConnectionError("fewer bytes than announced")
        return data


def _unreachable(what: str) -> UnreachableUrl:
    return UnreachableUrl(f"the URL {what}", field="image_url")


@contextmanager
def _cut_off_at(deadline: float, connection: HTTPConnection) -> Iterator[None]:
    """End the connection at `deadline`: a socket's own timeout starts anew with every byte that a server drips."""
    sock = connection.sock

    def cut_off() -> None:
        with suppress(OSError):  # it has ended already
            # Not SSLSocket's own method, which isn't made to be called while another thread reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(max(deadline - time.monotonic(), 0), cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
        if time.monotonic() >= deadline:  # where the response has no length, its end looks like any other
            raise TimeoutError
    finally:
        timer.cancel()


@cache
def _default_ssl_context() -> ssl.SSLContext:
    return ssl.create_default_context()
