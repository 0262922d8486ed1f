"""Approximate search beside exact search: recall, time, memory and disk of three ways to keep vectors in Lucene.

- `float`: as the product's engine `lucene` has it.
- `sq`: seven bits a component by Lucene's scalar quantiser (`mode: on_disk`, `compression_level: 4x`), with the floats
  on disk beside them, with which OpenSearch 3.5 compares the candidates of the graph. `sq-rescored` does so by a
  script, as the product's engine `lucene-sq`.
- `byte`: `data_type: byte`, components scaled to its range, and no floats anywhere.

All are asked as the product asks: 300 candidates, the best ten of them. growth.py measures a larger index of floats.
$SCORECARD_KNN names other sizes to measure all three at, such as 200000,1000000.
"""

import os
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.scorecard.indices import WAYS, Filled, console, filled
from benchmarks.scorecard.photos import photo, photo_id
from benchmarks.scorecard.rows import Row
from benchmarks.scorecard.vectors import ClipLike, Float32, neighbours
from imagesearch.index.filters import AnyOf, Filter
from imagesearch.index.opensearch_queries import nearest

K = 10
WARM_UP = 20
RARE = AnyOf("tags", ("rare",))
TARGETS = {"float": 0.99, "sq": 0.97, "byte": 0.98, "sq-rescored": 0.99}

Search = Callable[[Float32], tuple[list[str], float]]


def measure(quick: bool) -> Iterator[Row]:
    """Recall@10, p50 and p99 of one client's searches, bytes a vector; of filtered searches at one in a hundred."""
    for size in (2_000,) if quick else map(int, os.environ.get("SCORECARD_KNN", "20000").split(",")):
        yield from compare(size, tuple(WAYS), 40 if quick else 300)
        yield from filtered(size, 40 if quick else 200)


def label(size: int) -> str:
    """20k for 20,000."""
    return f"{size / 1e6:g}M" if size >= 1_000_000 else f"{size / 1e3:g}k"


def compare(size: int, ways: tuple[str, ...], count: int) -> Iterator[Row]:
    """The rows of `count` searches among `size` vectors kept in these ways, of which `float` has to be one."""
    indices = {way: filled(size, way) for way in ways}
    collection = ClipLike()
    queries = collection.queries(count + WARM_UP)
    true = neighbours(queries, collection.chunks(size), K)
    searches = {way: _search(index) for way, index in indices.items()}
    if "sq" in indices:
        searches["sq-rescored"] = _search(indices["sq"], rescored=True)
    searches["exact"] = _search(indices["float"], exact=True)
    recalls, times = _ask(searches, queries, true)
    n, exact = label(size), statistics.median(times["exact"])
    if (found := float(np.mean(recalls["exact"]))) < 0.999:  # equal cosines in float32 may be ordered otherwise
        raise RuntimeError(f"exact search of {size:,} finds {found:.1%} of the nearest {K}: the benchmark is wrong")
    for way in (way for way in searches if way != "exact"):
        yield Row(
            f"recall-{way}-{n}", f"recall@{K} among {size:,} vectors kept as {way}", "exact search", f"recall@{K}",
            float(np.mean(recalls[way])), 1.0, (min(recalls[way]), max(recalls[way])), TARGETS[way], "more",
            f"{count} queries; the spread is that of single queries",
        )  # fmt: skip
        for quantile in (0.5, 0.99):
            beside = (f"p50 of exact search (script_score) among {size:,}", exact) if quantile == 0.5 else ("", None)
            yield Row(
                f"p{quantile * 100:.0f}-{way}-{n}", f"p{quantile * 100:.0f} of a search among {size:,}, kept as {way}",
                beside[0], "ms", float(np.quantile(times[way], quantile)), beside[1],
                (min(times[way]), max(times[way])), note="one client, HTTP included",
            )  # fmt: skip
    for way, index in indices.items():
        memory, disk = index.footprint()
        files = " and ".join(index.way.in_memory)
        yield Row(
            f"memory-{way}-{n}", f"memory a vector, {size:,} kept as {way}", "", "bytes", memory,
            note=f"size of Lucene's {files} files, which searches read all over",
        )  # fmt: skip
        yield Row(
            f"disk-{way}-{n}", f"disk an image, {size:,} kept as {way}", "", "bytes", disk,
            note="with the metadata, not force-merged",
        )  # fmt: skip


def filtered(size: int, count: int) -> Iterator[Row]:
    """The row of `count` searches with a filter, among `size` vectors kept as floats."""
    collection, index = ClipLike(), filled(size)
    zero = np.zeros(1, np.float32)
    rare = np.array(["rare" in photo(number, zero).metadata.tags for number in range(size)])
    queries = collection.queries(count + WARM_UP)
    true = neighbours(queries, collection.chunks(size), K, rare)
    searches = {"ours": _search(index, filter=RARE), "exact": _search(index, exact=True, filter=RARE)}
    recalls, times = _ask(searches, queries, true)
    yield Row(
        f"filtered-1%-{label(size)}", f"recall@{K} with a filter that {rare.mean():.1%} of {size:,} match",
        "exact search with the filter", f"recall@{K}", float(np.mean(recalls["ours"])), 1.0,
        (min(recalls["ours"]), max(recalls["ours"])), 0.98, "more",
        f"p50 {statistics.median(times['ours']):.1f} ms, of the exact search {statistics.median(times['exact']):.1f}",
    )  # fmt: skip


def _search(index: Filled, *, exact: bool = False, rescored: bool = False, filter: Filter | None = None) -> Search:
    def search(query: Float32) -> tuple[list[str], float]:
        body = nearest(index.way.convert(query), K, 0, filter, exact=exact, rescore=rescored)
        return index.search({**body, "track_total_hits": False})

    return search


def _ask(
    searches: dict[str, Search], queries: Float32, true: np.ndarray[Any, Any]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """For each search its recalls and its milliseconds, in turns; the first queries warm up."""
    recalls: dict[str, list[float]] = {name: [] for name in searches}
    times: dict[str, list[float]] = {name: [] for name in searches}
    for number, query in enumerate(track(queries, "searching", console=console, transient=True)):
        nearest_ids = {photo_id(int(position)) for position in true[number]}
        for name, search in searches.items():
            ids, taken = search(query)
            if number >= WARM_UP:
                recalls[name].append(len(nearest_ids.intersection(ids)) / K)
                times[name].append(taken)
    return recalls, times
