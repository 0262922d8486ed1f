"""The URL at which a browser can see an indexed image."""

from functools import cache
from typing import Any
from urllib.parse import quote, unquote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.session import Session

from imagesearch.errors import StorageError
from imagesearch.settings import Settings


def image_url(uri: str, settings: Settings) -> str | None:
    """The URL of the image at `uri`, or None where there is none.

    An s3:// image gets a signed URL that works for `signed_url_seconds` (or until the credentials that signed it
    expire), a file:// image its place below `file_base_url`; http(s) is its own URL. Any other scheme has none: a link
    goes to a browser, so that `javascript:` must not get through.

    Raises:
        StorageError: there are no AWS credentials to sign with.
    """
    scheme, _, rest = uri.partition("://")
    match scheme.lower():
        case "s3":
            bucket, _, key = rest.partition("/")
            return _signed(bucket, key, settings.signed_url_seconds)
        case "http" | "https":
            return uri
        case "file" if settings.file_base_url:
            return settings.file_base_url.rstrip("/") + quote(unquote(rest))
        case _:
            return None


def _signed(bucket: str, key: str, seconds: int) -> str:
    """What `generate_presigned_url` makes too, but working out the endpoint anew for each of a page's images."""
    credentials = aws_session().get_credentials()
    if credentials is None:
        raise StorageError("no AWS credentials to sign the URLs of images with")
    request = AWSRequest("GET", _bucket_url(bucket) + quote(key, safe="/~"))
    region = _client().meta.region_name
    S3SigV4QueryAuth(credentials.get_frozen_credentials(), "s3", region, expires=seconds).add_auth(request)
    return str(request.url)


@cache
def _bucket_url(bucket: str) -> str:
    params = {"Bucket": bucket, "Key": "-"}
    url: str = _client().generate_presigned_url("get_object", Params=params)
    return url.partition("?")[0].removesuffix("-")


@cache
def _client() -> Any:
    # Virtual-hosted URLs are regional ones: the global endpoint may redirect, which a signature doesn't survive.
    config = Config(signature_version="s3v4", s3={"addressing_style": "virtual"})
    return aws_session().create_client("s3", config=config)


@cache
def aws_session() -> Session:
    """Botocore's session of this process: what it reads of S3 when it makes its first client takes 0.2 s.

    botocore's and not boto3's, which would only add to the time of a cold start. One thread at a time may make clients.
    """
    return Session()
