"""Both indices answer alike: filters as plain Python evaluates them, and the same neighbours with the same scores."""

import math
import operator as operator_module
import secrets
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
from imagesearch.index.base import Float32, Upsert, VectorIndex
from imagesearch.index.filters import parse_filter
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


texts = ["id", "uri", "etag", "format", "color", "credit", "title", "description"]
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
