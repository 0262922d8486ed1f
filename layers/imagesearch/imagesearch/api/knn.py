"""The request and the answer of clip-retrieval's service, for programs that were written for it.

Made after `ClipClient` and `KnnService` of clip-retrieval 2.45.0 (https://github.com/rom1504/clip-retrieval). What has
no counterpart here is taken and has no effect: there is one index, and no model of safety, violence or beauty.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from imagesearch.api.examples import EXAMPLE_ID
from imagesearch.api.fields import ImageFile, ImageUrl, KnnK, Words

MAX_DIM = 4_096

_NOT_EMPTY: JsonDict = {"type": "string", "minLength": 1}
_IGNORED = "Has no effect here"


class KnnRequest(BaseModel):
    """What `ClipClient.query` of clip-retrieval sends: one of `text`, `image`, `image_url` and `embedding_input`."""

    model_config = ConfigDict(
        extra="ignore",
        strict=True,
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "text": "two dogs",
                    "modality": "image",
                    "num_images": 40,
                    "indice_name": "photos",
                    "deduplicate": True,
                }
            ],
            "oneOf": [
                {"required": ["text"], "properties": {"text": _NOT_EMPTY}},
                {"required": ["image"], "properties": {"image": _NOT_EMPTY}},
                {"required": ["image_url"], "properties": {"image_url": _NOT_EMPTY}},
                {"required": ["embedding_input"], "properties": {"embedding_input": {"type": "array", "minItems": 1}}},
            ],
        },
    )

    text: Words | Literal[""] | None = None
    image: ImageFile | None = None
    image_url: ImageUrl | None = None
    embedding_input: Annotated[
        list[float] | None,
        Field(max_length=MAX_DIM, description="An embedding of this index's own model; its length doesn't matter"),
    ] = None
    modality: Annotated[Literal["image"], Field(description="What is searched among: here, there are images alone")] = (
        "image"
    )
    num_images: KnnK = 40
    deduplicate: Annotated[bool | None, Field(description="Whether to leave out near-duplicates of better results")] = (
        False
    )
    num_result_ids: Annotated[Any, Field(description=_IGNORED)] = None
    indice_name: Annotated[Any, Field(description=f"{_IGNORED}: there is one index")] = None
    use_mclip: Annotated[Any, Field(description=_IGNORED)] = None
    use_safety_model: Annotated[Any, Field(description=_IGNORED)] = None
    use_violence_detector: Annotated[Any, Field(description=_IGNORED)] = None
    aesthetic_score: Annotated[Any, Field(description=_IGNORED)] = None
    aesthetic_weight: Annotated[Any, Field(description=_IGNORED)] = None

    @model_validator(mode="after")
    def _one_query(self) -> Self:
        given = [name for name in ("text", "image", "image_url", "embedding_input") if getattr(self, name)]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "there is none"
            why = f"give exactly one of text, image, image_url and embedding_input; {found}"
            raise PydanticCustomError("one_query", "{why}", {"why": why})
        return self


class KnnHit(BaseModel):
    """One result as clip-retrieval gives it, but for its id, which here is text."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": EXAMPLE_ID, "similarity": 0.31, "url": "https://photos.example/dog.jpg", "caption": "a dog"}
            ]
        }
    )

    id: str
    similarity: float = Field(description="Cosine of query and image, -1 to 1")
    url: str | None = Field(description="Where a browser finds the image, for some minutes; null if it has no URL")
    caption: str = Field(description="Its title, or else its description; empty where it has neither")
