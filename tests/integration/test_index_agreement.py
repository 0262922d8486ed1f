"""Both indices answer alike: filters, words and facets as plain Python has them, and the same neighbours and scores."""

import math
import operator as operator_module
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from math import cos, sin
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesearch.index import open_index
from imagesearch.index.base import Facet, Float32, Upsert, VectorIndex
from imagesearch.index.facets import FIELDS as FACETS
from imagesearch.index.filters import parse_filter
from imagesearch.index.words import weighted_words, words_of
from imagesearch.records import ImageMetadata

PHOTOS, DIM = 150, 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

rng = np.random.default_rng(0)


def maybe(value: Any) -> Any:
    """Absent in a third of the photos."""
    return value if rng.random() < 0.67 else None


def one_of(*values: Any) -> Any:
    return values[rng.integers(len(values))]


def random_moment() -> datetime:
    moment = datetime(1940, 1, 1) + timedelta(microseconds=int(rng.integers(80 * 365 * 86_400 * 10**6)))
    return moment.replace(tzinfo=one_of(None, UTC, timezone(timedelta(hours=5, minutes=30))))


def random_photo(number: int) -> ImageMetadata:
    extra = {"camera": one_of("Canon", "Nikon", ""), "iso": one_of(100, 100.0, 400, 0.5, True, None)}
    nested = {"exif": {"lens": one_of(["50mm", "f/1.8"], ["50mm"], "85mm")}, "a=b": "c", "a": one_of("b=c", None)}
    return ImageMetadata(
        uri=f"s3://photos/{number % 40}.jpg",
        etag=maybe(one_of("e1", "e2")),
        width=maybe(one_of(0, 640, 1920, 2**53 + 1, 2**63 - 1)),
        height=maybe(int(rng.integers(2_000))),
        format=maybe(one_of("jpeg", "png", "heif")),
        bytes=maybe(int(rng.integers(10**9))),
        title=maybe(one_of("Two dogs", "two dogs", "Strand, früh", "'; DROP TABLE x; --")),
        description=maybe(one_of("", "On a beach.\nAt dawn.")),
        tags=tuple(rng.permutation(["dog", "cat", "beach", "Köln"])[: rng.integers(4)].tolist()),
        color=maybe(one_of("#ff0000", "blue")),
        created_at=maybe(random_moment()),
        lat=maybe(one_of(47.37, float(rng.uniform(-90, 90)), float(rng.uniform(40, 50)))),
        lon=maybe(one_of(8.54, float(rng.uniform(-180, 180)), float(rng.uniform(5, 10)))),
        credit=maybe("Ada"),
        extra=one_of({}, extra, extra | nested),
    )


CORPUS = {f"photo-{number}": random_photo(number) for number in range(PHOTOS)}


# --- the filter language, evaluated in plain Python ----------------------------------------------------------------


def holds(condition: dict[str, Any], id: str, photo: ImageMetadata) -> bool:
    return all(member_holds(name, operand, id, photo) for name, operand in condition.items())


def member_holds(name: str, operand: Any, id: str, photo: ImageMetadata) -> bool:
    if name == "and":
        return all(holds(inner, id, photo) for inner in operand)
    if name == "or":
        return any(holds(inner, id, photo) for inner in operand)
    if name == "not":
        return not holds(operand, id, photo)
    values = field_values(name, id, photo)
    operators = operand if isinstance(operand, dict) else {"any_of": [operand]}
    return all(operator_holds(operator, name, values, argument) for operator, argument in operators.items())


def operator_holds(operator: str, field: str, values: list[Any], argument: Any) -> bool:
    match operator:
        case "exists":
            return bool(values) is argument
        case "near":
            return any(kilometres(place, (argument["lat"], argument["lon"])) <= argument["km"] for place in values)
        case "any_of":
            return any(comparable(field, wanted) in values for wanted in argument)
        case "all_of":
            return set(argument) <= set(values)
    bound = comparable(field, argument)
    compare = {"gt": operator_module.gt, "gte": operator_module.ge, "lt": operator_module.lt, "lte": operator_module.le}
    return any(compare[operator](value, bound) for value in values)


def field_values(field: str, id: str, photo: ImageMetadata) -> list[Any]:
    """The values of a field, as they are compared: none, one, or several."""
    if field == "id":
        return [id]
    if field == "orientation":
        shapes = {-1: "portrait", 0: "square", 1: "landscape"}
        return (
            [shapes[(photo.width > photo.height) - (photo.width < photo.height)]]
            if photo.width and photo.height
            else []
        )
    if field == "location":
        return [] if photo.lat is None or photo.lon is None else [(photo.lat, photo.lon)]
    found = EXTRA[field](photo.extra) if field.startswith("extra.") else getattr(photo, field)
    values = found if isinstance(found, (list, tuple)) else [found]
    return [comparable(field, value) for value in values if value is not None]


EXTRA: dict[str, Callable[[dict[str, Any]], Any]] = {
    "extra.camera": lambda extra: extra.get("camera"),
    "extra.iso": lambda extra: extra.get("iso"),
    "extra.a": lambda extra: extra.get("a"),
    "extra.a=b": lambda extra: extra.get("a=b"),
    "extra.exif.lens": lambda extra: extra.get("exif", {}).get("lens"),
    "extra.nothing": lambda extra: None,
}


