"""The filter language of the API, parsed into a small tree that each index compiles to its own query language.

A filter is a JSON object. Its members must all hold:

| member | holds when |
|---|---|
| `{"format": "jpeg"}` | the field is this value (for `tags`: is among them) |
| `{"tags": {"any_of": ["dog", "cat"]}}` | the field is one of the values |
| `{"tags": {"all_of": ["dog", "beach"]}}` | the field has all the values |
| `{"width": {"gte": 1000, "lt": 4000}}` | the number, or the date, is in the range: `gt`, `gte`, `lt`, `lte` |
| `{"location": {"near": {"lat": 47.4, "lon": 8.5, "km": 10}}}` | it was taken at most so far from there |
| `{"title": {"exists": true}}` | the field has a value (`false`: has none) |
| `{"and": [f, …]}`, `{"or": [f, …]}`, `{"not": f}` | all, any, none |

Fields are those of `ImageMetadata`, `id`, `location` (lat and lon together), `orientation` (landscape, portrait or
square, by width and height), and `extra.<key>` for the rest, whose values are compared as text; the key of a nested
value is its dotted path, as in `extra.exif.iso`. Dates are ISO 8601, UTC where no zone is given, and are compared to
the millisecond.
"""

import json
import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, cast

from imagesearch.errors import InvalidFilter

Value = str | int | float | datetime


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field is one of `values` (for a list: has one of them)."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """The list field has all of `values`."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The number or date is within these bounds; an absent bound doesn't count, a missing value never matches."""

    field: str
    gt: Value | None = None
    gte: Value | None = None
    lt: Value | None = None
    lte: Value | None = None


@dataclass(frozen=True, slots=True)
class Near:
    """Taken at most `km` kilometres (great circle) from the place; an image without a place never matches."""

    lat: float
    lon: float
    km: float


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value, or has none when `exists` is false."""

    field: str
    exists: bool


@dataclass(frozen=True, slots=True)
class And:
    """All hold."""

    filters: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one holds."""

    filters: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It doesn't hold."""

    filter: "Filter"


Filter = AnyOf | AllOf | Range | Near | Exists | And | Or | Not


class Kind(Enum):
    """What a field holds; it decides the operators, and the JSON type of their values."""

    KEYWORD = "text"
    ORIENTATION = "landscape, portrait or square"
    TAGS = "list of text"
    INTEGER = "integer"
    FLOAT = "number"
    DATE = "date"
    PLACE = "place"
    EXTRA = "text of the source"


FIELDS = {
    **dict.fromkeys(("id", "uri", "etag", "format", "color", "credit", "title", "description"), Kind.KEYWORD),
    "orientation": Kind.ORIENTATION,
    "tags": Kind.TAGS,
    **dict.fromkeys(("width", "height", "bytes"), Kind.INTEGER),
    **dict.fromkeys(("lat", "lon"), Kind.FLOAT),
    "created_at": Kind.DATE,
    "location": Kind.PLACE,
}
EXTRA = "extra."
ORIENTATIONS = ("landscape", "portrait", "square")
BOUNDS = ("gt", "gte", "lt", "lte")
OPERATORS: dict[Kind, tuple[str, ...]] = {
    Kind.KEYWORD: ("any_of", "exists"),
    Kind.ORIENTATION: ("any_of", "exists"),
    Kind.TAGS: ("any_of", "all_of", "exists"),
    Kind.INTEGER: ("any_of", *BOUNDS, "exists"),
    Kind.FLOAT: ("any_of", *BOUNDS, "exists"),
    Kind.DATE: ("any_of", *BOUNDS, "exists"),
    Kind.PLACE: ("near", "exists"),
    Kind.EXTRA: ("any_of", "exists"),
}

