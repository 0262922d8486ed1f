"""A whole query, from the request over HTTP to the answer, asked by 1, 4 and 16 clients at once.

The clients ask in a closed loop (see mix.py). They are spread over as many instances of the query function as the
machine has cores, each a process of its own behind the gateway of the local stack, which lets one request in at a time
and closes its connection afterwards. All of them search one real OpenSearch, which shares the cores with them. On
Lambda, 16 clients would get 16 instances, on cores of their own: there, the figures for 1 client hold for each, as long
as OpenSearch keeps up.
"""

import os
import statistics as averages
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from rich.console import Console

from benchmarks.scorecard.instances import instances
from benchmarks.scorecard.mix import SHARES, Answer, Mix, ask_for
from benchmarks.scorecard.opensearch import server_url
from benchmarks.scorecard.pictures import INFO, Picture, documents, pictures
from benchmarks.scorecard.rows import Row
from imagesearch.index import open_index
from imagesearch.statistics import CollectionStatistics, statistics_key
from imagesearch.storage import FolderStorage
from local.demo import MODEL

CLIENTS = (1, 4, 16)
PARTS = ("encode", "search", "sign")

console = Console(stderr=True, highlight=False)


def measure(quick: bool) -> Iterator[Row]:
    """Time from request to answer, answers a second, and where the time goes.

    Raises:
        RuntimeError: a request failed, or was answered wrong.
    """
    some = pictures(400 if quick else 2_000)
    count = 2_000 if quick else 20_000
    cores = os.cpu_count() or 1
    with _searched(some, count), instances(cores) as urls:
        _load(urls, some, 2 * len(urls), 3 if quick else 10, seed=1)  # warms up
        for clients in CLIENTS:
            console.print(f"{clients} clients ask {len(urls)} instances")
            answers = _load(urls, some, clients, 3 if quick else 20, seed=1_000 * clients)
            yield from _rows(answers, clients, f"{count:,} documents, {len(urls)} instances, {cores} cores")


@contextmanager
def _searched(some: tuple[Picture, ...], count: int) -> Iterator[None]:
    """An OpenSearch with `count` documents made of `some` pictures, in the environment of instances."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        console.print("starting OpenSearch")
        url = server_url()
        index = open_index(url, INFO.fingerprint, INFO.embed_dim)
        console.print(f"indexing {count:,} documents")
        index.bulk(documents(some, count))
        index.refresh()
        known = CollectionStatistics.of_vectors(np.stack([picture.vector for picture in some]))
        FolderStorage(folder).write(statistics_key(INFO.fingerprint), known.to_bytes())
        settings = {
            "IMAGESEARCH_INDEX_URL": url,
            "IMAGESEARCH_MODEL": str(MODEL),
            "IMAGESEARCH_FILE_BASE_URL": "https://photos.example",
            "IMAGESEARCH_VECTORS_URL": str(folder),
        }
        running.enter_context(patch.dict(os.environ, settings))
        yield


def _load(urls: list[str], some: tuple[Picture, ...], clients: int, seconds: float, seed: int) -> list[Answer]:
    """The answers that `clients` get in `seconds`; with another `seed` they ask for other texts, which no cache knows.

    Raises:
        RuntimeError: one of them isn't right.
    """
    answers: list[Answer] = []
    done = threading.Event()
    known = {picture.path.name for picture in some}
    threads = []
    for client in range(clients):
        mix = Mix(some, _id_of, lambda id: id.partition("/")[2] in known, seed + client)
        threads.append(ask_for(mix, urls[client % len(urls)], done, answers.append))
    done.wait(seconds)
    done.set()
    for thread in threads:
        thread.join()
    if bad := [answer for answer in answers if answer.status != 200 or answer.problem]:
        raise RuntimeError(
            f"{len(bad)} of {len(answers)} requests failed: {bad[0].kind}, {bad[0].problem or bad[0].status}"
        )
    return answers


def _id_of(picture: Picture) -> str:
    return f"0/{picture.path.name}"


def _rows(answers: list[Answer], clients: int, where: str) -> Iterator[Row]:
    times = [answer.ms for answer in answers]
    who = "1 client" if clients == 1 else f"{clients} clients"
    timed = [answer for answer in answers if answer.parts]
    parts = {name: averages.median(answer.parts[name] for answer in timed) for name in PARTS}
    parts["rest"] = averages.median(answer.ms - sum(answer.parts.values()) for answer in timed)
    note = where if clients == 1 else f"{where}; " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in parts.items())
    yield Row(f"api-p50-{clients}", f"a query over HTTP, {who}: median", "", "ms", averages.median(times), note=note)
    yield Row(f"api-p99-{clients}", f"a query over HTTP, {who}: 99 of 100", "", "ms", float(np.quantile(times, 0.99)))
    rate = len(answers) / (max(answer.ended for answer in answers) - min(answer.began for answer in answers))
    yield Row(f"api-rate-{clients}", f"queries over HTTP, {who}", "", "requests/s", rate, better="more")
    if clients > 1:
        return
    words = {
        "encode": "making a vector of the query",
        "search": "asking OpenSearch",
        "sign": "URLs and the answer",
        "rest": "HTTP, a connection, JSON, checks of the request",
    }
    for name, ms in parts.items():
        yield Row(f"api-{name}", f"of a query over HTTP, 1 client: {words[name]}", "", "ms", ms, note="median")
    for kind in SHARES:
        if of_kind := [answer.ms for answer in answers if answer.kind == kind]:
            yield Row(
                f"api-p50-1/{kind.replace(' ', '-')}",
                f"of these, {kind}",
                "",
                "ms",
                averages.median(of_kind),
                note="median",
            )
