"""The API without the web: what requests may hold, what answers look like, what errors mean to a caller.

The OpenAPI document is made from these models.
"""

from imagesearch.api.answers import (
    Answer,
    BatchResponse,
    FacetCount,
    Health,
    HealthIndex,
    HealthModel,
    ImageDocument,
    SearchHit,
    SearchResponse,
    SimilarImage,
    Took,
)
from imagesearch.api.errors import ErrorAnswer, ErrorDetail, explain, invalid, parse, parse_json
from imagesearch.api.examples import EXAMPLE_ID
from imagesearch.api.fields import (
    MAX_BATCH,
    MAX_IDS,
    MAX_K,
    MAX_TERMS,
    CompactQuery,
    FacetField,
    Group,
    IdText,
    ImageId,
    K,
    MatchBy,
    MinConfidence,
    Offset,
    Words,
)
from imagesearch.api.knn import KnnHit, KnnRequest
from imagesearch.api.requests import BatchRequest, DirectRequest, SearchRequest, SearchTerm

__all__ = [
    "EXAMPLE_ID",
    "MAX_BATCH",
    "MAX_IDS",
    "MAX_K",
    "MAX_TERMS",
    "Answer",
    "BatchRequest",
    "BatchResponse",
    "CompactQuery",
    "DirectRequest",
    "ErrorAnswer",
    "ErrorDetail",
    "FacetCount",
    "FacetField",
    "Group",
    "Health",
    "HealthIndex",
    "HealthModel",
    "IdText",
    "ImageDocument",
    "ImageId",
    "K",
    "KnnHit",
    "KnnRequest",
    "MatchBy",
    "MinConfidence",
    "Offset",
    "SearchHit",
    "SearchRequest",
    "SearchResponse",
    "SearchTerm",
    "SimilarImage",
    "Took",
    "Words",
    "explain",
    "invalid",
    "parse",
    "parse_json",
]
