import re
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from imagesearch import links
from imagesearch.errors import StorageError
from imagesearch.links import image_url
from imagesearch.settings import Settings

SETTINGS = Settings(index_url="duckdb:///x", signed_url_seconds=600)


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token/+=")
    forget_clients()


def forget_clients() -> None:
    for cached in (links.aws_session, links._client, links._bucket_url):
        cached.cache_clear()


def test_an_s3_image_has_a_signed_url_at_the_regional_endpoint() -> None:
    url = urlsplit(image_url("s3://photos/holidays/a b+c.jpg", SETTINGS))
    assert (url.scheme, url.netloc) == ("https", "photos.s3.eu-west-1.amazonaws.com")
    assert url.path == "/holidays/a%20b%2Bc.jpg"
    query = parse_qs(url.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["600"]
    assert query["X-Amz-Security-Token"] == ["token/+="]
    assert "secret" not in url.query


@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1", "cn-north-1"])
def test_a_signed_url_is_the_one_that_boto3_makes(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    forget_clients()
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    client = boto3.client("s3", region_name=region, config=config)

    def is_the_same(bucket: str, key: str) -> bool:
        ours = image_url(f"s3://{bucket}/{key}", SETTINGS)
        theirs = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=600)
        return sorted(re.split("[?&]", str(ours))) == sorted(re.split("[?&]", theirs))

    for bucket in ("photos", "photos.example.com"):
        for key in ("a.jpg", "a b/c+d&e=f?g#h%20.jpg", "日本/ü~.jpg", "/a//b.jpg", "."):
            assert is_the_same(bucket, key) or is_the_same(bucket, key)  # the clock may go on between the two


def test_without_credentials_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    forget_clients()
    with pytest.raises(StorageError, match="no AWS credentials"):
        image_url("s3://photos/a.jpg", SETTINGS)


@pytest.mark.parametrize("uri", ["https://example.com/a%20b.jpg?w=1", "http://example.com/a.jpg"])
def test_a_web_image_has_its_own_url(uri: str) -> None:
    assert image_url(uri, SETTINGS) == uri


def test_a_file_has_a_url_only_where_files_are_served() -> None:
    served = SETTINGS.model_copy(update={"file_base_url": "http://127.0.0.1:8000/files/"})
    assert image_url("file:///photos/a%20b%23c.jpg", SETTINGS) is None
    assert image_url("file:///photos/a%20b%23c.jpg", served) == "http://127.0.0.1:8000/files/photos/a%20b%23c.jpg"
    assert image_url("file:///photos/ü &c.jpg", served) == "http://127.0.0.1:8000/files/photos/%C3%BC%20%26c.jpg"


@given(st.text() | st.sampled_from(["javascript://%0aalert(1)", "JavaScript:alert(1)", "data:text/html,x", "//host/x"]))
def test_nothing_else_has_a_url(uri: str) -> None:
    url = image_url(uri, SETTINGS.model_copy(update={"file_base_url": "http://127.0.0.1:8000/files"}))
    assert url is None or url.startswith(("http://", "https://"))
