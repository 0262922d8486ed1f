"""Examples in the OpenAPI document, each of which the function really answers."""

from pydantic.config import JsonDict, JsonValue

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
EXAMPLE_HIT: JsonDict = {**EXAMPLE_IMAGE, "score": 0.31, "confidence": 0.93, "similar": [], "similar_count": 0}
EXAMPLE_FILTER: JsonDict = {"tags": {"any_of": ["dog", "cat"]}, "width": {"gte": 1000}}
EXAMPLE_TOOK: JsonDict = {"encode_ms": 21.0, "search_ms": 6.5, "sign_ms": 0.5}
EXAMPLE_ANSWER: JsonDict = {
    "hits": [EXAMPLE_HIT],
    "k": 1,
    "offset": 0,
    "cursor": None,
    "facets": {"tags": [{"value": "dog", "count": 12}, {"value": "beach", "count": 3}]},
    "no_good_match": False,
}
EXAMPLE_SEARCHES: list[JsonValue] = [
    {"text": "two dogs on a beach", "k": 10},
    {"text": "sunset", "filter": EXAMPLE_FILTER, "facets": ["tags", "year"]},
    {"image_url": "https://example.com/dog.jpg"},
    {"id": EXAMPLE_ID, "offset": 20},
    {"terms": [{"text": "a horse"}, {"image_url": "https://example.com/zebra.jpg", "weight": 0.5}]},
    {"query": 'horse +"white mane" -0.5*"green grass"'},
    {"text": "a beach", "like": [EXAMPLE_ID], "min_confidence": 0.5},
    {"text": "IMG_0042", "match": "hybrid", "group": True},
]
