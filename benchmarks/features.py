"""What each feature of a search is worth, on pictures that the bundled model never saw, through the whole path.

    uv run --group bench benchmarks/features.py

needs `npm` on the path, see retrieval.py. OpenMoji's drawings are indexed with the names, tags and groups of the
bundled pictures (Noto's), and asked for:

- gap: how much the cosines of texts and of pictures vary over the collection;
- mixed: a text and a picture of two different things, with and without balance: how often each of both is among the
  first ten. And of one and the same thing: how often it comes first;
- feedback: a group of emoji is looked for by its name, ten at a time. After each ten, those that belong to it are
  liked, the others unliked; the share of right ones among the next ten, beside that of the next page without feedback;
- words: pictures by their name, by two of their tags, and by a file name which says nothing;
- groups: copies of pictures (as JPEG, smaller, cropped), by threshold: copies that stand with their picture, and
  pictures that stand with another one.
"""

import csv
import io
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import urllib3
from PIL import Image
from retrieval import as_base64, console, draw_openmoji, read_titles
from rich.progress import track
from rich.table import Table

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.sources import open_source
from imagesearch.combine import rocchio
from imagesearch.groups import group_similar
from imagesearch.statistics import CollectionStatistics
from local.demo import MODEL, SAMPLES, wait_for_index
from local.stack import stack

http = urllib3.PoolManager()
random_ = random.Random(1)  # noqa: S311

Row = dict[str, str]
BATCH = 50


def main() -> None:
    """Index the held-out drawings and print a table for each question."""
    with tempfile.TemporaryDirectory() as folder:
        held_out = Path(folder, "openmoji")
        draw_openmoji(held_out, set(read_titles(SAMPLES / "photos.csv")))
        rows = describe(held_out)
        with stack(Path(folder, "state"), MODEL, held_out) as running:
            source = open_source(str(held_out / "photos.csv"))
            ingest(source, running.vectors, open_encoder(MODEL))
            wait_for_index(running, source)
            index = running.index
            vectors = np.stack([document.vector for document in index.get([row["path"] for row in rows]).values()])
            statistics = CollectionStatistics.of_vectors(vectors)
            show_gap(rows, statistics)
            show_mixed(running.url, rows, statistics)
            show_feedback(running.url, rows, statistics)
            show_words(running.url, rows)
        show_groups(random_.sample(sorted(SAMPLES.glob("*.webp")), 300))


