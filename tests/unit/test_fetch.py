"""The fetcher against a real server on loopback, which plays the public internet.

The server is dialled in place of public addresses, so that the fetcher runs with its real rules.
"""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.errors import ImageReason, InvalidImage, UnreachableUrl
from imagesearch.fetch import Fetcher, is_public, resolve

PUBLIC = "93.184.215.14"
REFUSES = "93.184.215.15"
NAME = "photos.example"
IMAGE = b"\xff\xd8 what an image might hold"

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Internet:
    """Names, addresses, and a server that answers at every public one."""

    fetcher: Fetcher
    names: dict[str, list[str]]
    paths: dict[str, Answer]
    dialled: list[tuple[str, int]] = field(default_factory=list)
    seen: list[BaseHTTPRequestHandler] = field(default_factory=list)

    def fetch(self, path: str, answer: Answer | None = None, host: str = NAME, **changes: Any) -> bytes:
        if answer:
            self.paths[path] = answer
        settings = {name: getattr(self.fetcher, name) for name in Fetcher.__slots__} | changes
        return Fetcher(**settings).fetch(f"https://{host}{path}")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address(PUBLIC))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


class Server(ThreadingHTTPServer):
    paths: dict[str, Answer]
    seen: list[BaseHTTPRequestHandler]

    def handle_error(self, *_: object) -> None: ...


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append(self)
        self.server.paths[self.path](self)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def servers(certificate: Path) -> Iterator[dict[int, Server]]:
    servers = {443: Server(("127.0.0.1", 0), Handler), 80: Server(("127.0.0.1", 0), Handler)}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    servers[443].socket = context.wrap_socket(servers[443].socket, server_side=True, do_handshake_on_connect=False)
    for server in servers.values():
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield servers
    for server in servers.values():
        server.shutdown()
        server.server_close()


@pytest.fixture
def internet(servers: dict[int, Server], certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Internet:
    def dial(address: tuple[str, int], timeout: float, **_: object) -> socket.socket:
        internet.dialled.append(address)
        if address[0] == REFUSES:
            raise ConnectionRefusedError
        return socket.create_connection(("127.0.0.1", servers[address[1]].server_port), timeout)

    def look_up(host: str, port: int) -> list[str]:
        return internet.names[host] if host in internet.names else resolve(host, port)

    tls = ssl.create_default_context(cafile=certificate)
    fetcher = Fetcher(max_bytes=1_000, seconds=3, resolve=look_up, ssl_context=tls)
    internet = Internet(fetcher, {NAME: [PUBLIC]}, {"/image": sends(IMAGE)})
    for server in servers.values():
        server.paths, server.seen = internet.paths, internet.seen
    monkeypatch.setattr("urllib3.util.connection.create_connection", dial)
    return internet


def sends(
    body: bytes = b"", status: int = 200, length: int | None = None, drip: float | None = None, **headers: str
) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        try:
            for start in range(len(body)) if drip else ():
                handler.wfile.write(body[start : start + 1])
                time.sleep(drip)
            if not drip:
                handler.wfile.write(body)
        except OSError:
            pass  # the client has had enough

    return answer


def redirects(to: str, status: int = 302) -> Answer:
    return sends(status=status, Location=to, Content_Length="0")


def test_the_bytes_at_a_url_come_back(internet: Internet) -> None:
    assert internet.fetch("/image") == IMAGE
    assert internet.fetch("/sized", sends(IMAGE, length=len(IMAGE), Content_Type="image/jpeg")) == IMAGE


def test_a_chunked_response_is_put_together(internet: Internet) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        sends(b"4\r\nfour\r\n3\r\n...\r\n0\r\n\r\n", Transfer_Encoding="chunked")(handler)

    assert internet.fetch("/chunked", chunked) == b"four..."


def test_the_request_names_the_host_and_goes_to_the_address_that_was_checked(internet: Internet) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])  # DNS rebinding: public when checked, private when asked again
    assert internet.fetch("/image?a=b%20c", sends(IMAGE), resolve=lambda *_: next(answers)) == IMAGE
    assert internet.dialled == [(PUBLIC, 443)]
    assert internet.seen[0].headers["Host"] == NAME
    assert internet.seen[0].headers["Accept-Encoding"] == "identity"
    assert internet.seen[0].path == "/image?a=b%20c"