def comparable(field: str, value: Any) -> Any:
    """Dates as milliseconds, rounded down; what is in `extra` as text, 100.0 like 100; other values as they are."""
    if field == "created_at":
        date = datetime.fromisoformat(value) if isinstance(value, str) else value
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return math.floor((date - EPOCH) / timedelta(milliseconds=1))
    if field.startswith("extra."):
        return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
    return value


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance from the angle between two vectors; another formula than the indices use."""
    first, second = (np.array([cos(y) * cos(x), cos(y) * sin(x), sin(y)]) for y, x in (np.radians(a), np.radians(b)))
    return 6371.0087714 * math.atan2(float(np.linalg.norm(np.cross(first, second))), float(first @ second))


# --- filters ---------------------------------------------------------------------------------------------------------


def values_of(field: str) -> st.SearchStrategy[Any]:
    """Values that some photo has, and others."""
    there = sorted({value for id, photo in CORPUS.items() for value in field_values(field, id, photo)})
    if field == "orientation":
        return st.sampled_from(there)  # no others are allowed
    return st.sampled_from([*there, "nothing has this"] if not there or isinstance(there[0], str) else [*there, -1])


def dates() -> st.SearchStrategy[str]:
    """Dates that some photo has, and one millisecond off."""
    there = sorted(comparable("created_at", photo.created_at) for photo in CORPUS.values() if photo.created_at)
    around = st.builds(sum, st.tuples(st.sampled_from(there), st.sampled_from([-1, 0, 1])))
    return around.map(lambda ms: (EPOCH + timedelta(milliseconds=ms)).isoformat())


def lists(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3)


def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), values, min_size=1, max_size=2)


def member(field: str, *operands: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    exists = st.booleans().map(lambda wanted: {"exists": wanted})
    return st.one_of(exists, *operands).map(lambda operand: {field: operand})


texts = ["id", "uri", "etag", "format", "color", "credit", "title", "description", "orientation"]
numbers = ["width", "height", "bytes", "lat", "lon"]
places = st.fixed_dictionaries(
    {
        "lat": st.sampled_from([47.37, 0.0, 90.0, -33.9]),
        "lon": st.sampled_from([8.54, 179.99, -180.0]),
        "km": st.sampled_from([0.5, 300.0, 5_000.0, 20_038.0]),
    }
)
conditions = st.one_of(
    *(member(f, values_of(f), lists(values_of(f)).map(lambda v: {"any_of": v})) for f in [*texts, *EXTRA]),
    *(member(f, values_of(f), bounds(values_of(f)), lists(values_of(f)).map(lambda v: {"any_of": v})) for f in numbers),
    member("tags", *(lists(values_of("tags")).map(lambda v, name=name: {name: v}) for name in ("any_of", "all_of"))),  # type: ignore[misc]
    member("created_at", dates(), bounds(dates())),
    member("location", places.map(lambda place: {"near": place})),
    member("extra.iso", st.sampled_from([100, 100.0, 0.5, True, "100"])),
)
filters = st.recursive(
    st.lists(conditions, min_size=1, max_size=2).map(lambda parts: {k: v for part in parts for k, v in part.items()}),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def indices(opensearch_url: str) -> Iterator[list[VectorIndex]]:
    fingerprint = secrets.token_hex(6)
    opened = [open_index(url, fingerprint, DIM) for url in ("duckdb://", opensearch_url)]
    vectors = rng.normal(size=(PHOTOS, DIM)).astype(np.float32)
    for index in opened:
        result = index.bulk(Upsert(id, 1, v, photo) for (id, photo), v in zip(CORPUS.items(), vectors, strict=True))
        assert result.upserted == PHOTOS
        index.refresh()
    yield opened
    for index in opened:
        index.drop()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(condition=filters)
def test_every_filter_finds_the_photos_for_which_it_holds(
    indices: list[VectorIndex], condition: dict[str, Any]
) -> None:
    expected = {id for id, photo in CORPUS.items() if holds(condition, id, photo)}
    parsed = parse_filter(condition)
    query = np.ones(DIM, dtype=np.float32)
    for index in indices:
        for exact in (True, False):
            hits = index.search(query, PHOTOS, filter=parsed, exact=exact)
            assert {hit.id for hit in hits} == expected, (type(index).__name__, exact)
        assert index.count(parsed) == len(expected), type(index).__name__


def test_the_empty_filter_finds_everything(indices: list[VectorIndex]) -> None:
    for index in indices:
        assert index.count(parse_filter({})) == PHOTOS
        assert index.count(parse_filter({"not": {}})) == 0


# --- words and facets ------------------------------------------------------------------------------------------------


def bm25(text: str, condition: dict[str, Any]) -> dict[str, float]:
    """BM25 scores of the photos by its formula; the texts here are short of 40 words, where Lucene starts to round."""
    words = {id: weighted_words(photo) for id, photo in CORPUS.items()}
    having = [listed for listed in words.values() if listed]
    mean = sum(map(len, having)) / len(having)
    scores: Counter[str] = Counter()
    for word in words_of(text):
        frequency = sum(word in listed for listed in having)
        idf = math.log(1 + (len(having) - frequency + 0.5) / (frequency + 0.5))
        for id, listed in words.items():
            if (count := listed.count(word)) and holds(condition, id, CORPUS[id]):
                scores[id] += idf * count / (count + 1.2 * (1 - 0.75 + 0.75 * len(listed) / mean))
    return scores


spoken = st.lists(st.sampled_from(["dogs", "dog", "Two", "koln", "strand", "früh", "cat", "beach", "nothing", "at"]))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=spoken.map(" ".join), condition=filters | st.just({}))
def test_words_score_as_bm25_does(indices: list[VectorIndex], text: str, condition: dict[str, Any]) -> None:
    expected = bm25(text, condition)
    for index in indices:
        hits = index.search_words(text, PHOTOS, filter=parse_filter(condition))
        assert {hit.id: hit.score for hit in hits} == pytest.approx(expected, rel=1e-4), type(index).__name__
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.id))


def test_word_scores_agree_for_long_texts_too(opensearch_url: str) -> None:
    fingerprint = secrets.token_hex(6)
    opened = [open_index(url, fingerprint, DIM) for url in ("duckdb://", opensearch_url)]
    lengths = [1, 2, 7, 8, 13, 20, 38, 39, 40, 41, 100, 997, 5_000, 20_000]
    try:
        answers = []
        for index in opened:
            photos = [ImageMetadata(uri="file:///x", description="dog " + "x " * (length - 1)) for length in lengths]
            vector = np.ones(DIM, dtype=np.float32)
            index.bulk(Upsert(f"{i:02}", 1, vector, photo) for i, photo in enumerate(photos))
            index.refresh()
            answers.append({hit.id: hit.score for hit in index.search_words("dog", 50)})
    finally:
        opened[1].drop()
    assert len(answers[0]) == len(lengths)
    assert answers[0] == pytest.approx(answers[1], rel=1e-5)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(condition=filters | st.just({}), candidates=st.integers(1, PHOTOS), size=st.integers(1, 30))
def test_facets_count_what_is_there(
    indices: list[VectorIndex], condition: dict[str, Any], candidates: int, size: int
) -> None:
    matching = {id: photo for id, photo in CORPUS.items() if holds(condition, id, photo)}
    query = np.ones(DIM, dtype=np.float32)
    parsed = parse_filter(condition)
    for index in indices:
        nearest = {hit.id: hit.metadata for hit in index.search(query, candidates, filter=parsed)}
        for vector, photos in ((None, matching), (query, nearest)):
            found = index.facets(vector, FACETS, filter=parsed, candidates=candidates, size=size)
            assert found == {field: counted(field, photos, size) for field in FACETS}, type(index).__name__


def counted(field: str, photos: dict[str, ImageMetadata], size: int) -> list[Facet]:
    """The most frequent values of a field of `photos`."""
    counts: Counter[str] = Counter()
    for id, photo in photos.items():
        if field == "year":
            counts.update(
                str((EPOCH + timedelta(milliseconds=ms)).year) for ms in field_values("created_at", id, photo)
            )
        else:
            counts.update(set(field_values(field, id, photo)))
    return [Facet(*pair) for pair in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:size]]


# --- neighbours ------------------------------------------------------------------------------------------------------


def clip_like(count: int, dim: int = 512) -> Float32:
    """Clustered unit vectors off centre, as CLIP's are: (count, dim) float32."""
    random = np.random.default_rng(6)
    centres = random.normal(size=(count // 20, dim)) + 0.8 * random.normal(size=dim)
    vectors = centres[random.integers(len(centres), size=count)] + 0.5 * random.normal(size=(count, dim))
    unit: Float32 = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_the_graph_finds_the_neighbours_that_exact_search_finds(opensearch_url: str, tmp_path: Path) -> None:
    vectors = clip_like(2_100)
    stored, queries = vectors[:2_000], vectors[2_000:]
    fingerprint = secrets.token_hex(6)
    embedded, opensearch = (open_index(u, fingerprint, 512) for u in (f"duckdb://{tmp_path}/i.duckdb", opensearch_url))
    try:
        for index in (embedded, opensearch):
            index.bulk(Upsert(str(i), 1, v, ImageMetadata(uri=f"file:///{i}")) for i, v in enumerate(stored))
            index.refresh()
        overlaps, differences = [], []
        for query in queries:
            true = {hit.id: hit.score for hit in embedded.search(query, 10)}
            found = {hit.id: hit.score for hit in opensearch.search(query, 10)}
            overlaps.append(len(true.keys() & found.keys()) / 10)
            differences += [abs(true[id] - found[id]) for id in true.keys() & found.keys()]
            exact = opensearch.search(query, 10, exact=True)
            assert [hit.score for hit in exact] == pytest.approx(sorted(true.values(), reverse=True), abs=1e-5)
    finally:
        opensearch.drop()
    assert np.mean(overlaps) >= 0.98  # seen: 1.0
    assert max(differences) <= 1e-5  # seen: 1.1e-6
