"""The query path beside the same handler with another encoder: cold start, warm queries, memory, installed size.

Each process has one core, which is what Lambda gives at 1,769 MB, and asks the same real OpenSearch. Weights are random
and of the full size of ViT-B/32. The first run makes environments and weights, which takes minutes; see peers.py.
"""

import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.scorecard import peers
from benchmarks.scorecard.jpegs import make_photos
from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.processes import Process
from benchmarks.scorecard.rows import Row, compared
from benchmarks.scorecard.vectors import DIM, ClipLike
from benchmarks.scorecard.weights import ARTIFACT, ARTIFACT_INT8, make_weights
from imagesearch.clip.model import ModelInfo
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from local.stack import QUIET

WORKER = Path(__file__).with_name("worker.py")
PEERS = {"transformers": "transformers, CLIPModel", "open_clip": "open_clip"}
OURS = {"ours": ARTIFACT, "ours-int8": ARTIFACT_INT8}
"""Encoders of ours, each with its artifact; what follows `ours` in the name is added to the keys of its rows."""
TARGETS_INT8 = {"text-warm": 12.0, "image-warm": 2.5}
"""Where more is asked of int8 than of fp32."""

QUERIES = (
    *("two dogs on a beach", "sunset over mountains", "a child blowing out birthday candles", "red car", "snow"),
    *("people dancing at a wedding", "close-up of a bee on a yellow flower", "old town street at night"),
    *("my cat asleep on the sofa", "black and white portrait of an old man with a hat"),
)
"""From one word to eleven, three to thirteen tokens with both ends."""

PHOTO = (640, 480)
INDEXED = 100

console = Console(stderr=True, highlight=False)

Measured = dict[str, list[float]]
"""Figures of each encoder."""


def measure(quick: bool) -> Iterator[Row]:
    """Rows of the section."""
    starts, rounds = (1, 2) if quick else (5, 15)
    encoders = (*OURS, *PEERS)
    for name in ("ours", *PEERS):
        peers.python(name)
    peers.copy_code()
    make_weights()
    yield from rows_of_size()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        make_photos(folder / "photos", rounds, PHOTO)
        photos = sorted((folder / "photos").iterdir())
        url = opensearch()
        yield from rows_of_starts(url, encoders, starts)
        workers = {name: running.enter_context(worker(name, url)) for name in encoders}
        yield from rows_of_texts(workers, rounds)
        yield from rows_of_images(workers, photos)


