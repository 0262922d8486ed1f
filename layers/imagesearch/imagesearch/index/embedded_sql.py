"""Searches of the embedded index as SQL of DuckDB: conditions of filters, BM25, and facets.

Each function answers with SQL and the values of its `?`.
"""
# ruff: noqa: S608  # SQL is put together from names that are constants; values are always bound

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from imagesearch.errors import InvalidFilter
from imagesearch.index.base import Float32
from imagesearch.index.documents import extra_term, milliseconds
from imagesearch.index.filters import EXTRA, AllOf, And, AnyOf, Exists, Filter, Near, Not, Or, Range, Value, known_field
from imagesearch.index.words import K1, B

Sql = tuple[str, list[Any]]

EARTH_KM = 6_371.0087714
"""Mean radius of the Earth, as in Lucene's geo distance."""

_FACET_VALUES = {
    "tags": "unnest(list_distinct(tags))",
    "year": "printf('%04d', year(make_timestamp(created_at * 1000)))",
}


def nearest(
    table: str, vector: Float32, limit: int, offset: int, filter: Filter | None, *, documents: bool = True
) -> Sql:
    """Id, cosine and, with `documents`, document of the rows of `table` nearest to `vector` (dim,)."""
    condition, values = where(filter)
    return (
        f"SELECT id, {_cosine(vector)} AS score{', document' if documents else ''} FROM {table} "
        f"WHERE {condition} ORDER BY score DESC, id LIMIT ? OFFSET ?",
        [vector, *values, limit, offset],
    )


def best_by_words(table: str, words: Sequence[str], limit: int, filter: Filter | None) -> Sql:
    """Id and BM25 score of the rows of `table` that have one of `words` or more, best first.

    As Lucene counts, all images that have any words are the collection, whatever the filter, and a word that stands
    twice in the query counts twice. The score is float32, so that the same texts tie in both.
    """
    times = Counter(words)
    condition, values = where(filter)
    return (
        f"""
        WITH asked AS (SELECT unnest(?::VARCHAR[]) AS word, unnest(?::INTEGER[]) AS times),
        texts AS (SELECT count(*) AS total, avg(len(words)) AS mean_length FROM {table} WHERE len(words) > 0),
        found AS (
            SELECT id, words_length, unnest(words) AS word FROM {table} WHERE list_has_any(words, ?::VARCHAR[])
        ),
        counted AS (
            SELECT id, words_length, word, count(*) AS frequency FROM found SEMI JOIN asked USING (word) GROUP BY ALL
        ),
        worth AS (
            SELECT word, times * ln(1 + (total - count(*) + 0.5) / (count(*) + 0.5)) AS idf
            FROM counted JOIN asked USING (word), texts GROUP BY word, times, total
        ),
        scored AS (
            SELECT id, sum(idf * frequency / (frequency + {K1} * ({1 - B} + {B} * words_length / mean_length))) AS sum
            FROM counted JOIN worth USING (word), texts GROUP BY id
        )
        SELECT id, sum::FLOAT AS score FROM {table} JOIN scored USING (id)
        WHERE {condition} ORDER BY score DESC, id LIMIT ?
        """,
        [list(times), list(times.values()), list(times), *values, limit],
    )


def facet_counts(
    table: str, vector: Float32 | None, fields: Sequence[str], filter: Filter | None, candidates: int, size: int
) -> Sql:
    """Field, value and count: of each of `fields` (one at least) the `size` most frequent values, best first."""
    condition, values = where(filter)
    images = f"SELECT tags, color, credit, format, orientation, created_at FROM {table} WHERE {condition}"
    if vector is not None:
        images += f" ORDER BY {_cosine(vector)} DESC, id LIMIT ?"
        values += [vector, candidates]
    counts = [
        f"(SELECT '{field}' AS field, value, count(*) AS images_count "
        f"FROM (SELECT {_FACET_VALUES.get(field, field)} AS value FROM images) WHERE value IS NOT NULL "
        "GROUP BY value ORDER BY images_count DESC, value LIMIT ?)"
        for field in fields
    ]
    return (
        f"WITH images AS MATERIALIZED ({images}) "
        f"SELECT * FROM ({' UNION ALL '.join(counts)}) ORDER BY images_count DESC, value",
        [*values, *[size] * len(fields)],
    )


def _cosine(vector: Float32) -> str:
    return f"array_inner_product(vector, ?::FLOAT[{len(vector)}])"


def where(filter: Filter | None) -> Sql:
    """A condition, and the values of its `?`: the row is no deletion, and `filter` holds."""
    if filter is None:
        return "vector IS NOT NULL", []
    sql, values = _condition(filter)
    return f"vector IS NOT NULL AND {sql}", values


def _condition(node: Filter) -> Sql:
    """A condition that is true or false, never NULL, and the values of its `?`."""
    match node:
        case And(parts) | Or(parts):
            compiled = [_condition(part) for part in parts]
            joined = (" AND " if isinstance(node, And) else " OR ").join(sql for sql, _ in compiled)
            nothing = "true" if isinstance(node, And) else "false"
            return f"({joined or nothing})", [value for _, values in compiled for value in values]
        case Not(part):
            sql, values = _condition(part)
            return f"(NOT {sql})", values
        case Exists(field, exists):
            found = "coalesce(list_contains(present, ?), false)"
            return found if exists else f"(NOT {found})", [known_field(field)]
        case AnyOf(field, wanted) if field.startswith(EXTRA):
            terms = [extra_term(field.removeprefix(EXTRA), value) for value in wanted]
            return "coalesce(list_has_any(extra_values, ?::VARCHAR[]), false)", [terms]
        case AnyOf("tags", wanted):
            return "coalesce(list_has_any(tags, ?::VARCHAR[]), false)", [list(wanted)]
        case AllOf("tags", wanted):
            return "coalesce(list_has_all(tags, ?::VARCHAR[]), false)", [list(wanted)]
        case AnyOf(field, wanted):
            values = [_sql_value(value) for value in wanted]
            return f'coalesce(list_contains(?, "{known_field(field)}"), false)', [values]
        case Range(field):
            bounds = {">": node.gt, ">=": node.gte, "<": node.lt, "<=": node.lte}
            given = {sign: _sql_value(bound) for sign, bound in bounds.items() if bound is not None}
            compared = " AND ".join(f'"{known_field(field)}" {sign} ?' for sign in given)
            return f"coalesce({compared or 'true'}, false)", list(given.values())
        case Near(lat, lon, km):
            # The haversine formula; the first factor under the root is the square of half the chord.
            chord = (
                "sin(radians(lat - ?) / 2) ** 2 + cos(radians(?)) * cos(radians(lat)) * sin(radians(lon - ?) / 2) ** 2"
            )
            near = f"2 * {EARTH_KM} * asin(sqrt(least(1, {chord}))) <= ?"  # least() passes over NULL
            return f"(lat IS NOT NULL AND lon IS NOT NULL AND {near})", [lat, lat, lon, km]
        case _:
            raise InvalidFilter(f"{node} can't be searched for")


def _sql_value(value: Value) -> Value:
    return milliseconds(value) if isinstance(value, datetime) else value
