"""`imagesearch demo`: encode a folder of photos, or the bundled pictures, and search them on a page."""

import hashlib
import logging
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.ledger import current_state, load_ledgers
from batch.plan import read_plans
from batch.sources import Source, open_source
from imagesearch.errors import IndexUnavailable
from imagesearch.parquet import connect
from local.stack import IndexKind, Stack, stack

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "tiny"
SAMPLES = MODEL / "photos"
STATE = ROOT / ".demo"

SHARD_SIZE = 200
"""Small, so that the first pictures are indexed while others are still being encoded."""
PERSIST_SECONDS = 2.0

console = Console(highlight=False)


def demo(photos: Path | None, *, model: Path, index: IndexKind, port: int, state: Path) -> None:
    """Encode and index `photos`, or the bundled pictures, and answer searches until Ctrl-C or SIGTERM.

    What was encoded stays in `state`, so that the next start encodes only what is new.

    Raises:
        ImageSearchError: the folder can't be read, the index can't be started, or the port is taken.
    """
    folder = (photos or SAMPLES).expanduser().resolve()
    source = open_source(str(folder if photos else SAMPLES / "photos.csv"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("local").setLevel(logging.INFO)  # what is installed and started, which may take its time
    try:
        with stack(state / _name(folder, index), model, folder, index, port) as running:
            with _persisting(running):
                ingest(source, running.vectors, open_encoder(model), shard_size=SHARD_SIZE)
                count = wait_for_index(running, source)
            console.print(f"\n[bold]{count:,} pictures are searched at {running.url}[/bold] (Ctrl-C stops)")
            threading.Event().wait()
    except KeyboardInterrupt:
        console.print("\nStopped. The next start goes on from here.")


def _name(folder: Path, index: IndexKind) -> str:
    """Name of the folder that keeps the state of `folder`; two folders of one name have different states."""
    readable = re.sub(r"[^\w.-]+", "-", folder.name) or "photos"
    return f"{readable}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}-{index}"


@contextmanager
def _persisting(running: Stack) -> Iterator[None]:
    """Keep what is encoded, shard by shard: even kill -9 costs no more than the last seconds."""
    done = threading.Event()

    def persist() -> None:
        while not done.wait(PERSIST_SECONDS):
            running.bucket.persist()

    thread = threading.Thread(target=persist, name="persist", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def wait_for_index(running: Stack, source: Source) -> int:
    """Wait until the index has what was encoded; the number of pictures in it.

    Raises:
        IndexUnavailable: a part couldn't be loaded.
    """
    encoded = _encoded(running, source)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("indexing", total=encoded)
        _drain(running, lambda count: progress.update(task, completed=count))
        if running.index.count() < encoded:
            # The index is new, or was lost: the parts that an earlier run encoded are announced once more.
            for key in running.bucket.keys(f"vectors/{running.fingerprint}/"):
                running.bucket.announce(key)
            _drain(running, lambda count: progress.update(task, completed=count))
    if (count := running.index.count()) < encoded:
        console.print(f"[yellow]{encoded - count:,} pictures are not in the index: the log above says why.[/yellow]")
    return count


def _encoded(running: Stack, source: Source) -> int:
    """How many pictures of `source` are encoded, by the ledger."""
    plans = read_plans(running.vectors)
    runs = [plan.run for plan in plans if (plan.source, plan.fingerprint) == (source.uri, running.fingerprint)]
    with connect() as con:
        load_ledgers(con, running.vectors, runs)
        current_state(con)
        (count,) = con.execute("SELECT count(*) FROM state WHERE status = 'indexed'").fetchall()[0]
    return int(count)


def _drain(running: Stack, report: Callable[[int], None]) -> None:
    """Wait until the loader has taken every part; `report` hears how many pictures the index has meanwhile."""
    while running.queue.pending():
        report(running.index.count())
        time.sleep(0.2)
    if dead := running.queue.dead():
        raise IndexUnavailable(f"{dead} parts couldn't be loaded into the index: the log above says why")
    running.index.refresh()
    report(running.index.count())