def test_the_next_address_is_tried_when_one_refuses(internet: Internet) -> None:
    internet.names[NAME] = [REFUSES, PUBLIC]
    assert internet.fetch("/image") == IMAGE
    assert internet.dialled == [(REFUSES, 443), (PUBLIC, 443)]


def test_a_public_address_may_stand_for_a_name(internet: Internet) -> None:
    assert internet.fetch("/image", host=PUBLIC) == IMAGE


def test_redirects_are_followed_relative_and_absolute(internet: Internet) -> None:
    internet.paths |= {"/a": redirects("b/c"), "/b/c": redirects(f"//{NAME}/d", 307)}
    internet.paths["/d"] = redirects(f"https://{NAME}/image", 308)
    assert internet.fetch("/a") == IMAGE


def test_a_fourth_redirect_is_not_followed(internet: Internet) -> None:
    with pytest.raises(UnreachableUrl, match="redirects more than 3 times"):
        internet.fetch("/loop", redirects("/loop"))
    assert len(internet.seen) == 4


@pytest.mark.parametrize(
    "target",
    [
        "https://127.0.0.1/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[fd00:ec2::254]/",
        "https://10.1.2.3/",
        "https://inside.example/",
        "https://2130706433/",
        "http://photos.example/image",
        "file:///etc/passwd",
        "ftp://photos.example/image",
        "https://photos.example:22/",
        "https://user@photos.example/image",
        "https://[::1",
    ],
)
def test_a_redirect_is_held_to_the_same_rules(internet: Internet, target: str) -> None:
    internet.names["inside.example"] = [PUBLIC, "10.0.0.7"]
    with pytest.raises(UnreachableUrl):
        internet.fetch("/out", redirects(target))
    assert internet.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1", "0", "0.0.0.0",
        "localhost", "localhost.", "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::808:808]", "[2002:7f00:1::]", "[2002:808:808::1]",
        "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[fe80::1]", "[fe80::1%25lo]", "[fe80::1%lo]", "[fc00::1]",
        "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]", "[100::1]", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "0xa9fea9fe", "2852039166", "169.254.170.2", "100.64.0.1", "224.0.0.1", "224.0.1.1",
        "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1",
    ],
)  # fmt: skip
def test_a_host_that_is_not_public_is_refused_however_it_is_spelled(internet: Internet, host: str) -> None:
    with pytest.raises(UnreachableUrl):
        internet.fetch("/image", host=host)
    assert internet.dialled == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], [PUBLIC, "::1"], ["::ffff:10.0.0.1"], ["fe80::1%eth0"], []])
def test_a_name_is_refused_if_any_of_its_addresses_is_not_public(internet: Internet, addresses: list[str]) -> None:
    internet.names[NAME] = addresses
    with pytest.raises(UnreachableUrl):
        internet.fetch("/image")
    assert internet.dialled == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://photos.example/image", "must start with https://"),
        ("photos.example/image", "must start with https://"),
        ("javascript:alert(1)", "must start with https://"),
        ("data:image/png;base64,AAAA", "must start with https://"),
        ("gopher://photos.example/", "must start with https://"),
        ("", "must start with https://"),
        ("https://", "has no host"),
        ("https://me:secret@photos.example/image", "user name or a password"),
        ("https://photos.example:8080/image", "a port other than 443"),
        ("https://photos.example:80/image", "a port other than 443"),
        ("https://photos.example:99999/image", "malformed"),
        ("https://photos.example/two words", "blanks"),
        ("https://photos.example\\@inside.example/", "backslashes|malformed"),
        ("https://photos.example/\r\nHost: inside", "control characters"),
        ("https://photos.example\t/", "control characters|malformed"),
    ],
)
def test_a_url_that_may_not_be_fetched_is_refused_with_the_reason(internet: Internet, url: str, message: str) -> None:
    with pytest.raises(UnreachableUrl, match=message) as caught:
        internet.fetcher.fetch(url)
    assert caught.value.field == "image_url"
    assert "secret" not in str(caught.value)
    assert internet.dialled == []


