"""How good searches are: recall of filtered ones, and whether confidence tells a good hit from the best of a bad lot.

    uv run --group bench benchmarks/search_quality.py [filters] [confidence]

- `filters`: recall@10 of k-NN with a filter inside, against an exact search, at 20,000 vectors that lie in clusters as
  CLIP's do, on both indices and at several selectivities. Either the filter has nothing to do with the vectors, or it
  holds for those alone that are farthest from the query, which is the hardest for a graph.
- `confidence`: the top hit's raw cosine and its confidence (imagesearch/statistics.py), as tests of whether the picture
  that a query asks for is in the collection: the area under the ROC curve, and what a threshold lets through. The
  collection is half of OpenMoji's drawings (CC-BY-SA 4.0), a vendor that the bundled model never saw in training,
  installed by `npm` into a temporary folder. Queries are names, and Noto's drawings of the same emoji; half of them
  have their picture in the collection. Over several random halves.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from retrieval import draw_openmoji, read_titles
from rich.console import Console
from rich.progress import track
from rich.table import Table

from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from imagesearch.index import open_index
from imagesearch.index.base import Float32, Upsert
from imagesearch.index.filters import AnyOf
from imagesearch.records import ImageMetadata
from imagesearch.statistics import CollectionStatistics
from local.demo import MODEL, SAMPLES
from local.opensearch import LocalOpenSearch

VECTORS, DIM, K, QUERIES = 20_000, 512, 10, 200
SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
HALVES = 20
THRESHOLDS = (0.1, 0.5, 0.9)

console = Console(highlight=False)


def main() -> None:
    """Measure what is asked for, by default all, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="*", metavar="filters|confidence")
    for what in parser.parse_args().what or ("filters", "confidence"):
        {"filters": measure_filters, "confidence": measure_confidence}[what]()


# --- Filters ---


