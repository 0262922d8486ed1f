"""The filter language: what it means, and that nothing malformed gets through."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.errors import InvalidFilter
from imagesearch.index.filters import (
    BOUNDS,
    FIELDS,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_TEXT,
    MAX_VALUES,
    ORIENTATIONS,
    AllOf,
    And,
    AnyOf,
    Exists,
    Filter,
    Kind,
    Near,
    Not,
    Or,
    Range,
    parse_filter,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"format": "jpeg"}, AnyOf("format", ("jpeg",))),
        ({"tags": "dog"}, AnyOf("tags", ("dog",))),
        ({"tags": {"any_of": ["dog", "cat"]}}, AnyOf("tags", ("dog", "cat"))),
        ({"tags": {"all_of": ["dog", "beach"]}}, AllOf("tags", ("dog", "beach"))),
        ({"width": 640}, AnyOf("width", (640,))),
        ({"width": {"gte": 1000, "lt": 4000}}, Range("width", gte=1000, lt=4000)),
        ({"width": 640.0}, AnyOf("width", (640,))),
        ({"lat": {"gt": -1}}, Range("lat", gt=-1.0)),
        ({"location": {"near": {"lat": 47.4, "lon": 8.5, "km": 10}}}, Near(47.4, 8.5, 10.0)),
        ({"title": {"exists": True}}, Exists("title", True)),
        ({"extra.camera": {"exists": False}}, Exists("extra.camera", False)),
        ({"extra.exif.iso": 100}, AnyOf("extra.exif.iso", ("100",))),
        ({"extra.iso": {"any_of": [100.0, 0.5, True, "x"]}}, AnyOf("extra.iso", ("100", "0.5", "true", "x"))),
        ({"not": {"format": "gif"}}, Not(AnyOf("format", ("gif",)))),
        ({"or": [{"format": "gif"}, {"format": "png"}]}, Or((AnyOf("format", ("gif",)), AnyOf("format", ("png",))))),
        ({"and": [{"format": "gif"}]}, And((AnyOf("format", ("gif",)),))),
        ({"format": "gif", "color": "red"}, And((AnyOf("format", ("gif",)), AnyOf("color", ("red",))))),
        ({"width": {"gte": 1, "exists": True}}, And((Range("width", gte=1), Exists("width", True)))),
        ({}, And(())),
    ],
)
def test_a_filter_means_what_the_documentation_says(written: Any, meant: Filter) -> None:
    assert parse_filter(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2024-07-01", datetime(2024, 7, 1, tzinfo=UTC)),
        ("2024-07-01T12:30:00", datetime(2024, 7, 1, 12, 30, tzinfo=UTC)),
        ("2024-07-01T12:30:00Z", datetime(2024, 7, 1, 12, 30, tzinfo=UTC)),
        ("2024-07-01T12:30:00+02:00", datetime(2024, 7, 1, 10, 30, tzinfo=UTC)),
        ("2024-07-01T00:00:00.123999", datetime(2024, 7, 1, 0, 0, 0, 123_000, tzinfo=UTC)),
        ("1826-01-01", datetime(1826, 1, 1, tzinfo=UTC)),
    ],
)
def test_dates_are_utc_to_the_millisecond(written: str, meant: datetime) -> None:
    assert parse_filter({"created_at": {"gte": written}}) == Range("created_at", gte=meant)


@pytest.mark.parametrize(
    ("written", "path", "hint"),
    [
        (None, "filter", "object"),
        ([], "filter", "object"),
        ("jpeg", "filter", "object"),
        ({"colour": "red"}, "filter", "'colour'.*color"),
        ({"extra.": "x"}, "filter", "extra.<key>"),
        ({1: "x"}, "filter", "no field"),
        ({"\ud800": "x"}, "filter", "no field"),
        ({"extra." + "x" * MAX_TEXT: "x"}, "filter", "no field"),
        ({"format": None}, "filter.format", "text.*null"),
        ({"format": 3}, "filter.format", "text"),
        ({"format": ["jpeg"]}, "filter.format", "text.*list"),
        ({"format": "x" * (MAX_TEXT + 1)}, "filter.format", "1,024"),
        ({"title": "\ud800"}, "filter.title", "Unicode"),
        ({"format": {}}, "filter.format", "any_of"),
        ({"format": {"gte": "a"}}, "filter.format", "'gte'.*any_of, exists"),
        ({"width": {"min": 3}}, "filter.width", "'min'.*gte"),
        ({"format": {"all_of": ["a"]}}, "filter.format", "all_of"),
        ({"extra.a": {"gte": 3}}, "filter.extra.a", "gte"),
        ({"orientation": "wide"}, "filter.orientation", "landscape, portrait or square.*wide"),
        ({"orientation": {"any_of": ["square", 1]}}, "filter.orientation.any_of[1]", "landscape"),
        ({"tags": {"any_of": "dog"}}, "filter.tags.any_of", "list"),
        ({"tags": {"any_of": []}}, "filter.tags.any_of", "1 to"),
        ({"tags": {"any_of": ["x"] * (MAX_VALUES + 1)}}, "filter.tags.any_of", "1,000"),
        ({"tags": {"any_of": ["dog", 3]}}, "filter.tags.any_of[1]", "text"),
        ({"width": {"gte": "1000"}}, "filter.width.gte", "integer.*'1000'"),
        ({"width": {"gte": 1000.5}}, "filter.width.gte", "integer"),
        ({"width": True}, "filter.width", "integer.*true"),
        ({"width": {"gte": 2**63}}, "filter.width.gte", "64 bits"),
        ({"width": 10**5_000}, "filter.width", "64 bits"),
        ({"width": {"gt": float("nan")}}, "filter.width.gt", "integer"),
        ({"lat": {"gt": float("nan")}}, "filter.lat.gt", "number"),
        ({"lat": {"gt": float("inf")}}, "filter.lat.gt", "number"),
        ({"extra.a": float("inf")}, "filter.extra.a", "text"),
        ({"created_at": {"gte": "yesterday"}}, "filter.created_at.gte", "2024-07-01"),
        ({"created_at": {"gte": "2024-02-30"}}, "filter.created_at.gte", "date"),
        ({"created_at": {"gte": 1_700_000_000}}, "filter.created_at.gte", "date"),
        ({"created_at": {"gte": "0001-01-01T00:00:00+10:00"}}, "filter.created_at.gte", "date"),
        ({"location": "here"}, "filter.location", "near"),
        ({"location": {"near": {"lat": 1, "lon": 2}}}, "filter.location.near", "km"),
        ({"location": {"near": {"lat": 1, "lon": 2, "km": 3, "mi": 2}}}, "filter.location.near", "km"),
        ({"location": {"near": {"lat": 91, "lon": 2, "km": 3}}}, "filter.location.near.lat", "-90 to 90"),
        ({"location": {"near": {"lat": 1, "lon": -181, "km": 3}}}, "filter.location.near.lon", "-180 to 180"),
        ({"location": {"near": {"lat": 1, "lon": 2, "km": 0}}}, "filter.location.near.km", "more than 0"),
        ({"location": {"near": {"lat": 1, "lon": 2, "km": 30_000}}}, "filter.location.near.km", "20038"),
        ({"location": {"near": {"lat": float("nan"), "lon": 2, "km": 3}}}, "filter.location.near.lat", "number"),
        ({"title": {"exists": 1}}, "filter.title.exists", "true or false"),
        ({"and": {}}, "filter.and", "list"),
        ({"or": []}, "filter.or", "1 to"),
        ({"or": [{"format": "a"}, {"format": 1}]}, "filter.or[1].format", "text"),
        ({"not": [{"format": "a"}]}, "filter.not", "object"),
    ],
)
def test_what_is_wrong_is_named_with_its_path_and_what_would_be_right(written: Any, path: str, hint: str) -> None:
    with pytest.raises(InvalidFilter, match=f"(?s){hint}") as caught:
        parse_filter(written)
    assert caught.value.field == path
    assert str(caught.value).startswith(path)
    assert len(str(caught.value)) < 400


def test_the_path_starts_with_the_name_that_the_request_gives_the_filter() -> None:
    with pytest.raises(InvalidFilter, match=r"^body\.where\.width"):
        parse_filter({"width": "x"}, path="body.where")


def nested(depth: int) -> dict[str, Any]:
    written: dict[str, Any] = {"format": "a"}
    for _ in range(depth):
        written = {"not": written}
    return written


def test_nesting_has_a_limit() -> None:
    parse_filter(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 5_000):
        with pytest.raises(InvalidFilter, match="deep"):
            parse_filter(nested(depth))


def test_the_number_of_conditions_has_a_limit() -> None:
    most = [{"format": "a"}] * (MAX_CONDITIONS - 1)
    parse_filter({"and": [*most, {"not": {"color": "b"}}]})
    with pytest.raises(InvalidFilter, match="conditions"):
        parse_filter({"and": [*most, {"tags": {"all_of": ["a", "b"]}}]})


# --- any filter that can be written comes back as it was meant ---

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda m: m.replace(microsecond=m.microsecond // 1000 * 1000))
values: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.KEYWORD: texts,
    Kind.ORIENTATION: st.sampled_from(ORIENTATIONS),
    Kind.TAGS: texts,
    Kind.EXTRA: texts,
    Kind.INTEGER: st.integers(1 - 2**63, 2**63 - 1),
    Kind.FLOAT: st.floats(allow_nan=False, allow_infinity=False),
    Kind.DATE: moments,
}
fields = {kind: st.sampled_from([name for name, has in FIELDS.items() if has is kind]) for kind in set(FIELDS.values())}
fields[Kind.EXTRA] = texts.filter(bool).map("extra.{}".format)


def listed(kind: Kind) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(values[kind], min_size=1, max_size=3).map(tuple)


def ranges(kind: Kind) -> st.SearchStrategy[Range]:
    bounds = st.dictionaries(st.sampled_from(BOUNDS), values[kind], min_size=1)
    return st.builds(lambda field, given: Range(field, **given), fields[kind], bounds)


trees = st.recursive(
    st.one_of(
        *(st.builds(AnyOf, fields[kind], listed(kind)) for kind in values),
        *(ranges(kind) for kind in (Kind.INTEGER, Kind.FLOAT, Kind.DATE)),
        *(st.builds(Exists, field, st.booleans()) for field in fields.values()),
        st.builds(AllOf, st.just("tags"), listed(Kind.TAGS)),
        st.builds(Near, st.floats(-90, 90), st.floats(-180, 180), st.floats(0.001, 20_000)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=6,
)


def written(tree: Filter) -> dict[str, Any]:
    """`tree` in the filter language."""
    match tree:
        case And(parts):
            return {"and": [written(part) for part in parts]}
        case Or(parts):
            return {"or": [written(part) for part in parts]}
        case Not(part):
            return {"not": written(part)}
        case AnyOf(field, wanted):
            return {field: {"any_of": [as_json(value) for value in wanted]}}
        case AllOf(field, wanted):
            return {field: {"all_of": list(wanted)}}
        case Range(field):
            bounds = {name: getattr(tree, name) for name in BOUNDS}
            return {field: {name: as_json(bound) for name, bound in bounds.items() if bound is not None}}
        case Near(lat, lon, km):
            return {"location": {"near": {"lat": lat, "lon": lon, "km": km}}}
        case Exists(field, exists):
            return {field: {"exists": exists}}


def as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def depth(tree: Filter) -> int:
    match tree:
        case And(parts) | Or(parts):
            return 1 + max(map(depth, parts))
        case Not(part):
            return 1 + depth(part)
    return 0


@given(trees.filter(lambda tree: depth(tree) <= MAX_DEPTH))
def test_any_filter_survives_being_written_as_json_and_parsed(tree: Filter) -> None:
    assert parse_filter(json.loads(json.dumps(written(tree)))) == tree


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", "near", "any_of", "all_of", "exists", "extra.a", *BOUNDS, *FIELDS]),
            inner,
            max_size=3,
        )
    ),
)


@given(jsons)
def test_anything_else_is_an_invalid_filter_and_no_other_error(anything: Any) -> None:
    try:
        tree = parse_filter(anything)
    except InvalidFilter:
        return
    assert isinstance(tree, Filter)


def test_a_date_keeps_its_moment_whatever_the_zone() -> None:
    moment = datetime(2024, 7, 1, tzinfo=UTC)
    for hours in (-12, 0, 14):
        there = (moment + timedelta(hours=hours)).replace(tzinfo=None).isoformat() + f"{hours:+03}:00"
        assert parse_filter({"created_at": there}) == AnyOf("created_at", (moment,))
