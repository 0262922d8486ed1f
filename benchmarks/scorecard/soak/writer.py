"""Photos that come, change and go: a part every few seconds, of which is known what the index should make of it."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from benchmarks.scorecard.pictures import INFO, Picture, document
from benchmarks.scorecard.soak.truth import Truth
from imagesearch.errors import StorageError, VectorIndexError
from imagesearch.index.base import Action, Delete, VectorIndex
from imagesearch.parts import Part, part_key, write_part
from imagesearch.storage import Storage

EVERY_SECONDS = 5.0
RUN = "20260101T000000000Z"
FIRST_VERSION = 1_767_225_600_000
"""The time of the run, in ms."""
IDS, ACTIONS = 400, 30
"""How many ids come and go, and how many of them in one part."""
DELETIONS = 0.25
LATE, LATE_BY = 4, 6
"""Each fourth part is late: its versions are older than those of the six parts before it."""
AGAIN = 5
"""Each fifth time, the part before is written again as it is, which announces it twice."""


def parts(pictures: Sequence[Picture], first: int = 0) -> Iterator[list[Action]]:
    """The actions of part after part, always the same, each with a document of its own: its `marker`."""
    number = first
    while True:
        chance = random.Random(number)  # noqa: S311
        late = number % LATE == LATE - 1
        version = FIRST_VERSION + 1_000 * (number - (LATE_BY if late else 0)) + late
        actions: list[Action] = []
        for id in chance.sample(range(IDS), ACTIONS):
            picture = chance.choice(pictures)
            if chance.random() < DELETIONS:
                actions.append(Delete(f"coming/{id}", version))
            else:
                actions.append(document(f"coming/{id}", version, picture, picture.vector))
        picture = chance.choice(pictures)
        actions.append(document(marker(number), version, picture, picture.vector))
        yield actions
        number += 1


def marker(number: int) -> str:
    """Id of the document that tells whether a part is searched."""
    return f"marker/{number}"


class Writer:
    """Writes parts to `storage` while entered, the first with the number `first`. `truth` knows of each beforehand.

    A part that can't be written is written later, as a job of AWS Batch is tried again: leaving waits for that.
    """

    def __init__(self, storage: Storage, truth: Truth, pictures: Sequence[Picture], first: int) -> None:
        self._storage = storage
        self._truth = truth
        self._pictures = pictures
        self._first = first
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.refused = 0
        self.written: dict[int, float] = {}
        """When each part was written, by its number; time.monotonic()."""

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        before = b""
        for number, actions in enumerate(parts(self._pictures, self._first), self._first):
            self._truth.add(actions)
            data = as_part(actions)
            self._write(number, data)
            self.written[number] = time.monotonic()
            if before and number % AGAIN == 0:
                self._write(number - 1, before)
            before = data
            if self._done.wait(EVERY_SECONDS):
                return

    def _write(self, number: int, data: bytes) -> None:
        while True:
            try:
                self._storage.write(part_key(INFO.fingerprint, RUN, number), data)
                return
            except StorageError:
                self.refused += 1
                time.sleep(1)


def as_part(actions: Sequence[Action]) -> bytes:
    """A part of `actions` of the bundled model."""
    return write_part(Part(INFO.fingerprint, INFO.embed_dim, RUN, actions))


class Watcher:
    """Looks, while entered, for what `writer` wrote; `delays` are the seconds from written to found, by part."""

    def __init__(self, writer: Writer, index: VectorIndex) -> None:
        self._writer = writer
        self._index = index
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)
        self.delays: dict[int, float] = {}

    def __enter__(self) -> "Watcher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def waiting(self) -> list[int]:
        """The parts that were written and not found yet."""
        return [number for number in list(self._writer.written) if number not in self.delays]

    def _run(self) -> None:
        while not self._done.wait(0.5):
            waiting = {marker(number): number for number in self.waiting()}
            with suppress(VectorIndexError):  # it is down just now
                for id in self._index.describe(list(waiting)) if waiting else ():
                    self.delays[waiting[id]] = time.monotonic() - self._writer.written[waiting[id]]
