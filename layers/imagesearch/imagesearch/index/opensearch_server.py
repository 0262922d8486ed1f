"""The connection to an OpenSearch: where it is, how to authenticate, patience, and errors in this project's terms."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import boto3
from opensearchpy import OpenSearch, RequestsHttpConnection
from opensearchpy.exceptions import ConnectionError as ConnectionFailed
from opensearchpy.exceptions import OpenSearchException, TransportError
from requests.adapters import HTTPAdapter
from requests_aws4auth import AWS4Auth
from urllib3 import BaseHTTPResponse
from urllib3.connectionpool import ConnectionPool
from urllib3.exceptions import ReadTimeoutError
from urllib3.util import Retry

from imagesearch.errors import IndexOverloaded, IndexUnavailable, InvalidInput, VectorIndexError

AWS_DOMAIN = re.compile(r"\.(?:([a-z0-9-]+)\.es\.amazonaws\.com(?:\.cn)?|aos\.([a-z0-9-]+)\.on\.aws)$")
AWS_SERVERLESS = re.compile(r"\.aoss\.(?:amazonaws\.com(?:\.cn)?|[a-z0-9-]+\.on\.aws)$")

CONNECT_SECONDS, READ_SECONDS = 3.0, 15.0


class Server:
    """A client for the OpenSearch at `url`, and `where` it is, without credentials.

    Requests to a domain of Amazon OpenSearch Service are signed with the credentials that boto3 finds, renewed as they
    expire. A user and password in the URL are used instead, there and elsewhere.

    Raises:
        InvalidInput: the URL can't be used.
        IndexUnavailable: it is AWS's, and there are no AWS credentials.
    """

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host:
            raise InvalidInput("the URL of OpenSearch must be like https://host or https://host:port", "index_url")
        https = parts.scheme == "https"
        port = port or (443 if https else 80)
        self.where = f"{parts.scheme}://{host}:{port}"
        self.client = OpenSearch(
            hosts=[{"host": host, "port": port, "use_ssl": https, "url_prefix": parts.path.strip("/")}],
            http_auth=_authentication(host, https, parts.username, parts.password),
            verify_certs=True,
            connection_class=_Connection,
            timeout=(CONNECT_SECONDS, READ_SECONDS),
            max_retries=0,  # its retries don't wait; _Patience does
        )

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the client raises into this project's errors; none of them shows a credential."""
        try:
            yield
        except ConnectionFailed as error:
            raise IndexUnavailable(f"OpenSearch at {self.where} doesn't answer: {error.error}") from error
        except TransportError as error:
            status = error.status_code
            said = error.info.get("error", error.error) if isinstance(error.info, dict) else error.error
            message = f"OpenSearch at {self.where} answers {status}: {reason_of(said)}"
            if status == 429:
                raise IndexOverloaded(message) from error
            if isinstance(status, int) and status >= 500:
                raise IndexUnavailable(message) from error
            if status in (401, 403):
                message += "; does its access policy allow this role or user?"
            raise VectorIndexError(message) from error
        except OpenSearchException as error:
            raise VectorIndexError(f"OpenSearch at {self.where} gave an answer that isn't one: {error}") from error


def _authentication(host: str, https: bool, user: str | None, password: str | None) -> Any:
    if AWS_SERVERLESS.search(host):
        raise InvalidInput(
            f"{host} is an OpenSearch Serverless collection, which assigns its own document ids: "
            "use a domain of OpenSearch Service",
            "index_url",
        )
    domain = AWS_DOMAIN.search(host)
    if domain and not https:
        raise InvalidInput(f"requests to {host} carry credentials: its URL must start with https://", "index_url")
    if user:
        return unquote(user), unquote(password or "")
    if domain:
        credentials = boto3.Session().get_credentials()
        if credentials is None:
            raise IndexUnavailable(f"no AWS credentials to sign requests to {host} with: configure a role or a profile")
        return AWS4Auth(region=domain[1] or domain[2], service="es", refreshable_credentials=credentials)
    return None


class _Patience(Retry):
    """Retries what may succeed a moment later; not a request that timed out, whose time is already spent."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Self:
        if isinstance(error, ReadTimeoutError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of urllib3 says more than that a request of ours is tried again: if it fails, that is raised."""
    return not (isinstance(record.args, tuple) and record.args and isinstance(record.args[0], _Patience))


logging.getLogger("urllib3.connectionpool").addFilter(_is_news)


class _Connection(RequestsHttpConnection):
    """The client's connection with retries that back off: 429, a gateway's 502-504, and broken connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session.trust_env = False  # no proxy and no .netrc: the index is reached directly
        patience = _Patience(
            total=5,
            connect=2,
            status_forcelist={429, 502, 503, 504},
            allowed_methods=None,
            raise_on_status=False,
            respect_retry_after_header=False,
            backoff_factor=0.1,
            backoff_jitter=0.1,
        )
        for scheme in ("https://", "http://"):
            self.session.mount(scheme, HTTPAdapter(max_retries=patience))

    def log_request_fail(self, *_: Any, **__: Any) -> None:
        """Log nothing: the failure is raised, and whoever catches it logs it in a line. This would be fifty."""


def reason_of(error: Any) -> str:
    """What OpenSearch says is wrong, with the innermost cause."""
    if not isinstance(error, dict):
        return str(error)
    reason = str(error.get("reason") or error.get("type"))
    cause = error.get("caused_by") or next(iter(error.get("root_cause", [])), None)
    inner = reason_of({**cause, "root_cause": []}) if isinstance(cause, dict) else reason
    return reason if inner in reason else f"{reason}: {inner}"
