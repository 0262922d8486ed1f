"""The query path beside the same handler with another encoder: cold start, warm queries, memory, installed size.

Each process has one core, which is what Lambda gives at 1,769 MB, and asks the same real OpenSearch. Weights are random
and of the full size of ViT-B/32. The first run makes environments and weights, which takes minutes; see peers.py.
"""

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.scorecard import peers
from benchmarks.scorecard.photos import make_photos
from benchmarks.scorecard.rows import Row, compared
from benchmarks.scorecard.weights import ARTIFACT, make_weights
from imagesearch.clip.model import ModelInfo
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from local.opensearch import LocalOpenSearch
from local.stack import QUIET

WORKER = Path(__file__).with_name("worker.py")
PEERS = {"transformers": "transformers, CLIPModel", "open_clip": "open_clip"}
OURS = {"ours": ""}
"""Encoders of ours, and what is added to the keys of their rows."""

QUERIES = (
    *("two dogs on a beach", "sunset over mountains", "a child blowing out birthday candles", "red car", "snow"),
    *("people dancing at a wedding", "close-up of a bee on a yellow flower", "old town street at night"),
    *("my cat asleep on the sofa", "black and white portrait of an old man with a hat"),
)
"""From one word to eleven, three to thirteen tokens with both ends."""

PHOTO = (640, 480)
INDEXED, DIM = 100, 512

console = Console(stderr=True, highlight=False)

Measured = dict[str, list[float]]
"""Figures of each encoder."""


def measure(quick: bool) -> Iterator[Row]:
    """Rows of the section."""
    starts, rounds = (1, 2) if quick else (7, 15)
    encoders = (*OURS, *PEERS)
    for name in encoders:
        peers.python(name)
    peers.copy_code()
    make_weights()
    yield from rows_of_size()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        make_photos(folder / "photos", rounds, PHOTO)
        photos = sorted((folder / "photos").iterdir())
        url = running.enter_context(opensearch(folder / "opensearch"))
        yield from rows_of_starts(url, encoders, starts)
        workers = {name: running.enter_context(Worker(name, url)) for name in encoders}
        yield from rows_of_texts(workers, rounds)
        yield from rows_of_images(workers, photos)


