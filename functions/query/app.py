"""The query function: events of API Gateway (REST, proxy) in, answers out; thin over `imagesearch.service`."""

import binascii
import json
import re
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi import params
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from aws_lambda_powertools.event_handler.openapi.models import APIKey, APIKeyIn, License, Server, Tag
from aws_lambda_powertools.logging.correlation_paths import API_GATEWAY_REST
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic_core import to_json

from imagesearch import api
from imagesearch.errors import InvalidInput
from imagesearch.openapi import finish, responses
from imagesearch.page import build_page
from imagesearch.service import Service
from imagesearch.settings import get_settings

PAGE = Path(__file__).parent / "page"
HEADERS = {"X-Content-Type-Options": ["nosniff"], "Referrer-Policy": ["no-referrer"], "Cache-Control": ["no-store"]}

logger = Logger(service="query")
tracer = Tracer(service="query", auto_patch=False)
metrics = Metrics(namespace="ImageSearch", service="query")


@cache
def service() -> Service:
    """The service of this process, opened on first use."""
    return Service.open(get_settings())


def find(request: api.SearchRequest) -> api.SearchResponse:
    """Answer `request`, and keep a record of how long it took."""
    answer = service().search(request)
    for name, milliseconds in (("EncodeTime", answer.took.encode_ms), ("SearchTime", answer.took.search_ms)):
        metrics.add_metric(name, MetricUnit.Milliseconds, milliseconds)
    logger.info("search", k=request.k, offset=request.offset, hits=len(answer.hits), **answer.took.model_dump())
    return answer


class _Resolver(APIGatewayRestResolver):
    """Lets `<id>` be anything: ids have slashes in them, and any Unicode."""

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}/*$") -> re.Pattern[str]:
        return re.compile(base_regex.format(re.sub(r"<(\w+)>", r"(?P<\1>.+)", rule)))


def _json_body(text: str) -> dict[str, Any]:
    body = api.parse_json(text)
    if not isinstance(body, dict):  # of a list, Powertools would take the first element
        raise InvalidInput("the body must be a JSON object")
    return body


app = _Resolver(
    cors=CORSConfig(expose_headers=["Retry-After"], max_age=3_600),
    enable_validation=True,
    json_body_deserializer=_json_body,
    serializer=lambda value: to_json(value, inf_nan_mode="null").decode(),
)


def explain(error: Exception) -> tuple[HTTPStatus, api.ErrorDetail]:
    """What the caller is told of `error`; the log has the rest."""
    if isinstance(error, RequestValidationError):
        source, *field = error.errors()[0]["loc"]
        if source != "response":  # what we answered ourselves is no fault of the caller
            error = api.invalid({**error.errors()[0], "loc": field})
    elif isinstance(error, UnicodeDecodeError | binascii.Error):  # the body came in base64
        error = InvalidInput("the body isn't JSON in UTF-8")
    status, detail = api.explain(error)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        logger.error("unexpected error", exc_info=error)
        detail.message += f" as request {app.lambda_context.aws_request_id}"
    else:  # without the index nobody can search: whoever runs this should hear of it
        our_side = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
        log = logger.warning if our_side else logger.info
        log("refused", status=status, code=detail.code, reason=str(error))
    return status, detail


@app.exception_handler(Exception)  # type: ignore[untyped-decorator]
def on_error(error: Exception) -> Response[str]:
    """Answer an error."""
    status, detail = explain(error)
    return _error(status, detail, {"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else {})


@app.not_found
def on_no_route(_: NotFoundError) -> Response[str]:
    """Answer a path that no route has, or none with this method."""
    routes = [route for route in app._static_routes + app._dynamic_routes if route.rule.match(app.current_event.path)]
    if methods := ", ".join(sorted({route.method for route in routes})):
        detail = api.ErrorDetail(code="method_not_allowed", message=f"this route takes {methods}")
        return _error(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": methods})
    detail = api.ErrorDetail(code="no_such_route", message="there is no such route: see /openapi.json")
    return _error(HTTPStatus.NOT_FOUND, detail, {})


def _error(status: HTTPStatus, detail: api.ErrorDetail, headers: dict[str, str]) -> Response[str]:
    body = api.ErrorAnswer(error=detail).model_dump_json(exclude_none=True)
    return Response(status, "application/json", body, headers)


K = Annotated[api.K, params.Query()]
Offset = Annotated[api.Offset, params.Query()]
FilterJson = Annotated[str | None, params.Query(description="A filter in JSON, such as POST /search takes")]
Id = Annotated[
    str,
    params.Path(
        description="Id of an indexed image; its slashes may be percent-encoded or not", examples=[api.EXAMPLE_ID]
    ),
]


@app.post(
    "/search",
    summary="Search by words, by an image, or by an indexed image",
    description="The full search. An image is sent in the request, or fetched from its public URL.",
    operation_id="search",
    tags=["Search"],
    responses=responses("Images found, best first", 400, 404, 413, 415, 422),
)
def search(request: api.SearchRequest) -> api.SearchResponse:
    """The full search."""
    return find(request)


@app.get(
    "/search",
    summary="Search by words",
    description="The search for links and for curl.",
    operation_id="searchByWords",
    tags=["Search"],
    responses=responses("Images found, best first", 400, 413),
)
def search_by_words(
    q: Annotated[api.Words, params.Query()], k: K = 20, offset: Offset = 0, filter: FilterJson = None
) -> api.SearchResponse:
    """The search for links and for curl."""
    _no_parameters_but("q", "k", "offset", "filter")
    condition = None if filter is None else api.parse_json(filter, "filter")
    return find(api.parse(api.SearchRequest, {"text": q, "k": k, "offset": offset, "filter": condition}))


@app.get(
    "/images/<id>/similar",
    summary="Search by an indexed image",
    description="More like this.",
    operation_id="similarImages",
    tags=["Search"],
    responses=responses("Images found, best first, the image itself not among them", 400, 404, 413),
)
def similar(id: Id, k: K = 20, offset: Offset = 0) -> api.SearchResponse:
    """More like this."""
    _no_parameters_but("k", "offset")
    return find(api.parse(api.SearchRequest, {"id": unquote(id), "k": k, "offset": offset}))


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


def _no_parameters_but(*known: str) -> None:
    if unknown := app.current_event.query_string_parameters.keys() - set(known):
        name = min(unknown)[:100]
        raise InvalidInput(f"{name}: there is no such parameter; there are {', '.join(known)}", name)


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
        status, detail = explain(error)
        body = api.ErrorAnswer(error=detail).model_dump(exclude_none=True)
        return {"status_code": status.value, "message": detail.message, "body": body}


@logger.inject_lambda_context(correlation_id_path=API_GATEWAY_REST, clear_state=True)
@tracer.capture_lambda_handler(capture_response=False)
@metrics.log_metrics
def lambda_handler(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Answer what Lambda was invoked with."""
    if isinstance(event, dict) and "httpMethod" in event:
        # A body is JSON, whatever it is called: curl calls it a form.
        headers = {**(event.get("headers") or {}), "content-type": "application/json"}
        answer = app.resolve({**event, "headers": headers}, context)
        answer["multiValueHeaders"] = HEADERS | answer["multiValueHeaders"]
        status = answer["statusCode"]
    else:
        app.lambda_context = context
        answer = answer_directly(event)
        status = answer["status_code"]
    metrics.add_metric(f"Status{status // 100}xx", MetricUnit.Count, 1)
    return answer
