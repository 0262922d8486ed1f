"""Search and write for some minutes while OpenSearch and S3 fail to a schedule, then compare the index with the truth.

    python -m benchmarks.scorecard.soak [--minutes 10] [--output soak.json]

Clients ask a mix of queries all the time, a part of vectors comes every few seconds, and each of these happens once:
OpenSearch is stopped and started; it is killed and started; S3 is slow; S3 fails. Ends with status 1 if a document was
lost, is too many or out of date, an answer was wrong, or an error was none that a client can make something of.
"""

import argparse
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import urllib3
from rich.console import Console
from rich.table import Table

from benchmarks.scorecard.instances import instances
from benchmarks.scorecard.mix import TIMEOUT_SECONDS, Mix, ask_for, put
from benchmarks.scorecard.pictures import INFO, Picture, documents, pictures
from benchmarks.scorecard.rows import save
from benchmarks.scorecard.soak.report import CALM, IN_A_ROW, Findings, Phase, recovered, rows, table
from benchmarks.scorecard.soak.truth import Truth
from benchmarks.scorecard.soak.world import RETRY_SECONDS, World, world
from benchmarks.scorecard.soak.writer import RUN, Watcher, Writer, as_part
from imagesearch.parts import part_key
from imagesearch.statistics import CollectionStatistics, statistics_key

CLIENTS = 4
PAUSE_SECONDS = 0.1
"""Between two requests of a client: the load of people, not the most that the machine can bear."""
DOWN_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""How long is waited for the search to be well again after an outage."""
PART = 400
"""Documents of a part of the first ones."""

console = Console(stderr=True, highlight=False)


def soak(minutes: float) -> Findings:
    """Run the schedule, which takes `minutes` and the time to bring all up and to drain the queue."""
    some, truth, found = pictures(1_000), Truth(), Findings()
    console.print("starting OpenSearch, S3, SQS, the loader and instances of the query function")
    with world() as running:
        first = fill(running, some, truth)
        writer = Writer(running.vectors, truth, some, first)
        watcher = Watcher(writer, running.index)
        with watcher:
            with ExitStack() as busy:
                busy.enter_context(writer)
                done = threading.Event()
                for client in range(CLIENTS):
                    url = running.urls[client % len(running.urls)]
                    thread = ask_for(_mix(some, truth, client), url, done, found.answers.append, PAUSE_SECONDS)
                    busy.callback(thread.join)
                busy.callback(done.set)
                for phase in schedule(running, minutes * 60, found, lambda: _mix(some, truth, CLIENTS)):
                    found.phases.append(phase)
                    console.print(f"{phase.name}: {phase.ended - phase.began:.0f} s, {len(found.of(phase))} queries")
            found.drained = drain(running, watcher)
        running.index.refresh()
        found.difference = truth.compare(running.index.versions())
        found.documents = len(truth.versions)
        found.delays, found.written, found.unseen = watcher.delays, writer.written, watcher.waiting()
        found.refused, found.dead = writer.refused, running.queue.dead()
        found.messages, found.retries = running.loader.messages, running.loader.failures
    return found


def fill(running: World, some: tuple[Picture, ...], truth: Truth) -> int:
    """Write the pictures as parts, with their statistics, and wait for the index; how many parts they were.

    Raises:
        RuntimeError: the index doesn't get them.
    """
    actions = list(documents(some, len(some)))
    truth.add(actions)
    known = CollectionStatistics.of_vectors(np.stack([picture.vector for picture in some]))
    running.vectors.write(statistics_key(INFO.fingerprint), known.to_bytes())
    starts = range(0, len(actions), PART)
    for number, start in enumerate(starts):
        running.vectors.write(part_key(INFO.fingerprint, RUN, number), as_part(actions[start : start + PART]))
    if _until(lambda: not running.queue.pending(), 120) is None:
        raise RuntimeError("the loader doesn't load: its log says why")
    running.index.refresh()
    if running.index.count() != len(some):
        raise RuntimeError(f"the index has {running.index.count()} of {len(some)} pictures")
    return len(starts)


def schedule(running: World, seconds: float, found: Findings, mix: Callable[[], Mix]) -> Iterator[Phase]:
    """The phases, one after the other: each fault begins after a share of `seconds`, and all is calm in between."""
    start = calm = time.monotonic()
    faults: list[tuple[float, str, Callable[[], float | None]]] = [
        (0.10, "restart", lambda: _restart(running, running.server.stop)),
        (0.35, "kill", lambda: _restart(running, running.server.kill)),
        (0.60, "slow S3", lambda: _trouble(running, "slow", 0.1 * seconds, found, mix())),
        (0.80, "failing S3", lambda: _trouble(running, "failing", 0.1 * seconds, found, mix())),
    ]
    for share, name, fault in faults:
        time.sleep(max(0.0, start + share * seconds - time.monotonic()))
        began = time.monotonic()
        yield Phase(CALM, calm, began)
        console.print(f"now: {name}")
        answered = fault()
        if answered:
            _until(lambda since=answered: recovered(list(found.answers), since, IN_A_ROW), PATIENCE_SECONDS)
        calm = time.monotonic()
        yield Phase(name, began, calm, answered)
    time.sleep(max(0.0, start + seconds - time.monotonic()))
    yield Phase(CALM, calm, time.monotonic())


def _restart(running: World, end: Callable[[], None]) -> float:
    """End OpenSearch and start it again; when it answered."""
    end()
    time.sleep(DOWN_SECONDS)
    running.server.start()
    return time.monotonic()


def _trouble(running: World, state: str, seconds: float, found: Findings, mix: Mix) -> None:
    """Have S3 slow or failing for `seconds`, and meanwhile one more instance start and answer."""
    end = time.monotonic() + seconds
    running.s3.state = state
    with instances(1) as (url,), urllib3.PoolManager(retries=False, timeout=TIMEOUT_SECONDS) as pool:
        for ask, _ in zip(mix, range(10), strict=False):
            found.answers.append(put(pool, url, ask))
    time.sleep(max(0.0, end - time.monotonic()))
    running.s3.state = "well"


def drain(running: World, watcher: Watcher) -> float | None:
    """Wait until the queue is empty and everything in it is found; the seconds until it was empty, None if never."""
    drained = _until(lambda: not running.queue.pending(), 10 * RETRY_SECONDS)
    _until(lambda: not watcher.waiting(), 10)
    return drained


def _mix(some: tuple[Picture, ...], truth: Truth, seed: int) -> Mix:
    return Mix(some, lambda picture: f"0/{picture.path.name}", truth.knows, seed)


def _until(met: Callable[[], object], seconds: float) -> float | None:
    """The seconds until `met` was true; None if it wasn't in time."""
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        if met():
            return time.monotonic() - start
        time.sleep(0.2)
    return None


def main() -> None:
    """Soak, and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scorecard.soak", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--output", type=Path, default=Path(".bench/soak.json"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaves nothing behind either
    found = soak(options.minutes)
    figures = list(rows(found))
    save(figures, options.output)
    shown = Table("what", "figure", "", "note")
    for row in figures:
        shown.add_row(row.what, f"{row.ours:,.4g}", row.unit, row.note)
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    out.print(table(found), shown)
    problems = list(found.problems())
    for problem in problems:
        out.print(f"[red]{problem}[/red]", markup=True)
    out.print("Something went wrong, see above." if problems else "Nothing was lost, and no answer was wrong.")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
