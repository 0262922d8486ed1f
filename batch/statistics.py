"""The statistics of what a model encoded, for `imagesearch.statistics`: computed from its parts at the end of a run.

They are of the photos that the index should have: the latest version of each, without those that were removed. Where
there are many, a sample tells enough. What is asked of it is the deviation of a query's cosines, and the query isn't
drawn from it: so it is the deviation of so many numbers, whatever their dimension. Of 50,000 it is known to
1 / sqrt(2 · 50,000) = 0.3 %, and to 0.5 % where the tails have twice the normal kurtosis. Photos of one part may be
alike, which makes the sample worth less: in the worst case, each part a cluster of its own, nineteen of twenty queries
were within 3 to 5 % (400 to 2,000 parts, 900,000 vectors). At a cosine that is five deviations above the mean, 3 % are
0.15 of a deviation.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb
import numpy as np

from batch.ledger import expected_state, load_ledgers
from batch.plan import read_plans
from imagesearch.errors import PartError
from imagesearch.index.base import Float32, Upsert
from imagesearch.parquet import connect
from imagesearch.parts import part_key, read_part
from imagesearch.statistics import CollectionStatistics, statistics_key
from imagesearch.storage import Storage

SAMPLE = 50_000
"""Vectors that are looked at; all of them, where there are no more."""
DRAWS = 500
"""Of more photos than SAMPLE, parts that are read at most; one of 5,000 photos has 10 MB and takes half a second."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Photos of one part: how many of its `photos` to take, and the share of the collection that they stand for."""

    run: str
    shard: int
    photos: int
    weight: float


def write_statistics(output: Storage, fingerprint: str) -> CollectionStatistics | None:
    """Compute the statistics of what was encoded with the model, write them and return them; None if there is nothing.

    The same parts give the same statistics: what chance decides is seeded with the latest run.

    Raises:
        NotFound, PartError: a part is gone or damaged.
        StorageError: the output can't be read or written.
    """
    runs = [plan.run for plan in read_plans(output) if plan.fingerprint == fingerprint]
    if not runs:
        return None
    random = np.random.default_rng(list(runs[-1].encode()))
    with connect() as con:
        load_ledgers(con, output, runs)
        expected_state(con)
        parts = con.execute(
            "SELECT run, shard, count(*) FROM expected WHERE status = 'indexed' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        count = sum(photos for _, _, photos in parts)
        if not count:
            return None
        statistics = _combined(count, _read(con, output, fingerprint, _draws(parts, count, random), random))
    output.write(statistics_key(fingerprint), statistics.to_bytes())
    return statistics


def _draws(parts: list[tuple[str, int, int]], count: int, random: np.random.Generator) -> list[Draw]:
    """What to read of `parts`, each with its number of photos: all of a small collection.

    Else as many photos of each of DRAWS parts, which are drawn by a systematic sample with a probability proportional
    to their size; a part that is drawn twice stands for two (Cochran, Sampling Techniques, chapter 9A). So what is read
    is bounded, and a photo's chance is the same in a part of ten as in one of thousands.
    """
    if count <= SAMPLE:
        return [Draw(run, shard, photos, photos / count) for run, shard, photos in parts]
    shuffled = [parts[i] for i in random.permutation(len(parts))]
    ends = np.cumsum([photos for _, _, photos in shuffled])
    hits = np.searchsorted(ends, (random.random() + np.arange(DRAWS)) * (count / DRAWS), side="right")
    times = np.bincount(np.minimum(hits, len(shuffled) - 1), minlength=len(shuffled))
    return [
        Draw(run, shard, min(photos, int(drawn) * SAMPLE // DRAWS), int(drawn) / DRAWS)
        for (run, shard, photos), drawn in zip(shuffled, times, strict=True)
        if drawn
    ]


def _read(
    con: duckdb.DuckDBPyConnection, output: Storage, fingerprint: str, draws: list[Draw], random: np.random.Generator
) -> Iterator[tuple[Float32, float]]:
    """Vectors of each draw, (n, dim), and the share of the collection that they stand for."""
    for draw in draws:
        key = part_key(fingerprint, draw.run, draw.shard)
        live = "SELECT id FROM expected WHERE status = 'indexed' AND run = ? AND shard = ?"
        ids = {id for (id,) in con.execute(live, [draw.run, draw.shard]).fetchall()}
        part = read_part(output.read(key), fingerprint=fingerprint, name=key)
        vectors = [one.vector for one in part.actions if isinstance(one, Upsert) and one.id in ids]
        if len(vectors) < draw.photos:
            raise PartError(
                f"{key} lacks photos that the ledger says it has: {len(vectors):,} of {len(ids):,} are there"
            )
        chosen = random.permutation(len(vectors))[: draw.photos]
        yield np.array([vectors[i] for i in chosen], dtype=np.float32), draw.weight


def _combined(count: int, drawn: Iterator[tuple[Float32, float]]) -> CollectionStatistics:
    """The statistics of a collection of `count` photos, of which `drawn` stand for all, weights and all."""
    mean = second = np.zeros(())  # of x, and of xxᵀ
    for vectors, weight in drawn:
        exact = vectors.astype(np.float64)
        mean = mean + weight * exact.mean(axis=0)
        second = second + weight * (exact.T @ exact) / len(exact)
    covariance = second - np.outer(mean, mean)
    return CollectionStatistics(count, mean.astype(np.float32), covariance.astype(np.float32))
