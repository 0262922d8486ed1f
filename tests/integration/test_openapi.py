"""The OpenAPI document against the API that it describes, running: schemathesis makes up requests, valid and not."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import schemathesis
import urllib3
from hypothesis import HealthCheck, Phase, settings
from schemathesis.config import SchemathesisConfig

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.sources import open_source
from functions.query import app as query
from imagesearch.index.base import MAX_RESULTS
from imagesearch.query import GROUPED
from local.stack import stack

KEY = "open-sesame"
PHOTOS = ("dog-face", "cat-face", "pizza", "rocket")
ANSWERS = {200, 404}
"""To a request that is valid. That it can be answered doesn't follow from its form in the cases below."""
UNPREDICTABLE = ("image", "image_url", "filter", "query", "cursor", "embedding_input")
"""Any text is valid as an image or a cursor, but hardly any is one; the document doesn't spell out the languages of
filters and of compact queries, nor the dimension of the model."""

CONFIG = SchemathesisConfig.from_dict(
    {
        "seed": 1,
        "headers": {"x-api-key": KEY},
        "checks": {
            "positive_data_acceptance": {"enabled": False},  # replaced by what_is_valid_is_answered
            # With 413, which is the right answer to what is too long.
            "negative_data_rejection": {"expected-statuses": [400, 403, 404, 405, 413, 415, 422]},
        },
    }
)


DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
api = schemathesis.openapi.from_path(DOCUMENT, config=CONFIG)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[str]:
    """The whole path on loopback, with some photos, behind an API key; no image is fetched from anywhere."""
    folder = tmp_path_factory.mktemp("openapi")
    photos = folder / "photos"
    photos.mkdir()
    for name in PHOTOS:
        shutil.copy(tiny_model / "photos" / f"{name}.webp", photos)

    def no_such_host(host: str, port: int) -> list[str]:
        raise OSError(f"{host}:{port} is off this machine")

    with (
        stack(folder / "state", tiny_model, photos, api_key=KEY) as running,
        pytest.MonkeyPatch.context() as patch,
    ):
        ingest(open_source(str(photos)), running.vectors, open_encoder(tiny_model))
        while running.queue.pending():
            time.sleep(0.05)
        service = query.service()
        service = replace(service, fetcher=replace(service.fetcher, resolve=no_such_host))
        patch.setattr(query, "service", lambda: service)
        assert running.index.count() == len(PHOTOS)
        yield running.url


def what_is_valid_is_answered(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case
) -> None:
    """A check that a request which the document calls valid isn't refused, as far as the document can tell."""
    as_described = response.request.method == case.operation.method.upper()  # schemathesis tries other methods too
    if not (as_described and case.meta and case.meta.generation.mode.is_positive):
        return
    given = {**(case.query or {}), **(case.body if isinstance(case.body, dict) else {})}
    terms = given.get("terms") or []
    if any(one.get(name) is not None for one in (given, *terms) for name in UNPREDICTABLE):
        return
    # JSON Schema has no sums, and a query string nothing that depends on something else.
    depth = int(given.get("offset", 0)) + int(given.get("k", 20))
    if depth > MAX_RESULTS or (str(given.get("group", False)).lower() == "true" and depth > GROUPED):
        return
    if case.operation.label == "GET /search" and ("q" in given) == ("query" in given):
        return
    wanted = [term for term in terms if term.get("weight", 1) > 0]
    if terms and not wanted and not given.get("like"):
        return
    if given.get("match", "vector") != "vector" and not (
        given.get("text") or given.get("q") or any(term.get("text") for term in wanted)
    ):
        return
    assert response.status_code in ANSWERS, f"{response.status_code}: {response.text}"


@api.parametrize()
@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_does_what_its_document_says(case: schemathesis.Case, url: str) -> None:
    case.call_and_validate(base_url=url, additional_checks=[what_is_valid_is_answered])


def test_the_running_api_serves_that_document(url: str) -> None:
    assert urllib3.request("GET", f"{url}/openapi.json").data == DOCUMENT.read_bytes()
