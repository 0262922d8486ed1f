"""Indices full of vectors for the sections that need some: each is filled once a process, on first use."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from opensearchpy import OpenSearch, helpers
from rich.console import Console
from rich.progress import track

from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.photos import photos
from benchmarks.scorecard.vectors import CHUNK, DIM, ClipLike, Float32
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.index.documents import to_document
from imagesearch.index.opensearch_mapping import METHODS, index_body

MERGE_SECONDS = 1_800
BYTE_SCALE = 127 * DIM**0.5 / 3.5
"""A component of a unit vector is some 1 / sqrt(dim) large: three and a half times that gets the largest value of a
byte, and the few that are larger are cut. Cosines know no scale. By exact search of 20,000, recall@10 is 0.987 so,
0.980 with five times that, 0.956 with two and a half."""
console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to keep vectors: what its mapping says otherwise, and the files that a search has to have in memory."""

    mapping: dict[str, Any]
    in_memory: tuple[str, ...]
    """Extensions of Lucene's files, which a search reads all over: the graph (vex), and the vectors that it compares,
    as they are (vec) or quantised (veq)."""
    convert: Callable[[Float32], np.ndarray[Any, Any]] = lambda vectors: vectors


WAYS = {
    "float": Way({}, ("vex", "vec")),
    "sq": Way(METHODS["lucene-sq"].vector, ("vex", "veq")),
    "byte": Way(
        {"data_type": "byte", "mode": None, "compression_level": None},
        ("vex", "vec"),
        lambda vectors: np.rint(np.clip(vectors * BYTE_SCALE, -127, 127)).astype(np.int8),
    ),
}


@dataclass(frozen=True, slots=True)
class Filled:
    """An index on the scorecard's OpenSearch, and how many seconds it took until all in it could be searched.

    They include making the photos.
    """

    name: str
    way: Way
    size: int
    seconds: float

    def search(self, body: dict[str, Any]) -> tuple[list[str], float]:
        """The ids that a search finds, best first, and the milliseconds it took.

        Raises:
            RuntimeError: it isn't answered by every shard, or finds nothing.
        """
        start = time.perf_counter()
        answer = client().search(index=self.name, body=body)
        taken = (time.perf_counter() - start) * 1_000
        if answer["_shards"]["failed"] or not answer["hits"]["hits"]:
            raise RuntimeError(f"a search of {self.name} failed or found nothing: {answer}")
        return [hit["_id"] for hit in answer["hits"]["hits"]], taken

    def footprint(self) -> tuple[float, float]:
        """Bytes a vector: what searches have to have in memory, and all that is on disk; both as Lucene's files are."""
        stats = client().indices.stats(
            index=self.name, metric="segments,store", params={"include_segment_file_sizes": "true"}
        )
        primaries = stats["indices"][self.name]["primaries"]
        files = primaries["segments"]["file_sizes"]
        memory = sum(files[kind]["size_in_bytes"] for kind in self.way.in_memory)
        return memory / self.size, primaries["store"]["size_in_bytes"] / self.size


@cache
def client() -> OpenSearch:
    """The usual client of the scorecard's OpenSearch."""
    return OpenSearch(server_url(), timeout=300)


def filled(size: int, way: str = "float") -> Filled:
    """The product's index with the first `size` vectors of `ClipLike()`, kept in this way, and done with merging.

    Raises:
        RuntimeError: not all of them are in it.
    """
    return _fill(size, way)  # always with both arguments, since they are what the cache goes by


@cache
def _fill(size: int, way: str) -> Filled:
    fingerprint, kept = f"{way}-{size}", WAYS[way]
    index = open_index(server_url(), fingerprint, DIM)
    body = index_body(DIM, "lucene", 1)
    vector = body["mappings"]["properties"]["vector"] | kept.mapping
    body["mappings"]["properties"]["vector"] = {key: value for key, value in vector.items() if value is not None}
    client().indices.create(index=index.name, body=body)
    shown = f"indexing {size:,} ({way})"
    chunks = track(ClipLike().chunks(size), shown, total=-(-size // CHUNK), console=console, transient=True)
    start = time.perf_counter()
    if way == "byte":
        helpers.bulk(client(), _documents(index.name, photos(chunks), kept), chunk_size=300)
    else:
        index.bulk(photos(chunks))
    client().indices.refresh(index=index.name)
    seconds = time.perf_counter() - start
    if (found := index.count()) != size:
        raise RuntimeError(f"{index.name} has {found:,} images where there should be {size:,}")
    _wait_for_merges(index.name)
    return Filled(index.name, kept, size, seconds)


def _documents(name: str, images: Iterable[Upsert], way: Way) -> Iterator[dict[str, Any]]:
    for image in images:
        vector = way.convert(image.vector).tolist()
        yield {"_index": name, "_id": image.id, "vector": vector, **to_document(image)}


def _wait_for_merges(name: str) -> None:
    deadline = time.monotonic() + MERGE_SECONDS
    while client().indices.stats(index=name, metric="merge")["_all"]["total"]["merges"]["current"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} is still merging after {MERGE_SECONDS} s")
        time.sleep(0.2)
    client().indices.refresh(index=name)