class Worker:
    """A process of worker.py, while entered, with one of its encoders."""

    def __init__(self, name: str, url: str) -> None:
        core = max(os.sched_getaffinity(0))
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "IMAGESEARCH_"))},
            **QUIET,
            "PYTHONPATH": str(peers.CODE),
            "SCORECARD_CORES": str(core),
            "IMAGESEARCH_INDEX_URL": url,
            "IMAGESEARCH_MODEL": str(ARTIFACT),
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "HF_HUB_OFFLINE": "1",
        }
        self._name = name

    def __enter__(self) -> Self:
        command = [str(peers.python(self._name)), str(WORKER), self._name, str(time.monotonic())]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed on the way out)
        self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def __call__(self, do: str, **arguments: str) -> dict[str, Any]:
        """What the worker answers to a command.

        Raises:
            RuntimeError: it failed.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            self._log.seek(0)
            raise RuntimeError(f"the worker with {self._name} failed at {do}:\n{self._log.read()[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def opensearch(folder: Path) -> Iterator[str]:
    """URL of an OpenSearch with an index for the artifact, which has INDEXED documents."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, DIM))
    vectors = centres[random.integers(10, size=INDEXED)] + 0.7 * random.normal(size=(INDEXED, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    server = LocalOpenSearch(folder)
    try:
        index = open_index(url := server.start(), ModelInfo.load(ARTIFACT).fingerprint, DIM, "lucene")
        index.create()
        names = [f"{number:06d}.jpg" for number in range(INDEXED)]
        index.bulk(
            Upsert(name, 1, vector, ImageMetadata(uri=f"s3://photos/{name}"))
            for name, vector in zip(names, vectors, strict=True)
        )
        index.refresh()
        yield url
    finally:
        server.delete()


def rows_of_starts(url: str, encoders: tuple[str, ...], starts: int) -> Iterator[Row]:
    """From the start of the process to the first answer to a search by words."""
    cpu, wall = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for name in encoders:  # its files into the page cache
        with Worker(name, url) as worker:
            worker("search_text", text=QUERIES[0])
    for _ in track(range(starts), "cold starts", console=console, transient=True):
        for name in encoders:
            with Worker(name, url) as worker:
                answer = worker("search_text", text=QUERIES[0])
            cpu[name].append(answer["cpu_s"])
            wall[name].append(answer["wall_s"])
    note = "the process alone, one core, its files in the page cache"
    what = "cold start, from the process's start to the first answer to a text"
    yield from rows("cold-cpu", f"{what}, CPU time", "s", cpu, target=8.0, note=note)
    yield from rows("cold-wall", what, "s", wall, target=4.0, note=note)


def rows_of_texts(workers: dict[str, Worker], rounds: int) -> Iterator[Row]:
    """Warm searches by words, and the memory of a process that has seen nothing else."""
    encode, search = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for worker in workers.values():
        for text in QUERIES:
            worker("search_text", text=f"warm up, {text}")
    for number in track(range(rounds), "warm searches by words", console=console, transient=True):
        for name, worker in workers.items():
            encode[name].append(statistics.fmean(worker("encode_text", text=text)["ms"] for text in QUERIES))
        for name, worker in workers.items():  # the service remembers texts, so they differ from round to round
            texts = [f"{text} {number}" for text in QUERIES]
            search[name].append(statistics.fmean(worker("search_text", text=text)["ms"] for text in texts))
    note = f"one core, batch 1, mean of {len(QUERIES)} queries of 1 to 11 words"
    yield from rows("text-warm", "encoding a text, warm", "ms", encode, target=5.0, note=note)
    note = f"{note}; a search of {INDEXED} images in OpenSearch included"
    yield from rows("text-handler", "the whole handler, a text, warm", "ms", search, note=note)
    yield from rows_of_memory("memory-text", "memory of a process that has searched by words", workers, 5.0)


def rows_of_images(workers: dict[str, Worker], photos: list[Path]) -> Iterator[Row]:
    """Warm searches by an image, and the memory of a process that has seen both kinds."""
    encode, search = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for worker in workers.values():
        worker("search_image", file=str(photos[0]))
        worker("encode_image", file=str(photos[0]))
    for photo in track(photos, "warm searches by an image", console=console, transient=True):
        for name, worker in workers.items():
            encode[name].append(worker("encode_image", file=str(photo))["ms"])
        for name, worker in workers.items():
            search[name].append(worker("search_image", file=str(photo))["ms"])
    note = f"one core, a JPEG of {PHOTO[0]}x{PHOTO[1]}"
    what = "decoding, preprocessing and encoding an image, warm"
    yield from rows("image-warm", what, "ms", encode, target=1.4, note=note)
    note = f"{note}; a search of {INDEXED} images in OpenSearch included"
    yield from rows("image-handler", "the whole handler, an image, warm", "ms", search, note=note)
    yield from rows_of_memory("memory-image", "memory of a process that has searched by images too", workers, 3.0)


def rows_of_memory(key: str, what: str, workers: dict[str, Worker], target: float) -> Iterator[Row]:
    """The most that was resident so far."""
    peaks = {name: [worker("memory")["peak_mb"]] for name, worker in workers.items()}
    note = "the most that was resident (VmHWM), mapped files included"
    yield from rows(key, what, "MB", peaks, target=target, note=note)


def rows_of_size() -> Iterator[Row]:
    """What is installed, without weights and without the base image, which both have."""
    ours, _ = peers.installed_mb("ours")
    for name, against in PEERS.items():
        theirs, cuda = peers.installed_mb(name)
        yield Row(
            f"size/{name}", "installed: packages and code, without weights and base image", against, "MB", ours,
            theirs - cuda, target=5.0,
            note=f"torch counted as if for CPUs alone; as PyPI has it, with CUDA, {theirs:,.0f} MB "
            f"({theirs / ours:.0f} times ours). Both with bytecode, and pruned as in functions/query/Dockerfile",
        )  # fmt: skip


def rows(key: str, what: str, unit: str, measured: Measured, **more: Any) -> Iterator[Row]:
    """A row for each encoder of ours against each peer."""
    for ours, suffix in OURS.items():
        for name, against in PEERS.items():
            yield compared(f"{key}{suffix}/{name}", what, against, unit, measured[ours], measured[name], **more)
