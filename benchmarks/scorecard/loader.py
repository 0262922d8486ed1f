"""The loader beside what tutorials do: documents a second into a real OpenSearch, until they can be searched."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opensearchpy import OpenSearch, helpers

from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.photos import photos
from benchmarks.scorecard.rows import Row, compared
from benchmarks.scorecard.vectors import DIM, ClipLike
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.load import load_part
from imagesearch.parts import Part, part_key, write_part
from imagesearch.storage import FolderStorage

HNSW = {"name": "hnsw", "engine": "lucene", "parameters": {"m": 16, "ef_construction": 100}}
MAPPING = {
    "settings": {"index": {"knn": True, "number_of_shards": 1, "number_of_replicas": 0}},
    "mappings": {
        "properties": {"vector": {"type": "knn_vector", "dimension": DIM, "space_type": "cosinesimil", "method": HNSW}}
    },
}
"""As tutorials have it: the vector described, the rest left to OpenSearch's dynamic mapping."""
WARM_UP = 2_000


def measure(quick: bool) -> Iterator[Row]:
    """Parts in a folder through `load_part`, beside dicts in memory through `helpers.bulk`, 128 a request."""
    count, rounds = (600, 1) if quick else (5_000, 3)
    images = list(photos(ClipLike().chunks(count)))
    ours, theirs = [], []
    _ours(images[:WARM_UP], "warm")
    _theirs(images[:WARM_UP], "warm")
    for number in range(rounds):
        ours.append(_ours(images, f"r{number}"))
        theirs.append(_theirs(images, f"r{number}"))
    yield compared(
        "loader/helpers.bulk", f"load {count:,} images of {DIM} dimensions, until they can be searched",
        "opensearchpy.helpers.bulk, 128 documents a request, refresh=True", "documents/s", ours, theirs,
        better="more", target=2.0, note="ours reads a Parquet part; theirs has its documents in memory",
    )  # fmt: skip


def _ours(images: list[Upsert], name: str) -> float:
    """Documents a second of the loader."""
    url, fingerprint = server_url(), f"loader-{name}"
    with tempfile.TemporaryDirectory() as folder:
        storage, key = FolderStorage(Path(folder)), part_key(fingerprint, "run", 0)
        storage.write(key, write_part(Part(fingerprint, DIM, "run", images)))
        index = open_index(url, fingerprint, DIM)
        start = time.perf_counter()
        load_part(storage, key, lambda fingerprint, dim: open_index(url, fingerprint, dim))
        index.refresh()
        seconds = time.perf_counter() - start
    found = index.count()
    index.drop()
    return _rate("the loader", found, len(images), seconds)


def _theirs(images: list[Upsert], name: str) -> float:
    """Documents a second of `helpers.bulk`."""
    index, client = f"helpers-{name}", OpenSearch(server_url(), timeout=60)
    documents: list[dict[str, Any]] = [
        {
            "_index": index,
            "_id": image.id,
            "vector": image.vector.tolist(),
            **image.metadata.model_dump(mode="json", exclude_defaults=True),
        }
        for image in images
    ]
    client.indices.create(index=index, body=MAPPING)
    start = time.perf_counter()
    helpers.bulk(client, documents, chunk_size=128, refresh=True)
    seconds = time.perf_counter() - start
    found = client.count(index=index)["count"]
    client.indices.delete(index=index)
    return _rate("helpers.bulk", found, len(images), seconds)


def _rate(what: str, found: int, count: int, seconds: float) -> float:
    if found != count:
        raise RuntimeError(f"{what} left {found:,} documents where there should be {count:,}")
    return count / seconds
