"""What may be asked for."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict, JsonValue
from pydantic_core import PydanticCustomError

from imagesearch.api.errors import parse
from imagesearch.api.examples import EXAMPLE_ID, EXAMPLE_SEARCHES
from imagesearch.api.fields import (
    MAX_BATCH,
    MAX_TERMS,
    CompactQuery,
    CursorText,
    FacetFields,
    FilterObject,
    Group,
    ImageFile,
    ImageId,
    ImageIds,
    ImageUrl,
    K,
    MatchBy,
    MinConfidence,
    Offset,
    Weight,
    Words,
)
from imagesearch.index.base import MAX_RESULTS

KINDS = ("text", "image", "image_url", "id")
"""What a term, and the simplest query, may be by."""
QUERIES = (*KINDS, "terms", "query", "cursor")
"""What a search may be by."""
WITH_CURSOR = {"cursor", "k"}

MAX_BATCH_K = 2_000
"""Results of all searches of a batch together: an answer of a Lambda function may have 6 MB."""


_NULL: JsonDict = {"type": "null"}


def _one_of(names: tuple[str, ...], **beside: JsonDict) -> list[JsonValue]:
    """JSON Schema's word for exactly one of these having a value; `beside` is what holds for other fields."""
    return [{"required": [name], "properties": {**beside, name: {"not": _NULL}}} for name in names]


def _exactly_one(model: BaseModel, names: tuple[str, ...]) -> str:
    """The one of these fields that has a value; otherwise an error that lists them."""
    given = [name for name in names if getattr(model, name) is not None]
    if len(given) != 1:
        found = f"not {' and '.join(given)}" if given else "there is none"
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        raise PydanticCustomError("one_query", "{why}", {"why": f"give exactly one of {listed}; {found}"})
    return given[0]


class SearchTerm(BaseModel):
    """One part of a query: exactly one of `text`, `image`, `image_url` and `id`, and how much it counts."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [{"text": "a horse"}, {"text": "grass", "weight": -0.5}, {"id": EXAMPLE_ID, "weight": 2}],
            "oneOf": _one_of(KINDS),
        },
    )

    text: Words | None = None
    image: ImageFile | None = None
    image_url: ImageUrl | None = None
    id: ImageId | None = None
    weight: Weight = 1.0

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        _exactly_one(self, KINDS)
        if self.weight == 0:
            raise PydanticCustomError("zero_weight", "a weight of 0 says nothing: leave the term out")
        return self


_ABSENT: JsonDict = dict.fromkeys(QUERIES, _NULL)


class SearchRequest(BaseModel):
    """What to search for, and how many results, of which.

    Exactly one of `text`, `image`, `image_url`, `id`, `terms`, `query` and `cursor`; or `like` alone.
    """

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": EXAMPLE_SEARCHES,
            "oneOf": [
                *_one_of(QUERIES[:-1], cursor=_NULL),
                {"required": ["like"], "properties": {**_ABSENT, "like": {"minItems": 1}}},
                {
                    "required": ["cursor"],
                    "properties": {
                        **_ABSENT,
                        "cursor": {"not": _NULL},
                        "like": {"maxItems": 0},
                        "unlike": {"maxItems": 0},
                        "offset": {"const": 0},
                        "filter": _NULL,
                        "match": {"const": "vector"},
                        "facets": {"maxItems": 0},
                        "min_confidence": _NULL,
                        "group": {"const": False},
                    },
                },
            ],
        },
    )

    text: Words | None = None
    image: ImageFile | None = None
    image_url: ImageUrl | None = None
    id: ImageId | None = None
    terms: (
        Annotated[
            list[SearchTerm],
            Field(min_length=1, max_length=MAX_TERMS, description="Parts that are added up to one query"),
        ]
        | None
    ) = None
    query: CompactQuery | None = None
    cursor: CursorText | None = None
    like: ImageIds = []
    unlike: ImageIds = []
    k: K = 20
    offset: Offset = 0
    filter: FilterObject | None = None
    match: MatchBy = "vector"
    facets: FacetFields = []
    min_confidence: MinConfidence | None = None
    group: Group = False

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        if self.cursor is not None:
            self._cursor_alone()
        elif not (self.like and all(getattr(self, name) is None for name in QUERIES)):
            _exactly_one(self, QUERIES)
        if self.offset + self.k > MAX_RESULTS:
            raise PydanticCustomError("too_deep", f"offset + k may be at most {MAX_RESULTS:,}")
        return self

    def _cursor_alone(self) -> None:
        beside = [
            name
            for name, field in type(self).model_fields.items()
            if name not in WITH_CURSOR and getattr(self, name) != field.default
        ]
        if beside:
            raise PydanticCustomError(
                "cursor_alone",
                "a cursor goes on with the search that it comes from: leave out {beside}; only k may stand beside it",
                {"beside": " and ".join(beside)},
            )


class BatchRequest(BaseModel):
    """Many searches, answered together."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        json_schema_extra={"examples": [{"searches": [{"text": "two dogs", "k": 5}, {"id": EXAMPLE_ID, "k": 5}]}]},
    )

    searches: Annotated[
        list[Annotated[SearchRequest | dict[str, Any], Field(union_mode="left_to_right")]],
        Field(
            min_length=1,
            max_length=MAX_BATCH,
            description=f"Searches as POST /search takes them, without cursor; their k add up to at most "
            f"{MAX_BATCH_K:,}. One that isn't valid has an error for its answer",
        ),
    ]


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
