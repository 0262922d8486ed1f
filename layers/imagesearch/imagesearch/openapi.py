"""What the OpenAPI document says besides what the routes and the models say themselves: errors, and how to read them.

Some answers come from API Gateway, in front of the function: the document has them too, in the words of template.yaml.
"""

from copy import deepcopy
from http import HTTPStatus
from typing import Any

from imagesearch.api.errors import ErrorAnswer, ErrorDetail

ALWAYS = (403, 429, 500, 503, 504)
"""Errors that every request may meet."""

_ERRORS: dict[int, tuple[str, list[ErrorDetail]]] = {
    400: (
        "The request isn't valid; `field` names the part that is at fault",
        [
            ErrorDetail(code="invalid_input", message="k: Input should be less than or equal to 100", field="k"),
            ErrorDetail(code="invalid_filter", message="there is no field 'colour'", field="filter"),
        ],
    ),
    403: (
        "There is no valid API key in the header x-api-key",
        [ErrorDetail(code="no_key", message="send a valid API key in the header x-api-key", field=None)],
    ),
    404: (
        "No indexed image has this id",
        [ErrorDetail(code="not_found", message="no image has the id 'holidays/2024/dog.jpg'", field=None)],
    ),
    413: (
        "The request, or a part of it, is too large",
        [
            ErrorDetail(code="too_large", message="the request is too large: a picture may have some 4 MB", field=None),
            ErrorDetail(code="invalid_image", message="the image is larger than 20,000,000 bytes", field="image_url"),
        ],
    ),
    415: (
        "What was sent or linked is no image, or of a format that isn't supported",
        [ErrorDetail(code="invalid_image", message="the file isn't an image", field="image")],
    ),
    422: (
        "The image is damaged, or its URL can't be fetched",
        [
            ErrorDetail(code="unreachable_url", message="the URL must start with https://", field="image_url"),
            ErrorDetail(code="invalid_image", message="the image is damaged or cut off", field="image"),
        ],
    ),
    429: (
        "Too many requests: for the API, for this API key today, or for the index",
        [
            ErrorDetail(
                code="too_many_requests", message="too many requests at once: try again in a second", field=None
            ),
            ErrorDetail(
                code="quota_exceeded",
                message="the requests that this API key is good for today are used up",
                field=None,
            ),
            ErrorDetail(code="index_overloaded", message="the index is overloaded: try again in a second", field=None),
        ],
    ),
    500: (
        "Something went wrong on our side",
        [
            ErrorDetail(
                code="internal_error",
                message="something went wrong on our side, and is in the log as request 2b1e3c7a-…",
                field=None,
            )
        ],
    ),
    503: (
        "The index doesn't answer",
        [ErrorDetail(code="index_unavailable", message="the index doesn't answer: try again later", field=None)],
    ),
    504: (
        "It took longer than API Gateway waits",
        [ErrorDetail(code="timeout", message="the search took too long: try again", field=None)],
    ),
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait; absent when the requests of a day are used up",
        "schema": {"type": "integer"},
    }
}


def responses(meaning: str, *errors: int) -> dict[int, Any]:
    """The answers of a route, as Powertools takes them: what 200 means, the statuses `errors`, and those of ALWAYS."""
    answers: dict[int, Any] = {HTTPStatus.OK.value: {"description": meaning}}
    for status in sorted({*errors, *ALWAYS}):
        description, details = _ERRORS[status]
        examples = {
            detail.code: {"value": ErrorAnswer(error=detail).model_dump(exclude_none=True)} for detail in details
        }
        content = {"application/json": {"model": ErrorAnswer, "examples": examples}}
        answers[status] = {"description": description, "content": content}
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            answers[status]["headers"] = _RETRY_AFTER
    return answers


def finish(document: dict[str, Any]) -> dict[str, Any]:
    """`document` as Powertools makes it, but true to what is answered.

    Powertools describes answers of its own to invalid requests, which ours take the place of; and it has no way to say
    that a parameter is JSON, or that it may be left out but can't be null.
    """
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError", "ResponseValidationError"):
        del schemas[name]
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        if "HTTPValidationError" in str(operation["responses"]["422"]):
            del operation["responses"]["422"]
        operation["responses"] = dict(sorted(operation["responses"].items()))
        for parameter in operation.get("parameters", ()):
            # A query string has no null: a parameter that may be absent is left out.
            parameter["schema"] = _without_null(parameter["schema"])
            if parameter["name"] == "filter":
                del parameter["schema"]
                parameter["content"] = {
                    "application/json": {"schema": deepcopy(schemas["SearchRequest"]["properties"]["filter"])}
                }
    return document


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    match schema:
        case {"anyOf": [dict(given), {"type": "null"}], **rest}:
            return {**rest, **given}
    return schema
