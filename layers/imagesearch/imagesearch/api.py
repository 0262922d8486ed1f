"""The API without the web: what requests may hold, what answers look like, what errors mean to a caller.

The OpenAPI document is made from these models.
"""

import base64
import binascii
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError, from_json

from imagesearch.clip.model import ModelInfo
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
from imagesearch.index.base import MAX_RESULTS
from imagesearch.records import ImageMetadata

Model = TypeVar("Model", bound=BaseModel)

MAX_K = 100
"""Results of one request: each carries a signed URL, and an answer of a Lambda function may have 6 MB."""

EXAMPLE_ID = "holidays/2024/dog.jpg"
EXAMPLE_IMAGE: JsonDict = {
    "id": EXAMPLE_ID,
    "url": "https://photos.s3.eu-west-1.amazonaws.com/holidays/2024/dog.jpg?X-Amz-Algorithm=…",
    "uri": "s3://photos/holidays/2024/dog.jpg",
    "width": 4000,
    "height": 3000,
    "format": "jpeg",
    "tags": ["dog", "beach"],
}
EXAMPLE_HIT: JsonDict = {**EXAMPLE_IMAGE, "score": 0.31}
EXAMPLE_FILTER: JsonDict = {"tags": {"any_of": ["dog", "cat"]}, "width": {"gte": 1000}}


def _decode_base64(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.startswith("data:"):
        value = value.partition(",")[2]
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise PydanticCustomError("base64", "must be the base64 encoding of an image file") from None


def _whole(value: object) -> object:
    """JSON has one kind of number, and JSON Schema calls 20.0 an integer: some clients write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Words = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000),
    Field(
        description="What the image shows, in words. CLIP reads the first 75 tokens only",
        examples=["two dogs on a beach"],
        json_schema_extra={"pattern": r"\S"},  # that it isn't blank: the lengths are those without blanks around
    ),
]
ImageFile = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    WithJsonSchema(
        {
            "type": "string",
            "contentEncoding": "base64",
            "description": "An image file that results should look like, in base64; a data: URL will do",
        }
    ),
]
ImageUrl = Annotated[
    str,
    StringConstraints(min_length=1, max_length=8_192),
    Field(
        description="A public https:// URL of an image that results should look like",
        examples=["https://example.com/dog.jpg"],
    ),
]
ImageId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=1_024),
    Field(description="Id of an indexed image that results should look like", examples=[EXAMPLE_ID]),
]
K = Annotated[int, Field(ge=1, le=MAX_K, description="How many results to give"), BeforeValidator(_whole)]
Offset = Annotated[
    int,
    Field(ge=0, lt=MAX_RESULTS, description=f"How many results to skip; offset + k is at most {MAX_RESULTS:,}"),
    BeforeValidator(_whole),
]
FilterObject = Annotated[
    dict[str, Any],
    Field(
        description="Members that must all hold: a value, `any_of`, `all_of`, `gt`, `gte`, `lt`, `lte`, `near`, "
        "`exists`; or `and`, `or`, `not`",
        examples=[EXAMPLE_FILTER],
    ),
]


class SearchRequest(BaseModel):
    """What to search for: exactly one of `text`, `image`, `image_url` and `id`, and how many results, of which."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {"text": "two dogs on a beach", "k": 10},
                {"text": "sunset", "filter": EXAMPLE_FILTER},
                {"image_url": "https://example.com/dog.jpg"},
                {"id": EXAMPLE_ID, "offset": 20},
            ],
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "string"}}}
                for name in ("text", "image", "image_url", "id")
            ],
        },
    )

    text: Words | None = None
    image: ImageFile | None = None
    image_url: ImageUrl | None = None
    id: ImageId | None = None
    k: K = 20
    offset: Offset = 0
    filter: FilterObject | None = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        given = [name for name in ("text", "image", "image_url", "id") if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "there is none"
            raise PydanticCustomError("one_query", f"give exactly one of text, image, image_url and id; {found}")
        if self.offset + self.k > MAX_RESULTS:
            raise PydanticCustomError("too_deep", f"offset + k may be at most {MAX_RESULTS:,}")
        return self


class DirectRequest(BaseModel):
    """What the function is sent when it is invoked directly, not through the API."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    query: str
    input_type: Literal["text", "image", "image_url"] = "text"
    k: int = 20
    offset: int = 0
    filter: dict[str, Any] | None = None

    def search_request(self) -> SearchRequest:
        """The same as a request of the API. An image may be given by its URL too.

        Raises:
            InvalidInput: as a request of the API it isn't valid.
        """
        field: str = self.input_type
        if field == "image" and self.query.startswith(("https://", "http://")):
            field = "image_url"
        rest = self.model_dump(include={"k", "offset", "filter"})
        return parse(SearchRequest, {field: self.query, **rest})


class ImageDocument(ImageMetadata):
    """An indexed image."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_IMAGE]})

    id: str
    url: str | None = Field(description="Where a browser finds the image, for some minutes; null if it has no URL")


class SearchHit(ImageDocument):
    """An image found."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_HIT]})

    score: float = Field(description="Cosine of query and image, -1 to 1")


class Took(BaseModel):
    """Where the time went, in milliseconds."""

    encode_ms: float = Field(description="Turning the query into a vector")
    search_ms: float = Field(description="Searching the index")
    sign_ms: float = Field(description="Making the URLs of the images")


class SearchResponse(BaseModel):
    """The images found, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "hits": [EXAMPLE_HIT],
                    "k": 1,
                    "offset": 0,
                    "took": {"encode_ms": 21.0, "search_ms": 6.5, "sign_ms": 0.5},
                }
            ]
        }
    )

    hits: list[SearchHit]
    k: int
    offset: int
    took: Took


class HealthModel(BaseModel):
    """The model that encodes queries."""

    name: str
    pretrained: str
    fingerprint: str
    embed_dim: int

    @classmethod
    def of(cls, info: ModelInfo) -> "HealthModel":
        """What of `info` concerns a caller."""
        return cls(name=info.name, pretrained=info.pretrained, fingerprint=info.fingerprint, embed_dim=info.embed_dim)


class HealthIndex(BaseModel):
    """The index that is searched."""

    name: str
    available: bool
    count: int | None = Field(description="Images indexed; null if the index doesn't answer")
    message: str | None = Field(None, description="What is wrong")


class Health(BaseModel):
    """Whether searches can be answered."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "ok",
                    "model": {
                        "name": "ViT-B-32-quickgelu",
                        "pretrained": "openai",
                        "fingerprint": "0123456789ab",
                        "embed_dim": 512,
                    },
                    "index": {"name": "images-0123456789ab", "available": True, "count": 25_000, "message": None},
                }
            ]
        }
    )

    status: Literal["ok", "unavailable"]
    model: HealthModel
    index: HealthIndex


class ErrorDetail(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable and machine-readable", examples=["invalid_input"])
    message: str = Field(description="For people: what was wrong and what would be right")
    field: str | None = Field(None, description="The part of the request that is at fault", examples=["k"])


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