def measure_filters() -> None:
    """Recall and time of filtered searches on both indices."""
    vectors, queries = clip_like(VECTORS + QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("OPENSEARCH_JAVA_OPTS", "-Xms2g -Xmx2g")  # the compiler that servers have
        server = LocalOpenSearch(Path(folder, "opensearch"))
        try:
            for name, url in (("duckdb", f"duckdb://{folder}/index.duckdb"), ("opensearch", server.start())):
                console.print(filter_table(name, url, vectors, queries))
        finally:
            server.delete()


def clip_like(count: int) -> tuple[Float32, Float32]:
    """Unit vectors in clusters of some 50, off centre: (count - QUERIES, dim), and QUERIES more of them."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(count // 50, DIM)) + 0.8 * random.normal(size=DIM)
    vectors = centres[random.integers(len(centres), size=count)] + 0.5 * random.normal(size=(count, DIM))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit[:-QUERIES], unit[-QUERIES:]


def filter_table(name: str, url: str, vectors: Float32, queries: Float32) -> Table:
    """Index the vectors with tags for either kind of filter, ask, and compare with exact neighbours."""
    random = np.random.default_rng(1)
    # Farthest from the query: from far-0.5, the half of the vectors that are least like its direction, to far-0.001.
    direction = queries[0]
    rank = np.argsort(np.argsort(vectors @ direction)) / len(vectors)
    chance = random.random(len(vectors))
    holds = {f"random-{s}": chance < s for s in SELECTIVITIES} | {f"far-{s}": rank < s for s in SELECTIVITIES}
    index = open_index(url, "benchmark", DIM)
    index.bulk(
        Upsert(
            f"{i:05}", 1, vector, ImageMetadata(uri=f"file:///{i}", tags=tuple(t for t, has in holds.items() if has[i]))
        )
        for i, vector in enumerate(vectors)
    )
    index.refresh()
    cosines = queries @ vectors.T
    near = np.argsort(-(queries @ direction))[: QUERIES // 4]  # queries from where the filter doesn't hold
    table = Table("filter", "selectivity", f"recall@{K}", "worst query", "ms", title=name)
    for tag, mask in {"": np.ones(len(vectors), bool), **holds}.items():
        recalls, seconds = [], []
        asked = near if tag.startswith("far") else range(QUERIES)
        for q in track(asked, tag, console=console, transient=True):
            started = time.perf_counter()
            hits = index.search(queries[q], K, filter=AnyOf("tags", (tag,)) if tag else None)
            seconds.append(time.perf_counter() - started)
            true = np.argsort(-np.where(mask, cosines[q], -9))[: min(K, mask.sum())]
            recalls.append(len({int(hit.id) for hit in hits} & set(true.tolist())) / len(true))
        kind, _, selectivity = tag.partition("-")
        row = (f"{np.mean(recalls):.3f}", f"{min(recalls):.1f}", f"{np.median(seconds) * 1000:.1f}")
        table.add_row(kind or "none", selectivity and f"{float(selectivity):.1%}", *row)
    return table


# --- Confidence ---


def measure_confidence() -> None:
    """How well cosine and confidence tell whether what is asked for is there."""
    encoder = OnnxEncoder(MODEL)
    with tempfile.TemporaryDirectory() as folder:
        noto = read_titles(SAMPLES / "photos.csv")
        draw_openmoji(Path(folder, "openmoji"), set(noto))
        drawn = read_titles(Path(folder, "openmoji", "photos.csv"))
        titles = sorted(drawn)
        collection = encode(encoder, [Path(folder, "openmoji", drawn[title]) for title in titles])
        pictures = encode(encoder, [SAMPLES / noto[title] for title in titles])
    texts = np.concatenate([encoder.encode_text([title]) for title in titles])

    # For every half: whether it is there, whether it is a text, the top cosine, and its confidence.
    asked: list[tuple[bool, bool, float, float]] = []
    areas: dict[str, list[tuple[float, float]]] = {"text": [], "picture": [], "both": []}
    for seed in range(HALVES):
        there = np.random.default_rng(seed).permutation(len(titles)) < len(titles) // 2
        statistics = CollectionStatistics.of_vectors(collection[there])
        rows = [
            (bool(there[i]), kind == "text", top, statistics.confidence(query, top))
            for kind, queries in (("text", texts), ("picture", pictures))
            for i, query in enumerate(queries)
            for top in [float((collection[there] @ query).max())]
        ]
        for kind, wanted in (("text", (True,)), ("picture", (False,)), ("both", (True, False))):
            chosen = np.array([(has, cosine, sure) for has, text, cosine, sure in rows if text in wanted])
            areas[kind].append((area(chosen[:, 0], chosen[:, 1]), area(chosen[:, 0], chosen[:, 2])))
        asked += rows

    table = Table(
        "queries", "n", "AUC of the cosine", "AUC of confidence", title=f"{len(titles)} names, {HALVES} halves"
    )
    for kind, pairs in areas.items():
        mean, deviation = np.mean(pairs, axis=0), np.std(pairs, axis=0)
        count = f"{len(titles) * (2 if kind == 'both' else 1):,}"
        table.add_row(kind, count, *(f"{m:.3f} ± {d:.3f}" for m, d in zip(mean, deviation, strict=True)))
    console.print(table)

    table = Table("threshold", "queries", "kept, and it is there", "kept, but it isn't there", title="a hit is kept")
    for threshold in THRESHOLDS:
        for kind, text in (("text", True), ("picture", False)):
            kept = {
                has: [sure >= threshold for h, t, _, sure in asked if (h, t) == (has, text)] for has in (True, False)
            }
            table.add_row(f"{threshold:.1f}", kind, f"{np.mean(kept[True]):.1%}", f"{np.mean(kept[False]):.1%}")
    console.print(table)


def encode(encoder: OnnxEncoder, paths: list[Path]) -> Float32:
    """Embeddings of the pictures: (n, dim), of length 1."""
    size = encoder.info.image_size
    images: list[Image.Image] = [open_image(path.read_bytes(), target=size).image for path in paths]
    chunks = [encoder.encode_images(images[start : start + 64]) for start in range(0, len(images), 64)]
    return np.concatenate(chunks)


def area(there: Float32, scores: Float32) -> float:
    """Area under the ROC curve: how often a query whose picture is there scores higher than one whose isn't."""
    positive, negative = scores[there == 1], scores[there == 0]
    higher = (positive[:, None] > negative[None, :]).mean() + (positive[:, None] == negative[None, :]).mean() / 2
    return float(higher)


if __name__ == "__main__":
    main()
