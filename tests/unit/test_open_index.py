"""Which index a URL opens, and how requests to an OpenSearch authenticate."""

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from imagesearch.errors import IndexUnavailable, InvalidInput
from imagesearch.index import open_index
from imagesearch.index.embedded import EmbeddedIndex
from imagesearch.index.opensearch import OpenSearchIndex, index_body
from imagesearch.index.opensearch_server import Server

DOMAIN = "https://search-photos-abc123.eu-central-1.es.amazonaws.com"


@pytest.fixture
def aws_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    return monkeypatch


def authorization(url: str) -> str:
    """The header that a request of the client for `url` carries."""
    server = Server(url)
    session = server.client.transport.get_connection().session
    return str(session.prepare_request(requests.Request("GET", url)).headers.get("Authorization"))


def test_https_and_http_open_an_opensearch() -> None:
    for url in ("https://host:9200", "http://127.0.0.1:9200"):
        assert isinstance(open_index(url, "abc", 3), OpenSearchIndex)


def test_duckdb_opens_a_file_or_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in (f"duckdb://{tmp_path}/absolute.duckdb", "duckdb://relative.duckdb", "duckdb://"):
        assert isinstance(open_index(url, "abc", 3), EmbeddedIndex)
    assert {path.name for path in tmp_path.iterdir()} == {"absolute.duckdb", "relative.duckdb"}


@pytest.mark.parametrize("url", ["", "photos.duckdb", "ftp://x", "https://", "http://host:port", "https://[x"])
def test_any_other_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="must"):
        open_index(url, "abc", 3)


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lucene, lucene-sq, faiss"):
        open_index("https://host", "abc", 3, engine="nmslib")


def test_only_the_implementation_that_is_used_is_imported() -> None:
    program = """
import sys
from imagesearch.index import open_index
open_index(sys.argv[1], "abc", 3)
print(*(name for name in ("duckdb", "opensearchpy") if name in sys.modules))
"""
    for url, used in (("https://host", "opensearchpy"), ("duckdb://", "duckdb")):
        done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [used]


def test_requests_to_an_aws_domain_are_signed_for_its_region(aws_keys: pytest.MonkeyPatch) -> None:
    for url in (DOMAIN, "https://search-photos-abc123.aos.eu-central-1.on.aws"):
        header = authorization(url)
        assert header.startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-central-1/es/aws4_request" in header


def test_a_user_and_a_password_are_sent_instead_where_the_url_has_them(aws_keys: pytest.MonkeyPatch) -> None:
    for url in ("https://ada:p%40ss@host", DOMAIN.replace("https://", "https://ada:p%40ss@")):
        assert authorization(url) == "Basic YWRhOnBAc3M="


def test_other_servers_get_no_credentials(aws_keys: pytest.MonkeyPatch) -> None:
    for url in (
        "https://host",
        "https://es.amazonaws.com.example.org",
        "https://x.eu-central-1.es.amazonaws.com.evil.org",
    ):
        assert authorization(url) == "None"


def test_an_aws_domain_without_aws_credentials_or_tls_is_refused(aws_keys: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="https"):
        Server(DOMAIN.replace("https", "http"))
    aws_keys.delenv("AWS_ACCESS_KEY_ID")
    aws_keys.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(IndexUnavailable, match="no AWS credentials"):
        Server(DOMAIN)


def test_a_serverless_collection_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidInput, match=r"Serverless.*use a domain"):
        Server("https://abc.eu-central-1.aoss.amazonaws.com")


@pytest.mark.parametrize("engine", ["lucene", "lucene-sq", "faiss"])
def test_a_mapping_leaves_nothing_about_vectors_to_a_default(engine: str) -> None:
    body = index_body(512, engine, 1)
    vector = body["mappings"]["properties"]["vector"]
    assert vector.keys() == {"type", "dimension", "data_type", "space_type", "mode", "compression_level", "method"}
    assert vector["method"].keys() == {"name", "engine", "parameters"}
    assert vector["method"]["engine"] == engine.removesuffix("-sq")
    assert body["mappings"]["dynamic"] == "strict"
