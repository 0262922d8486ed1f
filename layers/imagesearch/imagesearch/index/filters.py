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

Fields are those of `ImageMetadata`, `id`, `location` (lat and lon together), and `extra.<key>` for the rest, whose
values are compared as text.
"""

from dataclasses import dataclass
from datetime import datetime

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
