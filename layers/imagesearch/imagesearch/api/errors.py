"""What errors mean to a caller, and requests read with errors that say what would be right."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from imagesearch.errors import (
    ImageReason,
    IndexOverloaded,
    IndexUnavailable,
    InputTooLarge,
    InvalidImage,
    InvalidInput,
    NotFound,
    UnreachableUrl,
)

Model = TypeVar("Model", bound=BaseModel)


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable and machine-readable", examples=["invalid_input"])
    message: str = Field(description="For people: what was wrong and what would be right")
    field: str | None = Field(
        None, description="The part of the request that is at fault", examples=["k"], exclude_if=lambda field: not field
    )


class ErrorAnswer(BaseModel):
    """The body of every answer with an error status."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "error": {
                        "code": "invalid_input",
                        "message": "k: Input should be less than or equal to 100",
                        "field": "k",
                    }
                }
            ]
        }
    )

    error: ErrorDetail


_STATUS: dict[type[BaseException], HTTPStatus] = {
    InvalidInput: HTTPStatus.BAD_REQUEST,
    InputTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    UnreachableUrl: HTTPStatus.UNPROCESSABLE_ENTITY,
    NotFound: HTTPStatus.NOT_FOUND,
    IndexOverloaded: HTTPStatus.TOO_MANY_REQUESTS,
    IndexUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    Exception: HTTPStatus.INTERNAL_SERVER_ERROR,
}
_IMAGE_STATUS = {
    ImageReason.EMPTY: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImageReason.NOT_AN_IMAGE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ImageReason.UNSUPPORTED_FORMAT: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    ImageReason.CORRUPT: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImageReason.TRUNCATED: HTTPStatus.UNPROCESSABLE_ENTITY,
    ImageReason.TOO_MANY_BYTES: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ImageReason.TOO_MANY_PIXELS: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}
# Of trouble on our side a caller learns what to do; what it was is for the log.
_OUR_SIDE = {
    HTTPStatus.TOO_MANY_REQUESTS: (IndexOverloaded.code, "the index is overloaded: try again in a second"),
    HTTPStatus.SERVICE_UNAVAILABLE: (IndexUnavailable.code, "the index doesn't answer: try again later"),
    HTTPStatus.INTERNAL_SERVER_ERROR: ("internal_error", "something went wrong on our side, and is in the log"),
}


def explain(error: Exception) -> tuple[HTTPStatus, ErrorDetail]:
    """The status and the words in which a caller is told of `error`: 500 unless it is one of those foreseen."""
    if isinstance(error, InvalidImage):
        status = _IMAGE_STATUS[error.reason]
    else:
        status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    if status in _OUR_SIDE:
        code, message = _OUR_SIDE[status]
        return status, ErrorDetail(code=code, message=message, field=None)
    field = error.field if isinstance(error, InvalidInput) else None
    return status, ErrorDetail(code=getattr(error, "code", InvalidInput.code), message=str(error), field=field)


_PLAIN_WORDS = {  # instead of pydantic's
    "extra_forbidden": "there is no such field",
    "missing": "is missing",
    "dict_type": "must be an object",
}


def invalid(problem: Mapping[str, Any]) -> InvalidInput:
    """The error that a problem found by pydantic is, as `ValidationError.errors()` lists them."""
    field = ".".join(str(part) for part in problem["loc"])[:100] or None
    why = _PLAIN_WORDS.get(problem["type"], problem["msg"])
    kind = InputTooLarge if problem["type"] == "string_too_long" else InvalidInput
    return kind(f"{field}: {why}" if field else why, field)


def parse(model: type[Model], fields: object) -> Model:
    """`fields` as a `model`.

    Raises:
        InvalidInput: they aren't valid; `field` names the first that isn't.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False, include_context=False, include_input=False)[0]) from None


def parse_json(text: str, field: str | None = None) -> Any:
    """The value that the JSON `text` stands for; `field` names what it came from, where that isn't the body.

    Raises:
        InvalidInput: it isn't JSON (which has no NaN).
    """
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"{field or 'the body'} isn't JSON: {error}", field) from None
