"""What each kind of search costs: the query function on an index of 20,000 vectors, clustered as CLIP's are.

    uv run --no-sync python benchmarks/search_speed.py [--images 20000] [--rounds 50] [--opensearch]

Encoding is left out, as it is the same for all (a text takes some 20 ms with ViT-B/32 on one core). The kinds take
turns, so that what else the machine does befalls them all alike: read the ratios to the first row.
"""

import argparse
import json
import os
import statistics as averages
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.photos import THINGS, photo_id, photos
from benchmarks.scorecard.vectors import DIM, ClipLike
from imagesearch.clip.model import Float32, ModelInfo
from imagesearch.fetch import Fetcher
from imagesearch.index import open_index
from imagesearch.search import Searcher
from imagesearch.service import Service
from imagesearch.settings import Settings
from imagesearch.statistics import CollectionStatistics
from local.context import LambdaContext
from local.stack import QUIET

console = Console(highlight=False)


class Encoder:
    """Knows each text as one of some vectors, at once."""

    info = ModelInfo(
        name="clustered", pretrained="none", fingerprint="c1a5", embed_dim=DIM, image_size=8, mean=(0, 0, 0),
        std=(1, 1, 1), interpolation="bicubic", context_length=77, logit_scale=1,
    )  # fmt: skip

    def __init__(self, vectors: Float32) -> None:
        self._vectors = vectors

    def encode_text(self, texts: Sequence[str]) -> Float32:
        """One of the vectors for each text."""
        return self._vectors[[hash(text) % len(self._vectors) for text in texts]]

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        """Not needed."""
        raise NotImplementedError

    def encode_pixels(self, pixels: Float32) -> Float32:
        """Not needed."""
        raise NotImplementedError


def kinds(images: int) -> dict[str, Callable[[int], tuple[str, dict[str, Any]]]]:
    """For each kind of search, the path and the body of the request of a round."""

    def some(number: int, count: int) -> list[str]:
        return [photo_id((number * 7919 + i * 104_729) % images) for i in range(count)]

    def text(number: int) -> dict[str, Any]:
        return {"text": f"{THINGS[number % 10]} {number}"}

    def search(body: Callable[[int], dict[str, Any]]) -> Callable[[int], tuple[str, dict[str, Any]]]:
        return lambda number: ("/search", body(number))

    return {
        "text": search(text),
        "text, in a batch of one (no cursor)": lambda n: ("/search/batch", {"searches": [text(n)]}),
        "text, k 100": search(lambda n: {**text(n), "k": 100}),
        "text, filter": search(lambda n: {**text(n), "filter": {"tags": THINGS[n % 10]}}),
        "three terms": search(lambda n: {"query": f"{THINGS[n % 10]} +{n} -0.5*{THINGS[n % 7]}"}),
        "text, 5 liked and 5 unliked": search(lambda n: {**text(n), "like": some(n, 5), "unlike": some(n + 1, 5)}),
        "words": search(lambda n: {**text(n), "match": "words"}),
        "hybrid": search(lambda n: {**text(n), "match": "hybrid"}),
        "facets of tags and year": search(lambda n: {**text(n), "facets": ["tags", "year"]}),
        "group": search(lambda n: {**text(n), "group": True}),
        "next page": lambda n: ("/search", {"cursor": call("/search", text(n))["cursor"]}),
        "batch of 20": lambda n: ("/search/batch", {"searches": [text(n * 20 + i) for i in range(20)]}),
        "clip-retrieval's, 40 deduplicated": lambda n: ("/knn-service", {**text(n), "deduplicate": True}),
    }


@cache
def query() -> ModuleType:
    """The query function, whose log is quiet: Powertools decides when it is imported."""
    os.environ |= QUIET
    from functions.query import app

    return app


def call(path: str, body: dict[str, Any]) -> Any:
    """The body of the query function's answer."""
    event = {
        "path": path, "httpMethod": "POST", "headers": None, "requestContext": {"path": path}, "body": json.dumps(body),
        "queryStringParameters": None, "multiValueQueryStringParameters": None, "isBase64Encoded": False,
    }  # fmt: skip
    answer = query().lambda_handler(event, LambdaContext("query"))
    query().metrics.clear_metrics()
    if answer["statusCode"] != 200:
        raise RuntimeError(answer["body"])
    return json.loads(answer["body"])


def main() -> None:
    """Start the index, and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--opensearch", action="store_true", help="a real OpenSearch instead of the embedded index")
    options = parser.parse_args()
    measure(server_url() if options.opensearch else "duckdb://", options.images, options.rounds)


def measure(url: str, images: int, rounds: int) -> None:
    """Fill the index at `url`, let the kinds take turns, print the table."""
    collection = ClipLike()
    vectors = collection.vectors(images)
    encoder = Encoder(collection.queries(1_000))
    index = open_index(url, encoder.info.fingerprint, DIM)
    index.bulk(photos(track(np.array_split(vectors, 100), "indexing", transient=True)))
    index.refresh()
    about = CollectionStatistics.of_vectors(vectors)
    settings = Settings(index_url="duckdb://")
    service = Service(Searcher(encoder, index), Fetcher(1_000_000), settings, statistics=lambda: about)
    query().service = lambda: service

    times: dict[str, list[float]] = defaultdict(list)
    requests = kinds(images)
    for number in track(range(rounds + 2), "searching", transient=True):
        for name, request in requests.items():
            path, body = request(number)
            start = time.perf_counter()
            call(path, body)
            if number >= 2:  # the first two warm up
                times[name].append((time.perf_counter() - start) * 1_000)
    table = Table("search", "p50 ms", "p99 ms", "of the first")
    first = averages.median(times["text"])
    for name, taken in times.items():
        median, slowest = averages.median(taken), float(np.quantile(taken, 0.99))
        table.add_row(name, f"{median:.1f}", f"{slowest:.1f}", f"{median / first:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