MAX_DEPTH = 10
"""How deep `and`, `or` and `not` may nest."""
MAX_CONDITIONS = 500
"""How many conditions a filter may have in all; Lucene refuses a query of more than 1,024 clauses."""
MAX_VALUES = 1_000
"""How many values a list may have."""
MAX_TEXT = 1_024
"""Characters that a text value, or the name of a field, may have."""
MAX_KM = 20_038.0
"""Half of the equator: everything on Earth is nearer."""


def parse_filter(obj: Any, path: str = "filter") -> Filter:
    """Parse a filter as it comes from JSON; `path` is its name in the request, for error messages.

    ```
    parse_filter({"tags": "dog", "width": {"gte": 1000}})
    # And((AnyOf("tags", ("dog",)), Range("width", gte=1000)))
    ```

    Raises:
        InvalidFilter: it isn't in the language of this module; `field` of the error is the path of the culprit.
    """
    parsed = _parse(obj, path, 0)
    if (conditions := _count(parsed)) > MAX_CONDITIONS:
        raise InvalidFilter(f"{path} has {conditions} conditions; at most {MAX_CONDITIONS} are allowed", path)
    return parsed


def kind_of(field: str) -> Kind | None:
    """What `field` holds; None if there is no such field."""
    return Kind.EXTRA if field.startswith(EXTRA) and field != EXTRA else FIELDS.get(field)


def known_field(field: str) -> str:
    """`field`, for the compilers of filters.

    Raises:
        InvalidFilter: there is no such field.
    """
    if kind_of(field) is None:
        raise InvalidFilter(f"there is no field {field!r}")
    return field


