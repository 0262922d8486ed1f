"""What is answered."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from imagesearch.api.errors import ErrorAnswer
from imagesearch.api.examples import EXAMPLE_ANSWER, EXAMPLE_HIT, EXAMPLE_IMAGE, EXAMPLE_TOOK
from imagesearch.clip.model import ModelInfo
from imagesearch.records import ImageMetadata


class ImageDocument(ImageMetadata):
    """An indexed image."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_IMAGE]})

    id: str
    url: str | None = Field(description="Where a browser finds the image, for some minutes; null if it has no URL")


class SimilarImage(BaseModel):
    """A near-duplicate of a hit."""

    id: str
    score: float = Field(description="As of a hit")
    url: str | None = Field(description="As of a hit")


class SearchHit(ImageDocument):
    """An image found."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_HIT]})

    score: float = Field(
        description="Cosine of query and image, -1 to 1; where words are matched, the BM25 score, and of `hybrid` the "
        "fused one, which order the hits of one search and mean nothing beside others"
    )
    confidence: float | None = Field(
        None,
        description="How unlikely so good a match would be if nothing in the collection were what was searched for, "
        "0 to 1; null where the collection's statistics aren't known",
    )
    similar: list[SimilarImage] = Field(
        [], description="With `group`: near-duplicates of it that were found, best first, at most 24"
    )
    similar_count: int = Field(0, description="With `group`: how many near-duplicates of it were found")


class FacetCount(BaseModel):
    """One value of a field, and how many of the images found have it."""

    value: str
    count: int


class Took(BaseModel):
    """Where the time went, in milliseconds."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_TOOK]})

    encode_ms: float = Field(description="Turning the query into a vector")
    search_ms: float = Field(description="Searching the index")
    sign_ms: float = Field(description="Making the URLs of the images")


class Answer(BaseModel):
    """The images found, best first."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ANSWER]})

    hits: list[SearchHit]
    k: int
    offset: int = Field(description="How many results come before these")
    cursor: str | None = Field(None, description="Send it as `cursor` for the next page; null on the last one")
    facets: dict[str, list[FacetCount]] = Field(
        {}, description="The most frequent values of each field that was asked for; not on later pages of a cursor"
    )
    no_good_match: bool = Field(False, description="Whether images were found, but none as sure as `min_confidence`")


class SearchResponse(Answer):
    """The images found, best first, and how long it took."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_ANSWER, "took": EXAMPLE_TOOK}]})

    took: Took


class BatchResponse(BaseModel):
    """The answers to the searches of a batch, in their order, and how long it took in all."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answers": [
                        EXAMPLE_ANSWER,
                        {"error": {"code": "not_found", "message": "no image has the id 'holidays/2024/cat.jpg'"}},
                    ],
                    "took": EXAMPLE_TOOK,
                }
            ]
        }
    )

    answers: list[Answer | ErrorAnswer]
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
