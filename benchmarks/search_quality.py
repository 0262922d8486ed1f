"""How good searches are: recall of filtered ones, and whether confidence tells a good hit from the best of a bad lot.

    uv run --group bench benchmarks/search_quality.py [filters] [confidence]

- `filters`: recall@10 of k-NN with a filter inside, against an exact search, at 20,000 vectors that lie in clusters as
  CLIP's do, on both indices and at several selectivities. Either the filter has nothing to do with the vectors, or it
  holds for those alone that are farthest from the query, which is the hardest for a graph.
- `confidence`: the top hit's raw cosine and its confidence (imagesearch/statistics.py), as tests of whether the picture
  that a query asks for is in the collection: the area under the ROC curve (AUC), and what a threshold lets through. The
  collection is half of a vendor's emoji. Queries are the names of all of them, and another vendor's drawings; so half
  have their picture in the collection. The other half is absent either picture by picture, though its like may be
  there, or topic by topic (Unicode's subgroups). OpenMoji's drawings (CC-BY-SA 4.0), which `npm` installs into a
  temporary folder, are of a vendor that the bundled model never saw in training; Noto's it was trained on.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
from retrieval import draw_openmoji, read_titles
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.agreement import encode_files
from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.vectors import DIM, ClipLike
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.index import open_index
from imagesearch.index.base import Float32, Upsert
from imagesearch.index.filters import AnyOf
from imagesearch.records import ImageMetadata
from imagesearch.statistics import CollectionStatistics
from local.demo import MODEL, SAMPLES

VECTORS, K, QUERIES = 20_000, 10, 200
SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
HALVES = 20
THRESHOLDS = (0.5, 0.9, 0.99)

Bool = npt.NDArray[np.bool_]

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
    collection = ClipLike()
    vectors, queries = collection.vectors(VECTORS), collection.queries(QUERIES)
    with tempfile.TemporaryDirectory() as folder:
        for name, url in (("duckdb", f"duckdb://{folder}/index.duckdb"), ("opensearch", server_url())):
            console.print(filter_table(name, url, vectors, queries))


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
    with tempfile.TemporaryDirectory() as temporary:
        folder, noto = Path(temporary, "openmoji"), read_titles(SAMPLES / "photos.csv")
        draw_openmoji(folder, set(noto))
        drawn = read_titles(folder / "photos.csv")
        titles = sorted(drawn)
        emoji = json.loads((folder / "node_modules" / "openmoji" / "data" / "openmoji.json").read_text())
        topics = {one["annotation"].lower(): one["subgroups"] for one in emoji}
        openmoji_pictures = encode_files(encoder, [folder / drawn[title] for title in titles])
        noto_pictures = encode_files(encoder, [SAMPLES / noto[title] for title in titles])
    texts = np.concatenate([encoder.encode_text([title]) for title in titles])

    areas = Table("collection", "absent", "queries", "AUC of the cosine", "AUC of confidence")
    kept = Table("collection", "absent", "queries", *(f">= {threshold:g}" for threshold in THRESHOLDS))
    kept.title = "kept by a threshold of confidence: where the picture is there / where it isn't"
    for collection, pictures, queries in (
        ("OpenMoji (held out)", openmoji_pictures, {"names": texts, "drawings": noto_pictures}),
        ("Noto (in-sample)", noto_pictures, {"names": texts, "drawings": openmoji_pictures}),
    ):
        for absent, groups in (("pictures", titles), ("topics", [topics[title] for title in titles])):
            answers = [ask(pictures, queries, half(groups, seed)) for seed in range(HALVES)]
            for kinds in (("names",), ("drawings",), ("names", "drawings")):
                pairs = [area_of_both(answer, kinds) for answer in answers]
                shown = [
                    f"{mean:.3f} ± {deviation:.3f}"
                    for mean, deviation in zip(np.mean(pairs, axis=0), np.std(pairs, axis=0), strict=True)
                ]
                areas.add_row(collection, absent, " and ".join(kinds), *shown)
            for kind in queries:
                there, _, sure = (
                    np.concatenate(column) for column in zip(*(one[kind] for one in answers), strict=True)
                )
                shares = [
                    [np.mean(sure[there == has] >= threshold) for has in (True, False)] for threshold in THRESHOLDS
                ]
                kept.add_row(collection, absent, kind, *(f"{yes:.0%} / {no:.0%}" for yes, no in shares))
    console.print(f"{len(titles):,} emoji, {HALVES} random halves:", areas, kept, sep="\n")


def half(groups: list[str], seed: int) -> Bool:
    """Which of so many pictures are in the collection: those of a random half of the groups."""
    distinct = np.random.default_rng(seed).permutation(sorted(set(groups)))
    return np.isin(groups, distinct[: len(distinct) // 2])


def ask(pictures: Float32, queries: dict[str, Float32], there: Bool) -> dict[str, tuple[Bool, Float32, Float32]]:
    """For each kind of query: whether its picture is there, the cosine of the top hit, and its confidence."""
    statistics = CollectionStatistics.of_vectors(pictures[there])
    answers = {}
    for kind, vectors in queries.items():
        tops = (vectors @ pictures[there].T).max(axis=1)
        sure = [statistics.confidence(query, float(top)) for query, top in zip(vectors, tops, strict=True)]
        answers[kind] = (there, tops, np.array(sure))
    return answers


def area_of_both(answer: dict[str, tuple[Bool, Float32, Float32]], kinds: tuple[str, ...]) -> tuple[float, float]:
    """The AUC of the cosine and of confidence, for these kinds of queries together."""
    there, tops, sure = (np.concatenate([answer[kind][column] for kind in kinds]) for column in range(3))
    return area(there, tops), area(there, sure)


def area(there: Bool, scores: Float32) -> float:
    """Area under the ROC curve: how often a query whose picture is there scores higher than one whose isn't."""
    present, absent = scores[there][:, None], scores[~there][None, :]
    return float((present > absent).mean() + (present == absent).mean() / 2)


if __name__ == "__main__":
    main()