def extra_text(value: Value) -> str:
    """The text that a value in `extra` is compared as: `true`, `5` for 5 as for 5.0, `0.5`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return str(value)


def _parse(obj: Any, path: str, depth: int) -> Filter:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"{path} is nested too deep; at most {MAX_DEPTH} levels are allowed", path)
    if not isinstance(obj, dict):
        raise InvalidFilter(f'{path} must be an object such as {{"format": "jpeg"}}, not {_json(obj)}', path)
    filters: list[Filter] = []
    for name, operand in obj.items():
        here = f"{path}.{name}"
        if name == "not":
            filters.append(Not(_parse(operand, here, depth + 1)))
        elif name in ("and", "or"):
            items = _list(operand, here)
            parts = tuple(_parse(item, f"{here}[{i}]", depth + 1) for i, item in enumerate(items))
            filters.append(And(parts) if name == "and" else Or(parts))
        else:
            filters += _conditions(name, operand, path)
    return filters[0] if len(filters) == 1 else And(tuple(filters))


def _conditions(field: Any, operand: Any, path: str) -> list[Filter]:
    """What one member, `field: operand`, asks for."""
    kind = kind_of(field) if _is_text(field) else None
    if kind is None:
        known = ", ".join(FIELDS)
        raise InvalidFilter(f"{path}: there is no field {_json(field)}; there are {known} and {EXTRA}<key>", path)
    path = f"{path}.{field}"
    if not isinstance(operand, dict):
        if kind is Kind.PLACE:
            raise InvalidFilter(f'{path} must be an object such as {{"near": {{"lat": 47, "lon": 8, "km": 10}}}}', path)
        return [AnyOf(field, (_value(kind, operand, path),))]
    if unknown := [name for name in operand if name not in OPERATORS[kind]]:
        allowed = ", ".join(OPERATORS[kind])
        raise InvalidFilter(f"{path} has no operator {_json(unknown[0])}; it has {allowed}", path)
    if not operand:
        raise InvalidFilter(f"{path} says nothing; its operators are {', '.join(OPERATORS[kind])}", path)

    filters: list[Filter] = []
    if bounds := {name: _value(kind, operand[name], f"{path}.{name}") for name in BOUNDS if name in operand}:
        filters.append(Range(field, **bounds))
    for name, listed in (("any_of", AnyOf), ("all_of", AllOf)):
        if name in operand:
            items = _list(operand[name], f"{path}.{name}")
            filters.append(listed(field, tuple(_value(kind, v, f"{path}.{name}[{i}]") for i, v in enumerate(items))))
    if "near" in operand:
        filters.append(_near(operand["near"], f"{path}.near"))
    if "exists" in operand:
        if not isinstance(operand["exists"], bool):
            raise InvalidFilter(
                f"{path}.exists must be true or false, not {_json(operand['exists'])}", f"{path}.exists"
            )
        filters.append(Exists(field, operand["exists"]))
    return filters


def _near(operand: Any, path: str) -> Near:
    if not isinstance(operand, dict) or operand.keys() != {"lat", "lon", "km"}:
        raise InvalidFilter(f'{path} must be an object such as {{"lat": 47.4, "lon": 8.5, "km": 10}}', path)
    lat, lon, km = (cast(float, _value(Kind.FLOAT, operand[name], f"{path}.{name}")) for name in ("lat", "lon", "km"))
    for name, right, limits in (
        ("lat", -90 <= lat <= 90, "from -90 to 90"),
        ("lon", -180 <= lon <= 180, "from -180 to 180"),
        ("km", 0 < km <= MAX_KM, f"more than 0 and at most {MAX_KM:.0f}, half way around the Earth"),
    ):
        if not right:
            raise InvalidFilter(f"{path}.{name} must be {limits}, not {_json(operand[name])}", f"{path}.{name}")
    return Near(lat, lon, km)


def _list(operand: Any, path: str) -> list[Any]:
    if not isinstance(operand, list) or not 1 <= len(operand) <= MAX_VALUES:
        raise InvalidFilter(f"{path} must be a list of 1 to {MAX_VALUES:,} items", path)
    return operand


def _value(kind: Kind, value: Any, path: str) -> Value:
    try:
        return _READERS[kind](value)
    except ValueError as error:
        raise InvalidFilter(f"{path} must be {error}, not {_json(value)}", path) from None


# Readers of one value: each answers with the value, or raises a ValueError that says what would be right.


def _text(value: Any) -> str:
    if not _is_text(value):
        raise ValueError(f"text of at most {MAX_TEXT:,} characters of valid Unicode")
    return cast(str, value)


def _orientation(value: Any) -> str:
    if value not in ORIENTATIONS:
        raise ValueError("landscape, portrait or square")
    return cast(str, value)


def _extra(value: Any) -> str:
    return extra_text(value) if isinstance(value, bool) or _is_number(value) else _text(value)


def _integer(value: Any) -> int:
    if not _is_number(value) or value != int(value) or abs(value) >= 2**63:
        raise ValueError("an integer of at most 64 bits")
    return int(value)


def _float(value: Any) -> float:
    if not _is_number(value):
        raise ValueError("a number")
    return float(value)


def _date(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a date such as 2024-07-01 or 2024-07-01T12:30:00+02:00") from None
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) <= MAX_TEXT and bool(value.encode() or True)
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can write
        return False


def _is_number(value: Any) -> bool:
    """Whether it is a number that a double can hold: no bool, NaN or infinity, and no int beyond 1e308."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


_READERS: dict[Kind, Callable[[Any], Value]] = {
    Kind.KEYWORD: _text,
    Kind.ORIENTATION: _orientation,
    Kind.TAGS: _text,
    Kind.INTEGER: _integer,
    Kind.FLOAT: _float,
    Kind.DATE: _date,
    Kind.EXTRA: _extra,
}


def _count(node: Filter) -> int:
    match node:
        case And(parts) | Or(parts):
            return sum(map(_count, parts))
        case Not(part):
            return _count(part)
        case AllOf(_, values):
            return len(values)
        case _:
            return 1


def _json(value: Any) -> str:
    """`value` as an error message shows it: short, and in the words of JSON."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) >= 2**64:  # Python refuses to print an int of thousands of digits
        return "a huge number"
    return reprlib.repr(value)
