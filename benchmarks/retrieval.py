"""Retrieval of the bundled model through the whole path: photos → parts → loader → index → query function → HTTP.

    uv run --group bench benchmarks/retrieval.py
    uv run --group bench benchmarks/retrieval.py --models models/fp32 models/int8 [--photos TABLE or FOLDER]

The second compares artifacts of the same weights instead: the first encodes the photos, each encodes the queries, as a
query function with int8 weights searches what a GPU encoded. See `benchmarks/agreement.py`.

The first needs `npm` on the path: OpenMoji's drawings (CC-BY-SA 4.0), which the model never saw in training, are
installed into a temporary folder. Prints recall@k, the share of queries whose one right picture is among the first k:

- noto, by name: the bundled pictures. The model was trained on them: these figures are in-sample;
- openmoji, by name: the same names, drawn by a vendor that was held out;
- openmoji → noto, by picture: an OpenMoji drawing is the query, and Noto's drawing of the same name is right.
"""

import argparse
import base64
import csv
import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3
from rich.console import Console
from rich.progress import track
from rich.table import Table

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.sources import open_source
from benchmarks.agreement import Search, agreement_table, read_photos
from imagesearch.clip.onnx import OnnxEncoder
from local.demo import MODEL, SAMPLES, wait_for_index
from local.stack import stack

OPENMOJI = "openmoji@17.0.0"
SIZE = 144
DEPTHS = (1, 5, 10)

http = urllib3.PoolManager()
console = Console(highlight=False, width=120)


def main() -> None:
    """Index both vendors' pictures, one after the other, ask for each, and print the table; or compare artifacts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", type=Path, metavar="FOLDER", help="compare these artifacts")
    parser.add_argument("--photos", type=Path, default=SAMPLES / "photos.csv", help="a folder, or a CSV: path, title")
    parser.add_argument("--limit", type=int, default=2000, help="photos to take, spread over all")
    options = parser.parse_args()
    if options.models:
        photos = read_photos(options.photos, options.limit)
        encoders = {str(folder): OnnxEncoder(folder) for folder in options.models}
        console.print(agreement_table(Search(photos, encoders)))
        return
    with tempfile.TemporaryDirectory() as folder:
        state, held_out = Path(folder, "state"), Path(folder, "openmoji")
        noto = read_titles(SAMPLES / "photos.csv")
        draw_openmoji(held_out, set(noto))
        other = read_titles(held_out / "photos.csv")

        table = Table("queries", "n", *(f"R@{depth}" for depth in DEPTHS))
        with indexed(SAMPLES, state / "noto") as url:
            by_name = [(path, {"text": title}) for title, path in noto.items()]
            add(table, "noto, by name (in-sample)", url, by_name)
            pictures = [(noto[title], {"image": as_base64(held_out / path)}) for title, path in other.items()]
            add(table, "openmoji → noto, by picture (held out)", url, pictures)
        with indexed(held_out, state / "openmoji") as url:
            by_name = [(path, {"text": title}) for title, path in other.items()]
            add(table, "openmoji, by name (held out)", url, by_name)
        console.print(table)


@contextmanager
def indexed(photos: Path, state: Path) -> Iterator[str]:
    """The URL of the search over the pictures that `photos/photos.csv` lists."""
    with stack(state, MODEL, photos) as running:
        source = open_source(str(photos / "photos.csv"))
        ingest(source, running.vectors, open_encoder(MODEL))
        wait_for_index(running, source)
        yield running.url


def add(table: Table, name: str, url: str, queries: list[tuple[str, dict[str, Any]]]) -> None:
    """Ask each query, and add the row of how often its right picture, given by its id, was found."""
    ranks = []
    for right, query in track(queries, name, console=console, transient=True):
        answer = http.request("POST", f"{url}/search", json={**query, "k": max(DEPTHS)})
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {answer.data.decode()}")
        found = [hit["id"] for hit in answer.json()["hits"]]
        ranks.append(found.index(right) if right in found else max(DEPTHS))
    shares = [sum(rank < depth for rank in ranks) / len(ranks) for depth in DEPTHS]
    table.add_row(name, f"{len(ranks):,}", *(f"{share:.3f}" for share in shares))


def read_titles(table: Path) -> dict[str, str]:
    """The path of each title in a table of photos."""
    with table.open(newline="") as file:
        return {row["title"]: row["path"] for row in csv.DictReader(file)}


def draw_openmoji(folder: Path, titles: set[str]) -> None:
    """Write OpenMoji's drawings of these names, and the table that lists them, into `folder`."""
    import resvg_py  # of the group `bench`, which nothing else here needs

    folder.mkdir()
    subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", str(folder), OPENMOJI], check=True)
    package = folder / "node_modules" / "openmoji"
    rows = []
    for emoji in json.loads((package / "data" / "openmoji.json").read_text()):
        drawing = package / "color" / "svg" / f"{emoji['hexcode']}.svg"
        if (title := emoji["annotation"].lower()) in titles and not emoji["skintone"] and drawing.exists():
            titles.remove(title)
            path = f"{emoji['hexcode']}.png"
            png = resvg_py.svg_to_bytes(svg_string=drawing.read_text(), width=SIZE, height=SIZE)
            (folder / path).write_bytes(bytes(png))
            rows.append({"path": path, "title": title})
    with (folder / "photos.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "title"])
        writer.writeheader()
        writer.writerows(rows)


def as_base64(path: Path) -> str:
    """The file as a request of the API carries it."""
    return base64.b64encode(path.read_bytes()).decode()


if __name__ == "__main__":
    main()
