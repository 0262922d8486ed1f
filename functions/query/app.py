"""The query function: events of API Gateway (REST, proxy) in, answers out; thin over `imagesearch.service`."""

import json
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.event_handler.openapi import params
from aws_lambda_powertools.logging.correlation_paths import API_GATEWAY_REST
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagesearch import api
from imagesearch.errors import InvalidInput
from imagesearch.openapi import finish, responses
from imagesearch.page import build_page
from imagesearch.rest import Resolver, timed
from imagesearch.service import Service
from imagesearch.settings import get_settings

PAGE = Path(__file__).parent / "page"

logger = Logger(service="query")
tracer = Tracer(service="query", auto_patch=False)
metrics = Metrics(namespace="ImageSearch", service="query")
app = Resolver(logger)


@cache
def service() -> Service:
    """The service of this process, opened on first use."""
    return Service.open(get_settings())


def find(request: api.SearchRequest) -> api.SearchResponse:
    """Answer `request`, and keep a record of how long it took."""
    answer = service().search(request)
    record(answer.took, k=answer.k, offset=answer.offset, match=request.match, hits=len(answer.hits))
    return answer


def record(took: api.Took, **what: object) -> None:
    """Keep a record of how long an answer took."""
    for name, milliseconds in (("EncodeTime", took.encode_ms), ("SearchTime", took.search_ms)):
        metrics.add_metric(name, MetricUnit.Milliseconds, milliseconds)
    logger.info("search", extra={**what, **took.model_dump()})


K = Annotated[api.K, params.Query()]
Offset = Annotated[api.Offset, params.Query()]
FilterJson = Annotated[str | None, params.Query(description="A filter in JSON, such as POST /search takes")]
# Powertools knows a list, which a query string repeats a name for, only without a description of its own.
Ids = Annotated[
    list[api.IdText],
    params.Query(max_length=api.MAX_IDS, description="Ids of indexed images that were found to be good, or bad"),
]
FacetFields = Annotated[
    list[api.FacetField],
    params.Query(max_length=6, description="Fields whose most frequent values to count among the best 1,000"),
]
Id = Annotated[
    str,
    params.Path(
        description="Id of an indexed image; its slashes may be percent-encoded or not", examples=[api.EXAMPLE_ID]
    ),
]


@app.post(
    "/search",
    summary="Search by words, by an image, by an indexed image, or by all of them",
    description="The full search. An image is sent in the request, or fetched from its public URL.",
    operation_id="search",
    tags=["Search"],
    responses=responses("Images found, best first", 400, 404, 413, 415, 422),
)
def search(request: api.SearchRequest) -> Response[api.SearchResponse]:
    """The full search."""
    answer = find(request)
    return timed(answer, answer.took)


@app.get(
    "/search",
    summary="Search by words",
    description="The search for links and for curl: by `q`, literally, by the compact `query`, or by `like` alone.",
    operation_id="searchByWords",
    tags=["Search"],
    responses=responses("Images found, best first", 400, 404, 413, 415, 422),
)
def search_by_words(
    q: Annotated[api.Words | None, params.Query()] = None,
    query: Annotated[api.CompactQuery | None, params.Query()] = None,
    like: Ids = [],  # noqa: B006  # nobody changes them
    unlike: Ids = [],  # noqa: B006
    k: K = 20,
    offset: Offset = 0,
    filter: FilterJson = None,
    match: Annotated[api.MatchBy, params.Query()] = "vector",
    facets: FacetFields = [],  # noqa: B006
    min_confidence: Annotated[api.MinConfidence | None, params.Query()] = None,
    group: Annotated[api.Group, params.Query()] = False,
) -> Response[api.SearchResponse]:
    """The search for links and for curl."""
    given = dict(locals())
    app.no_parameters_but(*given)
    if (q is None) + (query is None) != 1 and not (like and q is None and query is None):
        raise InvalidInput("give either q, words, or query, terms in one line; or like, ids of good images, alone", "q")
    if filter is not None:
        given["filter"] = api.parse_json(filter, "filter")
    named = {"text" if name == "q" else name: value for name, value in given.items() if value is not None}
    answer = find(api.parse(api.SearchRequest, named))
    return timed(answer, answer.took)


@app.post(
    "/search/batch",
    summary="Many searches at once",
    description="Up to 100 searches, answered together in less time than one by one.",
    operation_id="searchBatch",
    tags=["Search"],
    responses=responses("An answer, or an error, for each search", 400, 413),
)
def search_batch(request: api.BatchRequest) -> Response[api.BatchResponse]:
    """Many searches at once."""
    answer = service().search_batch(request)
    record(answer.took, searches=len(request.searches))
    return timed(answer, answer.took)