def describe(folder: Path) -> list[Row]:
    """Give each drawing in `folder` what is known of the bundled picture of its name, and a file name in `credit`."""
    with (SAMPLES / "photos.csv").open(newline="") as file:
        known = {row["title"]: row for row in csv.DictReader(file)}
    rows = []
    for number, (title, path) in enumerate(read_titles(folder / "photos.csv").items()):
        noto = known[title]
        group = noto["description"].rpartition(": ")[2]
        row = {"path": path, "title": title, "tags": noto["tags"], "description": f"DSC_{number:05}.jpg"}
        rows.append(row | {"group": group, "noto": noto["path"]})
    with (folder / "photos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "title", "tags", "description"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return rows


@contextmanager
def knowing(statistics: CollectionStatistics | None) -> Iterator[None]:
    """Have the query function know these statistics of the collection, or none."""
    from functions.query import app  # not before the stack runs, which keeps its log quiet

    service = replace(app.service(), statistics=lambda: statistics)
    with patch.object(app, "service", lambda: service):
        yield


def ask(url: str, queries: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The ids that each of `queries` finds, asked for in batches."""
    found = []
    for start in track(range(0, len(queries), BATCH), "asking", console=console, transient=True):
        body = {"searches": queries[start : start + BATCH]}
        answer = http.request("POST", f"{url}/search/batch", json=body)
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.data.decode()}")
        found += [[hit["id"] for hit in one["hits"]] for one in answer.json()["answers"]]
    return found


def show_gap(rows: list[Row], statistics: CollectionStatistics) -> None:
    """Mean cosine, and deviation, of texts and of pictures."""
    encoder = open_encoder(MODEL)
    pictures = [Image.open(SAMPLES / row["noto"]).convert("RGBA") for row in rows]
    white = [Image.alpha_composite(Image.new("RGBA", one.size, "white"), one).convert("RGB") for one in pictures]
    table = Table("gap", "n", "mean cosine", "deviation")
    for name, embeddings in (
        ("texts", encoder.encode_text([row["title"] for row in rows])),
        ("pictures", encoder.encode_images(white)),
    ):
        means, deviations = zip(*(statistics.background(one) for one in embeddings), strict=True)
        table.add_row(name, f"{len(rows):,}", f"{np.mean(means):.3f}", f"{np.mean(deviations):.3f}")
    console.print(table)


def show_mixed(url: str, rows: list[Row], statistics: CollectionStatistics) -> None:
    """A text and a picture together, with and without balance, for some weights of the picture."""
    others = random_.sample(rows, len(rows))
    pairs = [(a, b) for a, b in zip(rows, others, strict=True) if a["group"] != b["group"]][:500]
    table = Table("mixed", "picture weighs", "text in 10", "picture in 10", "both in 10", "same thing: R@1")
    for name, known in (("plain", None), ("balanced", statistics)):
        for weight in (0.25, 0.5, 1.0):
            with knowing(known):
                found = ask(url, [mix(a, b, weight) for a, b in pairs])
                same = ask(url, [mix(a, a, weight) for a, _ in pairs])
            texts = np.array([a["path"] in ten for (a, _), ten in zip(pairs, found, strict=True)])
            pictures = np.array([b["path"] in ten for (_, b), ten in zip(pairs, found, strict=True)])
            shares = (texts.mean(), pictures.mean(), (texts & pictures).mean(), firsts(pairs, same))
            table.add_row(name, f"{weight}", *(f"{share:.3f}" for share in shares))
    alone = {
        "text alone": [{"text": a["title"]} for a, _ in pairs],
        "picture alone": [{"image": as_base64(SAMPLES / a["noto"])} for a, _ in pairs],
    }
    for name, queries in alone.items():
        table.add_row(name, "", "", "", "", f"{firsts(pairs, ask(url, queries)):.3f}")
    console.print(table)


def firsts(pairs: list[tuple[Row, Row]], found: list[list[str]]) -> float:
    """How often the first of each pair comes first."""
    return sum(ids[0] == a["path"] for (a, _), ids in zip(pairs, found, strict=True)) / len(pairs)


def mix(a: Row, b: Row, weight: float) -> dict[str, Any]:
    """The name of `a` and the bundled picture of `b`."""
    picture = {"image": as_base64(SAMPLES / b["noto"]), "weight": weight}
    return {"terms": [{"text": a["title"]}, picture], "k": 10}


def show_feedback(url: str, rows: list[Row], statistics: CollectionStatistics) -> None:
    """Precision of ten results, round by round."""
    groups: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        groups[row["group"]].add(row["path"])
    large = {name: paths for name, paths in groups.items() if len(paths) >= 25}
    table = Table("feedback", f"ten results ({len(large)} groups)", "1", "2", "3")
    table.add_row("next page", "", *shares(url, large, feedback=False))
    for name, known in (("plain", None), ("balanced", statistics)):
        for gamma in (0.0, 0.15, 0.25, 0.5):
            with knowing(known), patch.dict(rocchio.__kwdefaults__, gamma=gamma):
                table.add_row("feedback", f"{name}, gamma {gamma}", *shares(url, large, feedback=True))
    console.print(table)


def shares(url: str, groups: dict[str, set[str]], *, feedback: bool, rounds: int = 3) -> list[str]:
    """The share of right ones among the ten results of each round, over all groups."""
    liked: dict[str, list[str]] = {name: [] for name in groups}
    unliked: dict[str, list[str]] = {name: [] for name in groups}
    shares = []
    for number in range(rounds):
        found = ask(
            url,
            [
                {"text": name, "k": 10}
                | ({"like": liked[name], "unlike": unliked[name]} if feedback else {"offset": 10 * number})
                for name in groups
            ],
        )
        for name, ids in zip(groups, found, strict=True):
            liked[name] += [id for id in ids if id in groups[name]]
            unliked[name] += [id for id in ids if id not in groups[name]]
        right = [sum(id in groups[name] for id in ids) / 10 for name, ids in zip(groups, found, strict=True)]
        shares.append(f"{np.mean(right):.3f}")
    return shares


def show_words(url: str, rows: list[Row]) -> None:
    """Recall of pictures by what they are called."""
    some = random_.sample(rows, 500)
    table = Table("words", "match", "R@1", "R@5", "R@10")
    for name, queries in (
        ("name", {row["path"]: row["title"] for row in some}),
        (
            "two tags",
            {row["path"]: " ".join(random_.sample(row["tags"].split("|"), 2)) for row in some if "|" in row["tags"]},
        ),
        ("file name", {row["path"]: row["description"] for row in some}),
    ):
        for match in ("vector", "words", "hybrid"):
            found = ask(url, [{"text": text, "match": match, "k": 10} for text in queries.values()])
            recall = [
                np.mean([path in ids[:depth] for path, ids in zip(queries, found, strict=True)]) for depth in (1, 5, 10)
            ]
            table.add_row(name, match, *(f"{share:.3f}" for share in recall))
    console.print(table)


def show_groups(pictures: list[Path]) -> None:
    """Copies that are gathered with their picture, and pictures that are gathered with another, by threshold."""
    copies = [(number, copy) for number, path in enumerate(pictures) for copy in copies_of(path)]
    owners = np.array([number for number, _ in copies])
    vectors = open_encoder(MODEL).encode_images([copy for _, copy in copies])
    table = Table("groups", "threshold", "copies with their picture", "pictures with another")
    for threshold in (0.85, 0.9, 0.94, 0.95, 0.97, 0.99):
        group_of = np.empty(len(vectors), dtype=int)
        for number, group in enumerate(group_similar(vectors, threshold)):
            group_of[group] = number
        firsts = {owner: group_of[np.flatnonzero(owners == owner)[0]] for owner in set(owners.tolist())}
        together = np.mean([group_of[i] == firsts[owner] for i, owner in enumerate(owners.tolist())])
        mixed = [len(set(owners[group_of == group].tolist())) > 1 for group in firsts.values()]
        table.add_row("", f"{threshold}", f"{together:.3f}", f"{np.mean(mixed):.3f}")
    console.print(table)


def copies_of(path: Path) -> Iterable[Image.Image]:
    """A picture, and what becomes of it: as a JPEG of low quality, half as large, and cropped by a tenth."""
    picture = Image.open(path).convert("RGBA")
    white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    file = io.BytesIO()
    white.save(file, "jpeg", quality=40)
    width, height = white.size
    edge_x, edge_y = width // 20, height // 20
    return (
        white,
        Image.open(file).convert("RGB"),
        white.resize((width // 2, height // 2)),
        white.crop((edge_x, edge_y, width - edge_x, height - edge_y)),
    )


if __name__ == "__main__":
    main()