def worker(name: str, url: str) -> Process:
    """A process of worker.py with the encoder `name`, on one core, which searches at `url`."""
    kind = "ours" if name in OURS else name
    environment = {
        **QUIET,
        "SCORECARD_CORES": str(max(os.sched_getaffinity(0))),
        "IMAGESEARCH_INDEX_URL": url,
        "IMAGESEARCH_MODEL": str(OURS.get(name, ARTIFACT)),
        "LAMBDA_TASK_ROOT": str(peers.CODE),  # by which the X-Ray SDK knows Lambda
        "AWS_LAMBDA_FUNCTION_NAME": "query",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return Process(peers.python(kind), WORKER, kind, environment=environment)


def opensearch() -> str:
    """URL of an OpenSearch with an index for the artifact, which has INDEXED documents."""
    index = open_index(url := server_url(), ModelInfo.load(ARTIFACT).fingerprint, DIM)
    names = [f"{number:06d}.jpg" for number in range(INDEXED)]
    index.bulk(
        Upsert(name, 1, vector, ImageMetadata(uri=f"s3://photos/{name}"))
        for name, vector in zip(names, ClipLike().vectors(INDEXED), strict=True)
    )
    index.refresh()
    return url


def rows_of_starts(url: str, encoders: tuple[str, ...], starts: int) -> Iterator[Row]:
    """From the start of the process to the first answer to a search by words."""
    cpu, wall = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for name in encoders if starts > 1 else ():  # its files into the page cache
        with worker(name, url) as process:
            process("search_text", text=QUERIES[0])
    for _ in track(range(starts), "cold starts", console=console, transient=True):
        for name in encoders:
            with worker(name, url) as process:
                answer = process("search_text", text=QUERIES[0])
            cpu[name].append(answer["cpu_s"])
            wall[name].append(answer["wall_s"])
    note = "the process alone, one core, its files in the page cache"
    what = "cold start, from the process's start to the first answer to a text"
    yield from rows("cold-cpu", f"{what}, CPU time", "s", cpu, target=8.0, note=note)
    yield from rows("cold-wall", what, "s", wall, target=4.0, note=note)


def rows_of_texts(workers: dict[str, Process], rounds: int) -> Iterator[Row]:
    """Warm searches by words, and the memory of a process that has seen nothing else."""
    encode, search = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for process in workers.values():
        for text in QUERIES:
            process("search_text", text=f"warm up, {text}")
    for number in track(range(rounds), "warm searches by words", console=console, transient=True):
        for name, process in workers.items():
            encode[name].append(statistics.fmean(process("encode_text", text=text)["ms"] for text in QUERIES))
        for name, process in workers.items():  # the service remembers texts, so they differ from round to round
            texts = [f"{text} {number}" for text in QUERIES]
            search[name].append(statistics.fmean(process("search_text", text=text)["ms"] for text in texts))
    note = f"one core, batch 1, mean of {len(QUERIES)} queries of 1 to 11 words"
    yield from rows("text-warm", "encoding a text, warm", "ms", encode, target=5.0, note=note)
    note = f"{note}; a search of {INDEXED} images in OpenSearch included"
    yield from rows("text-handler", "the whole handler, a text, warm", "ms", search, note=note)
    yield from rows_of_memory("memory-text", "memory of a process that has searched by words", workers, 5.0)


def rows_of_images(workers: dict[str, Process], photos: list[Path]) -> Iterator[Row]:
    """Warm searches by an image, and the memory of a process that has seen both kinds."""
    encode, search = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for process in workers.values():
        process("search_image", file=str(photos[0]))
        process("encode_image", file=str(photos[0]))
    for photo in track(photos, "warm searches by an image", console=console, transient=True):
        for name, process in workers.items():
            encode[name].append(process("encode_image", file=str(photo))["ms"])
        for name, process in workers.items():
            search[name].append(process("search_image", file=str(photo))["ms"])
    note = f"one core, a JPEG of {PHOTO[0]}x{PHOTO[1]}"
    what = "decoding, preprocessing and encoding an image, warm"
    yield from rows("image-warm", what, "ms", encode, target=1.4, note=note)
    note = f"{note}; a search of {INDEXED} images in OpenSearch included"
    yield from rows("image-handler", "the whole handler, an image, warm", "ms", search, note=note)
    yield from rows_of_memory("memory-image", "memory of a process that has searched by images too", workers, 3.0)


def rows_of_memory(key: str, what: str, workers: dict[str, Process], target: float) -> Iterator[Row]:
    """The most that was resident so far."""
    peaks = {name: [process("memory")["peak_mb"]] for name, process in workers.items()}
    note = "the most that was resident (VmHWM), mapped files included"
    yield from rows(key, what, "MB", peaks, target=target, note=note)


def rows_of_size() -> Iterator[Row]:
    """What is installed, without weights and without the base image, which both have."""
    ours, _ = peers.installed_mb("ours")
    for name, against in PEERS.items():
        theirs, cuda = peers.installed_mb(name)
        yield Row(
            f"size/{name}", "installed: packages and code, without weights and base image", against, "MB", ours,
            theirs, target=5.0,
            note=f"torch as PyPI has it, with CUDA; without, it would be some {theirs - cuda:,.0f} MB "
            f"({(theirs - cuda) / ours:.1f} times ours). Both with bytecode, pruned as functions/query/Dockerfile does",
        )  # fmt: skip


def rows(key: str, what: str, unit: str, measured: Measured, **more: Any) -> Iterator[Row]:
    """A row for each encoder of ours against each peer."""
    for ours in OURS:
        suffix = ours.removeprefix("ours")
        if suffix:
            what = f"int8: {what}"
            more = {**more, "target": TARGETS_INT8.get(key, more.get("target"))}
        for name, against in PEERS.items():
            yield compared(f"{key}{suffix}/{name}", what, against, unit, measured[ours], measured[name], **more)
