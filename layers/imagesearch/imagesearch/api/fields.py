"""The fields of requests: their types, their limits, and what the OpenAPI document says of them."""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from imagesearch.api.examples import EXAMPLE_FILTER, EXAMPLE_ID
from imagesearch.compact import MAX_WEIGHT
from imagesearch.index.base import MAX_RESULTS
from imagesearch.query import Match

MAX_K = 100
"""Results of one request: each carries a signed URL, and an answer of a Lambda function may have 6 MB."""
MAX_KNN = 200
"""Results of one request in the form of clip-retrieval, which asks for them all at once."""
MAX_TERMS = 16
"""Terms of one query; each image among them costs as much as a search by it."""
MAX_IDS = 50
"""Ids of one list."""
MAX_BATCH = 100
"""Searches of one batch."""
MAX_CURSOR = 1_000_000
"""Characters of a cursor: 500 ids of the greatest length, which compress badly."""


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
CompactQuery = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4_000),
    Field(
        description='Terms in one line: words, "text in quotes", + and - before what is wanted and what isn\'t, '
        "weights such as 0.5*, id:… and image_url:…; see docs/search.md",
        examples=['horse +"white mane" -0.5*"green grass" id:dog.jpg'],
    ),
]
Weight = Annotated[
    float,
    Field(
        ge=-MAX_WEIGHT,
        le=MAX_WEIGHT,
        description="How much it counts beside the other terms; below 0, it is unwanted. Not 0",
        json_schema_extra={"not": {"const": 0}},
    ),
]
IdText = Annotated[str, StringConstraints(min_length=1, max_length=1_024)]
ImageIds = Annotated[
    list[IdText],
    Field(
        max_length=MAX_IDS,
        description="Ids of indexed images that were found to be good, or bad; they aren't among the results",
        examples=[[EXAMPLE_ID]],
    ),
]
K = Annotated[int, Field(ge=1, le=MAX_K, description="How many results to give"), BeforeValidator(_whole)]
KnnK = Annotated[int, Field(ge=1, le=MAX_KNN, description="How many results to give"), BeforeValidator(_whole)]
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
MatchBy = Annotated[
    Match,
    Field(
        description="`vector`: what looks like it. `words`: what has the words in its title, description or tags. "
        "`hybrid`: both; the last two need text"
    ),
]
FacetField = Literal["tags", "color", "credit", "format", "orientation", "year"]
FacetFields = Annotated[
    list[FacetField],
    Field(
        max_length=6,
        description="Fields whose most frequent values to count among the best 1,000",
        examples=[["tags", "year"]],
    ),
]
MinConfidence = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Leave out hits that are less sure. Without statistics of the collection it has no effect",
    ),
]
Group = Annotated[
    bool, Field(description="Put near-duplicates behind the best of them, instead of giving each its hit")
]
CursorText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=MAX_CURSOR),
    Field(description="The `cursor` of an answer: gives its next page. Beside it only `k` may stand. Good for an hour"),
]