@app.post(
    "/knn-service",
    summary="Search in the form of clip-retrieval",
    description="For programs that were written for clip-retrieval's ClipClient: its request, its answer.",
    operation_id="knnService",
    tags=["Search"],
    responses=responses("Images found, best first", 400, 413, 415, 422),
)
def knn_service(request: api.KnnRequest) -> Response[list[api.KnnHit]]:
    """Search in the form of clip-retrieval."""
    hits, took = service().knn(request)
    record(took, k=request.num_images, hits=len(hits))
    return timed(hits, took)


@app.get(
    "/images/<id>/similar",
    summary="Search by an indexed image",
    description="More like this.",
    operation_id="similarImages",
    tags=["Search"],
    responses=responses("Images found, best first, the image itself not among them", 400, 404, 413),
)
def similar(id: Id, k: K = 20, offset: Offset = 0) -> Response[api.SearchResponse]:
    """More like this."""
    app.no_parameters_but("k", "offset")
    answer = find(api.parse(api.SearchRequest, {"id": unquote(id), "k": k, "offset": offset}))
    return timed(answer, answer.took)


@app.get(
    "/images/<id>",
    summary="An indexed image",
    description="What is known of one image, and a URL at which a browser finds it.",
    operation_id="image",
    tags=["Images"],
    responses=responses("What is known of it", 404),
)
def image(id: Id) -> api.ImageDocument:
    """One image."""
    return service().image(unquote(id))


@app.get(
    "/health",
    summary="Whether searches can be answered",
    description="For people and for monitors: the model, the index, and how many images are in it.",
    operation_id="health",
    tags=["Health"],
    responses={**responses("They can"), 503: {"description": "They can't: the index doesn't answer"}},
)
def health() -> tuple[api.Health, int]:
    """For people and for monitors."""
    answer = service().health()
    return answer, HTTPStatus.OK if answer.index.available else HTTPStatus.SERVICE_UNAVAILABLE


@app.get("/", include_in_schema=False)
def page() -> Response[str]:
    """The search page."""
    html, policy = build_page(PAGE)
    return Response(HTTPStatus.OK, "text/html; charset=utf-8", html, {"Content-Security-Policy": policy})


@app.get("/openapi.json", include_in_schema=False)
def openapi() -> Response[str]:
    """The OpenAPI document, made from the routes and the models."""
    stage = app.current_event.request_context.path.removesuffix(app.current_event.path)
    return Response(HTTPStatus.OK, "application/json", openapi_document(stage or "/"))


@cache
def openapi_document(server: str) -> str:
    """The OpenAPI document of the API at `server`, in JSON."""
    # Imported here, as it takes a tenth of a second, which no search has to wait for.
    from aws_lambda_powertools.event_handler.openapi.models import APIKey, APIKeyIn, License, Server, Tag

    document = app.get_openapi_schema(
        title="clip-image-search",
        version="1.0.0",
        description="Searches your own photos by words, by an image, or by one of them. Scores are cosines.",
        servers=[Server(url=server)],
        license_info=License(name="MIT"),
        tags=[
            Tag(name="Search", description="Find images"),
            Tag(name="Images", description="Look one up"),
            Tag(name="Health", description="See whether all is well"),
        ],
        security_schemes={"apiKey": APIKey(name="x-api-key", in_=APIKeyIn.header)},
        security=[{"apiKey": []}],
    )
    return json.dumps(finish(document.model_dump(mode="json", by_alias=True, exclude_none=True)), indent=2) + "\n"


def answer_directly(event: object) -> dict[str, Any]:
    """Answer an invocation that doesn't come from API Gateway: `{"query": "two dogs", "input_type": "text"}`."""
    try:
        answer = find(api.parse(api.DirectRequest, event).search_request())
        return {"status_code": 200, "message": "Success", "body": answer.model_dump(mode="json")}
    except Exception as error:
        status, detail = app.explain(error)
        body = api.ErrorAnswer(error=detail).model_dump(exclude_none=True)
        return {"status_code": status.value, "message": detail.message, "body": body}


@logger.inject_lambda_context(correlation_id_path=API_GATEWAY_REST, clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer what Lambda was invoked with."""
    if isinstance(event, dict) and "httpMethod" in event:
        answer = app.answer(event, context)
        status = answer["statusCode"]
    else:
        app.lambda_context = context
        answer = answer_directly(event)
        status = answer["status_code"]
    metrics.add_metric(f"Status{status // 100}xx", MetricUnit.Count, 1)
    return answer
