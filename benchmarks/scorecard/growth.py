"""How time, memory and disk grow with the collection: the exponent of each, fitted over indices of several sizes.

    python -m benchmarks.scorecard.growth [--sizes 10000,100000,1000000] [--embedded 10000,100000]

An exponent of 1 grows as the collection does, 0 doesn't grow. Of the largest index, which takes minutes to fill, recall
is measured too, as in knn.py.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.progress import track
from rich.table import Table

from benchmarks.scorecard.indices import console, filled
from benchmarks.scorecard.knn import WARM_UP, K, compare, filtered, label
from benchmarks.scorecard.photos import photos
from benchmarks.scorecard.report import cells, figure
from benchmarks.scorecard.rows import Curve, Row, save
from benchmarks.scorecard.vectors import DIM, ClipLike
from imagesearch.index import open_index
from imagesearch.index.opensearch_queries import nearest

SIZES, EMBEDDED = (2_000, 20_000, 200_000), (2_000, 8_000, 32_000)
"""Of the OpenSearch index, and of the embedded one, which is for some ten thousand photos."""
QUICK = (500, 1_000, 2_000)
SEARCHES = 200


def measure(quick: bool) -> Iterator[Row]:
    """Exponents of the time to index and to search, of memory and of disk."""
    if quick:
        yield from grow(QUICK, QUICK, 40)
    else:
        yield from grow_and_compare(SIZES, EMBEDDED)


def grow_and_compare(sizes: Sequence[int], embedded: Sequence[int]) -> Iterator[Row]:
    """The rows of `grow`, and of searches in the largest index beside exact ones."""
    yield from grow(sizes, embedded, SEARCHES)
    yield from compare(max(sizes), ("float",), SEARCHES)
    yield from filtered(max(sizes), SEARCHES)


def grow(sizes: Sequence[int], embedded: Sequence[int], searches: int) -> Iterator[Row]:
    """The rows for indices of these sizes, at least two each; `searches` are timed at every size."""
    queries = ClipLike().queries(searches + WARM_UP)
    figures: dict[str, list[float]] = {"index-time": [], "search-p50": [], "memory": [], "disk": []}
    sizes = sorted(sizes, reverse=True)  # while the server warms up it is slow, which tells least in the largest
    for size in sizes:
        index = filled(size)
        times = [
            index.search(nearest(query, K, 0, None))[1]
            for query in track(queries, f"searching {size:,}", console=console, transient=True)
        ]
        memory, disk = index.footprint()
        measured = (index.seconds, statistics.median(times[WARM_UP:]), memory * size, disk * size)
        for series, value in zip(figures.values(), measured, strict=True):
            series.append(value)
    whats = {
        "index-time": ("time to index, until all can be searched", "s", 1),
        "search-p50": ("p50 of a search", "ms", 1),
        "memory": ("what a search has to have in memory: vectors and graph", "MB", 1e6),
        "disk": ("the index on disk", "MB", 1e6),
    }
    for name, (what, unit, divisor) in whats.items():
        yield _row(f"growth-{name}", f"OpenSearch: {what}", sizes, [value / divisor for value in figures[name]], unit)
    exact = [_embedded_p50(size, searches) for size in embedded]
    yield _row("growth-search-p50-embedded", "embedded index, exact: p50 of a search", embedded, exact, "ms")


def _embedded_p50(size: int, searches: int) -> float:
    """Milliseconds."""
    index = open_index("duckdb://", "growth", DIM)
    index.bulk(photos(track(ClipLike().chunks(size), f"indexing {size:,} (duckdb)", console=console, transient=True)))
    if (found := index.count()) != size:
        raise RuntimeError(f"the embedded index has {found:,} images where there should be {size:,}")
    times = []
    for query in ClipLike().queries(searches + WARM_UP):
        start = time.perf_counter()
        hits = index.search(query, K)
        times.append((time.perf_counter() - start) * 1_000)
        if len(hits) != K:
            raise RuntimeError(f"the embedded index answers {len(hits)} hits, not {K}")
    index.drop()
    return statistics.median(times[WARM_UP:])


def _row(key: str, what: str, sizes: Sequence[int], figures: Sequence[float], unit: str) -> Row:
    exponent = float(np.polyfit(np.log(sizes), np.log(figures), 1)[0])
    measured = ", ".join(
        f"{label(size)} {figure(value)} {unit}" for size, value in sorted(zip(sizes, figures, strict=True))
    )
    curve = Curve(unit, tuple(sizes), tuple(figures))
    return Row(key, f"{what} grows as n to the power of", "", "exponent", exponent, note=measured, curve=curve)


def main() -> None:
    """Measure the sizes that are asked for, write and print the rows."""

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=numbers, default=SIZES, help="of the OpenSearch index")
    parser.add_argument("--embedded", type=numbers, default=EMBEDDED, help="of the embedded index")
    parser.add_argument("--output", type=Path, default=Path(".bench/growth.json"))
    options = parser.parse_args()
    rows = list(grow_and_compare(options.sizes, options.embedded))
    save(rows, options.output)
    table = Table("what", "ours", "theirs", "remarks")
    for row in rows:
        what, _, ours, theirs, *_ = cells(row)
        table.add_row(what, ours, theirs, row.note)
    console.print(table)


if __name__ == "__main__":
    main()
