"""The web in front of the API: routes and errors of a REST API on API Gateway, on Powertools' event handler.

Only the query function imports this: the library itself doesn't need Powertools.
"""

import binascii
import re
from http import HTTPStatus
from typing import Any, TypeVar

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, CORSConfig, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.event_handler.openapi.exceptions import RequestValidationError
from pydantic_core import to_json

from imagesearch import api
from imagesearch.errors import InvalidInput

Body = TypeVar("Body")

HEADERS = {"X-Content-Type-Options": ["nosniff"], "Referrer-Policy": ["no-referrer"], "Cache-Control": ["no-store"]}
MAX_ANSWER_BYTES = 5_800_000
"""A function's answer may have 6 MB, headers and the JSON around it included:
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


class Resolver(APIGatewayRestResolver):
    """Finds the route of an event, checks what it asks for, and answers errors in the form of `api.ErrorAnswer`."""

    def __init__(self, logger: Logger) -> None:
        super().__init__(
            cors=CORSConfig(expose_headers=["Retry-After", "Server-Timing"], max_age=3_600),
            enable_validation=True,
            json_body_deserializer=_json_body,
            serializer=lambda value: to_json(value, inf_nan_mode="null").decode(),
        )
        self._log = logger
        self.exception_handler(Exception)(self._on_error)
        self.not_found(self._on_no_route)

    def answer(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        """What API Gateway is to send for `event`."""
        # A body is JSON, whatever it is called: curl calls it a form.
        headers = {**(event.get("headers") or {}), "content-type": "application/json"}
        answer: dict[str, Any] = self.resolve({**event, "headers": headers}, context)
        if len(answer["body"].encode()) > MAX_ANSWER_BYTES:
            detail = api.ErrorDetail(
                code="answer_too_large",
                message="the answer would be larger than 6 MB: ask for fewer results at once",
                field=None,
            )
            answer |= {"statusCode": HTTPStatus.BAD_REQUEST.value, "body": _json(detail), "isBase64Encoded": False}
        answer["multiValueHeaders"] = HEADERS | answer["multiValueHeaders"]
        return answer

    def explain(self, error: Exception) -> tuple[HTTPStatus, api.ErrorDetail]:
        """What the caller is told of `error`; the log has the rest."""
        if isinstance(error, RequestValidationError):
            source, *field = error.errors()[0]["loc"]
            if source != "response":  # what we answered ourselves is no fault of the caller
                error = api.invalid({**error.errors()[0], "loc": field})
        elif isinstance(error, UnicodeDecodeError | binascii.Error):  # the body came in base64
            error = InvalidInput("the body isn't JSON in UTF-8")
        status, detail = api.explain(error)
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self._log.error("unexpected error", exc_info=error)
            detail.message += f" as request {self.lambda_context.aws_request_id}"
        else:  # without the index nobody can search: whoever runs this should hear of it
            our_side = status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
            log = self._log.warning if our_side else self._log.info
            log("refused", status=status, code=detail.code, reason=str(error))
        return status, detail

    def no_parameters_but(self, *known: str) -> None:
        """Nothing, if the query string of the event has no others.

        Raises:
            InvalidInput: it has.
        """
        if unknown := self.current_event.query_string_parameters.keys() - set(known):
            name = min(unknown)[:100]
            raise InvalidInput(f"{name}: there is no such parameter; there are {', '.join(known)}", name)

    @staticmethod
    def _compile_regex(rule: str, base_regex: str = "^{}/*$") -> re.Pattern[str]:
        """Let `<id>` be anything: ids have slashes in them, and any Unicode."""
        return re.compile(base_regex.format(re.sub(r"<(\w+)>", r"(?P<\1>.+)", rule)))

    def _on_error(self, error: Exception) -> Response[str]:
        status, detail = self.explain(error)
        return _error(status, detail, {"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else {})

    def _on_no_route(self, _: NotFoundError) -> Response[str]:
        """Answer a path that no route has, or none with this method."""
        routes = [
            route for route in self._static_routes + self._dynamic_routes if route.rule.match(self.current_event.path)
        ]
        if methods := ", ".join(sorted({route.method for route in routes})):
            detail = api.ErrorDetail(code="method_not_allowed", message=f"this route takes {methods}", field=None)
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, detail, {"Allow": methods})
        message = "there is no such route: see /openapi.json"
        return _error(HTTPStatus.NOT_FOUND, api.ErrorDetail(code="no_such_route", message=message, field=None), {})


def timed(body: Body, took: api.Took) -> Response[Body]:
    """An answer with a header that browsers and proxies know how to show: https://www.w3.org/TR/server-timing/."""
    times = {"encode": took.encode_ms, "search": took.search_ms, "sign": took.sign_ms}
    header = ", ".join(f"{name};dur={milliseconds:.1f}" for name, milliseconds in times.items())
    return Response(HTTPStatus.OK, "application/json", body, {"Server-Timing": header})


def _json_body(text: str) -> dict[str, Any]:
    body = api.parse_json(text)
    if not isinstance(body, dict):  # of a list, Powertools would take the first element
        raise InvalidInput("the body must be a JSON object")
    return body


def _error(status: HTTPStatus, detail: api.ErrorDetail, headers: dict[str, str]) -> Response[str]:
    return Response(status, "application/json", _json(detail), headers)


def _json(detail: api.ErrorDetail) -> str:
    return api.ErrorAnswer(error=detail).model_dump_json(exclude_none=True)
