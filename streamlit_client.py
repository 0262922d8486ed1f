"""A client of the search API for somebody who is ready to wait while the query function warms up."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ValidationError
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_before_delay, wait_exponential_jitter
from urllib3 import Retry
from urllib3.exceptions import InvalidHeader

from imagesearch.errors import ApiError, InvalidInput

PATIENCE = 60.0
"""Seconds. An attempt that would begin later is not made."""
TIMEOUTS = (5.0, 30.0)
"""Seconds to connect, and to be answered: API Gateway itself waits for 29 s."""
PASSING = {429, 503, 504}
"""Statuses that get better by themselves: too many requests, and a function or an index that isn't there yet."""

_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_backoff = wait_exponential_jitter(multiplier=0.5, max=8, jitter=0.5)


class Hit(BaseModel):
    """What the app shows of an image found. The API has more, and may come to have more still."""

    id: str
    score: float
    url: str | None = None
    uri: str = ""
    title: str | None = None
    description: str | None = None
    credit: str | None = None
    tags: list[str] = []

    @property
    def name(self) -> str:
        """What to call it: its title, or else what comes nearest to one."""
        return self.title or self.description or self.uri.rpartition("/")[2] or self.id

    @property
    def link(self) -> str | None:
        """Its URL, if that is one for browsers and not a file's or a script's."""
        return self.url if self.url and urlsplit(self.url).scheme in ("https", "http") else None


class Answer(BaseModel):
    """The images found, best first."""

    hits: list[Hit]


@dataclass(frozen=True)
class SearchClient:
    """Searches by the API at `endpoint`, the URL to which /search is appended.

    Raises:
        InvalidInput: endpoint and key are none that can be used, or not together.
    """

    endpoint: str
    api_key: str = ""
    patience: float = PATIENCE

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if url.scheme not in ("https", "http") or not url.hostname:
            raise InvalidInput(
                f"the endpoint {self.endpoint!r} is no https:// URL, such as that of the output ApiUrl", "endpoint"
            )
        if self.api_key and url.scheme == "http" and url.hostname not in _LOOPBACK:
            raise InvalidInput(f"the API key would be readable on its way: use https://{url.netloc}", "endpoint")
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InvalidInput("the API key has characters that no key has: copy it anew", "api_key")

    def search(self, body: dict[str, Any], on_wait: Callable[[ApiError, float], None]) -> list[Hit]:
        """The images that POST /search finds for `body`.

        What may pass (429, 503, 504, a connection that isn't made or breaks) is tried again: after what Retry-After
        says, or after 0.5, 1, 2, 4, 8, 8, … seconds and up to half a second more, so that people don't march in step.
        Before each wait, `on_wait` is told the reason and the seconds.

        Raises:
            ApiError: it was refused, or patience is at its end.
        """
        retrying = Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, ApiError) and error.passing),
            wait=_seconds_to_wait,
            stop=stop_before_delay(self.patience),
            before_sleep=lambda state: on_wait(_error_of(state), state.upcoming_sleep),
            reraise=True,
        )
        return retrying(self._search_once, body)

    def _search_once(self, body: dict[str, Any]) -> list[Hit]:
        headers = {"x-api-key": self.api_key} if self.api_key else {}
        url = f"{self.endpoint.rstrip('/')}/search"
        try:
            # A redirect would turn POST into GET, and take the key wherever it leads.
            response = requests.post(url, json=body, headers=headers, timeout=TIMEOUTS, allow_redirects=False)
        except requests.exceptions.SSLError as error:
            raise ApiError(f"{url} has no certificate that can be trusted: {error}") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise ApiError(f"{url} doesn't answer ({type(error).__name__})", passing=True) from error
        except requests.RequestException as error:
            raise ApiError(f"{url} can't be asked: {error}") from error
        if response.is_redirect:
            raise ApiError(f"{url} has moved to {response.headers['Location']}", response.status_code)
        if response.status_code != requests.codes.ok:
            raise _refusal(response)
        try:
            return Answer.model_validate_json(response.content).hits
        except ValidationError as error:
            raise ApiError(f"{url} doesn't answer as the search API does: is the endpoint right?") from error


def _refusal(response: requests.Response) -> ApiError:
    """The error that an answer with an error status stands for: ours, API Gateway's, or anybody's."""
    status = response.status_code
    try:
        detail = response.json()["error"]
        code, message = str(detail["code"]), str(detail["message"])
    except (ValueError, LookupError, TypeError):
        code, message = "failed", f"the answer had status {status} {response.reason}"
    try:
        retry_after = Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except InvalidHeader:
        retry_after = 0
    passing = status in PASSING and code != "quota_exceeded"  # which lasts until tomorrow
    return ApiError(message, status, code, passing=passing, retry_after=retry_after)


def _error_of(state: RetryCallState) -> ApiError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, ApiError)  # nothing else is tried again
    return error


def _seconds_to_wait(state: RetryCallState) -> float:
    return max(_backoff(state), _error_of(state).retry_after)