def test_the_default_port_may_be_named(internet: Internet) -> None:
    assert internet.fetch("/image", host=f"{NAME}:443") == IMAGE


def test_plain_http_is_fetched_where_it_is_allowed(internet: Internet) -> None:
    fetcher = Fetcher(max_bytes=100, allow_http=True, resolve=internet.fetcher.resolve)
    assert fetcher.fetch(f"http://{NAME}/image") == IMAGE
    assert internet.dialled == [(PUBLIC, 80)]


def test_private_addresses_and_ports_are_fetched_where_they_are_allowed(servers: dict[int, Server]) -> None:
    servers[80].paths, servers[80].seen = {"/": sends(IMAGE)}, []
    url = f"http://localhost:{servers[80].server_port}/"
    assert Fetcher(max_bytes=100, allow_http=True, allow_private=True).fetch(url) == IMAGE


def test_a_certificate_of_another_name_is_refused(internet: Internet) -> None:
    internet.names["other.example"] = [PUBLIC]
    with pytest.raises(UnreachableUrl, match="certificate"):
        internet.fetch("/image", host="other.example")
    assert internet.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(internet: Internet) -> None:
    with pytest.raises(UnreachableUrl, match="certificate"):
        internet.fetch("/image", ssl_context=None)
    assert internet.seen == []


@pytest.mark.parametrize("status", [204, 304, 400, 401, 403, 404, 410, 500, 503])
def test_an_error_status_is_told(internet: Internet, status: int) -> None:
    with pytest.raises(UnreachableUrl, match=str(status)):
        internet.fetch("/bad", sends(status=status, length=0))


def test_a_page_is_told_from_an_image(internet: Internet) -> None:
    with pytest.raises(UnreachableUrl, match=r"that of a page \(text/html\), not of an image"):
        internet.fetch("/page", sends(b"<html>", Content_Type="Text/HTML; charset=utf-8"))


def test_a_wrong_content_type_is_not_believed(internet: Internet) -> None:
    assert internet.fetch("/odd", sends(IMAGE, Content_Type="application/json")) == IMAGE


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
def test_a_compressed_response_is_refused(internet: Internet, encoding: str) -> None:
    with pytest.raises(UnreachableUrl, match="compressed"):
        internet.fetch("/gzip", sends(IMAGE, Content_Encoding=encoding))


@pytest.mark.parametrize("length", [None, 1_001, 10**12])
def test_too_many_bytes_are_refused_whether_announced_or_not(internet: Internet, length: int | None) -> None:
    with pytest.raises(InvalidImage, match="larger than 1,000 bytes") as caught:
        internet.fetch("/huge", sends(b"x" * 1_001, length=length))
    assert caught.value.reason is ImageReason.TOO_MANY_BYTES


def test_exactly_as_many_bytes_as_allowed_are_fetched(internet: Internet) -> None:
    assert len(internet.fetch("/full", sends(b"x" * 1_000))) == 1_000


def test_a_response_without_end_is_cut_off(internet: Internet) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        sends()(handler)
        try:
            while True:
                handler.wfile.write(b"x" * 65_536)
        except OSError:
            pass

    with pytest.raises(InvalidImage):
        internet.fetch("/endless", endless)


def test_a_response_shorter_than_announced_is_no_image(internet: Internet) -> None:
    with pytest.raises(UnreachableUrl, match="not as it should"):
        internet.fetch("/short", sends(IMAGE, length=len(IMAGE) + 1))


@pytest.mark.parametrize("length", [None, 1_000])
def test_a_server_that_drips_is_cut_off_in_time(internet: Internet, length: int | None) -> None:
    start = time.monotonic()
    with pytest.raises(UnreachableUrl, match=r"longer than 0\.4 seconds"):
        internet.fetch("/drip", sends(b"x" * 1_000, length=length, drip=0.05), seconds=0.4)
    assert time.monotonic() - start < 2


def test_headers_that_drip_are_cut_off_in_time(internet: Internet) -> None:
    def raw(handler: BaseHTTPRequestHandler) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass

    start = time.monotonic()
    with pytest.raises(UnreachableUrl, match="longer than"):
        internet.fetch("/drip", raw, seconds=0.4)
    assert time.monotonic() - start < 2


def test_redirects_share_one_time_limit(internet: Internet) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        redirects("/slow")(handler)

    start = time.monotonic()
    with pytest.raises(UnreachableUrl, match="longer than"):
        internet.fetch("/slow", slow, seconds=0.5)
    assert time.monotonic() - start < 2


def test_a_name_server_that_does_not_answer_is_not_waited_for(internet: Internet) -> None:
    start = time.monotonic()
    with pytest.raises(UnreachableUrl, match="looked up in time"):
        internet.fetch("/image", resolve=lambda *_: time.sleep(2) or [PUBLIC], seconds=0.2)
    assert time.monotonic() - start < 1


def test_a_host_that_does_not_exist_is_told(internet: Internet) -> None:
    def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "name or service not known")

    with pytest.raises(UnreachableUrl, match="doesn't exist"):
        internet.fetch("/image", resolve=fails)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"\x00" * 100])
def test_what_does_not_speak_http_is_told_without_quoting_it(internet: Internet, answer: bytes) -> None:
    def raw(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(answer)

    with pytest.raises(UnreachableUrl, match="doesn't answer, or not as it should"):
        internet.fetch("/raw", raw)


@given(st.ip_addresses(v=4))
def test_no_ipv4_address_is_public_that_any_registry_calls_special(address: ipaddress.IPv4Address) -> None:
    special = (
        address.is_private or address.is_loopback or address.is_link_local or address.is_multicast
        or address.is_reserved or address.is_unspecified or address in ipaddress.ip_network("100.64.0.0/10")
    )  # fmt: skip
    assert is_public(str(address)) == (not special)


@given(st.ip_addresses(v=6))
def test_no_ipv6_address_is_public_outside_global_unicast(address: ipaddress.IPv6Address) -> None:
    if is_public(str(address)):
        assert address in ipaddress.ip_network("2000::/3")
        assert not address.is_multicast
        assert address not in ipaddress.ip_network("2002::/16")


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:{}", "::{}", "64:ff9b::{}", "2002:{hex}::1"]))
def test_no_ipv6_address_is_public_that_embeds_an_ipv4_one(address: ipaddress.IPv4Address, form: str) -> None:
    digits = f"{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"
    assert not is_public(form.format(address, hex=digits))


SPELLINGS: list[Callable[[int], str]] = [
    lambda n: str(n),
    lambda n: hex(n),
    lambda n: oct(n).replace("0o", "0"),
    lambda n: ".".join(hex(byte) for byte in n.to_bytes(4)),
    lambda n: ".".join(f"0{byte:o}" for byte in n.to_bytes(4)),
    lambda n: f"{n >> 24}.{n & 0xFFFFFF}",
    lambda n: f"{n >> 24}.{n >> 16 & 0xFF}.{n & 0xFFFF}",
    lambda n: f"[::ffff:{n >> 16:x}:{n & 0xFFFF:x}]",
    lambda n: f"[64:ff9b::{n >> 16:x}:{n & 0xFFFF:x}]",
    lambda n: f"[2002:{n >> 16:x}:{n & 0xFFFF:x}::]",
]


@given(
    st.sampled_from(["127.0.0.0/8", "10.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "100.64.0.0/10"]).flatmap(
        lambda network: st.ip_addresses(v=4, network=network)
    ),
    st.sampled_from(SPELLINGS),
)
def test_no_spelling_of_a_private_address_gets_through(
    address: ipaddress.IPv4Address, spell: Callable[[int], str]
) -> None:
    def no_connection(*_: object, **__: object) -> None:
        raise AssertionError("dialled")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("urllib3.util.connection.create_connection", no_connection)
        with pytest.raises(UnreachableUrl):
            Fetcher(max_bytes=1).fetch(f"https://{spell(int(address))}/")


@given(st.text() | st.text().map("https://{}".format) | st.text().map("https://photos.example/{}".format))
def test_no_text_makes_anything_but_unreachable_url(url: str) -> None:
    def nowhere(host: str, port: int) -> list[str]:
        raise OSError

    with pytest.raises(UnreachableUrl):
        Fetcher(max_bytes=1, resolve=nowhere).fetch(url)
