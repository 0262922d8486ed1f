"""The statistics that searches use: read when needed, read anew, and never in a search's way."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from imagesearch import collection
from imagesearch.collection import MAX_AGE_SECONDS, MISSING_SECONDS, LatestStatistics
from imagesearch.statistics import CollectionStatistics, statistics_key
from imagesearch.storage import FolderStorage


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def write(folder: Path, count: int, dim: int = 3) -> None:
    statistics = CollectionStatistics(count, np.zeros(dim, np.float32), np.eye(dim, dtype=np.float32))
    FolderStorage(folder).write(statistics_key("f00d"), statistics.to_bytes())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def latest(tmp_path: Path, clock: Clock) -> LatestStatistics:
    return LatestStatistics(str(tmp_path), "f00d", 3, clock)


def count(latest: LatestStatistics) -> int | None:
    statistics = latest()
    return statistics.count if statistics else None


def test_statistics_are_read_once_and_again_after_an_hour(
    tmp_path: Path, latest: LatestStatistics, clock: Clock
) -> None:
    write(tmp_path, 1)
    assert count(latest) == 1
    write(tmp_path, 2)
    clock.now = MAX_AGE_SECONDS - 1
    assert count(latest) == 1
    clock.now = MAX_AGE_SECONDS
    assert eventually(latest, 2)


def eventually(latest: LatestStatistics, wanted: int | None) -> bool:
    """Whether they come to be so: what is known goes on being used while it is read anew."""
    waiting = threading.Event()
    return any(count(latest) == wanted or waiting.wait(0.01) for _ in range(500))


def test_a_collection_without_statistics_is_looked_at_again_after_a_minute(
    tmp_path: Path, latest: LatestStatistics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    assert count(latest) is None
    write(tmp_path, 1)
    assert count(latest) is None
    clock.now = MISSING_SECONDS
    assert count(latest) == 1
    assert not caplog.records  # a collection need not have any


def test_statistics_that_are_removed_are_gone(tmp_path: Path, latest: LatestStatistics, clock: Clock) -> None:
    write(tmp_path, 1)
    assert count(latest) == 1
    FolderStorage(tmp_path).delete(statistics_key("f00d"))
    clock.now = MAX_AGE_SECONDS
    assert eventually(latest, None)


def test_damaged_statistics_are_logged_and_the_last_ones_kept(
    tmp_path: Path, latest: LatestStatistics, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    storage = FolderStorage(tmp_path)
    storage.write(statistics_key("f00d"), b"nonsense")
    assert count(latest) is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "statistics" in record.getMessage()
    write(tmp_path, 1)
    clock.now += MISSING_SECONDS
    assert count(latest) == 1
    storage.write(statistics_key("f00d"), b"nonsense")
    clock.now += MAX_AGE_SECONDS
    assert count(latest) == 1
    assert eventually_logged(latest, caplog, 2)
    assert count(latest) == 1


def eventually_logged(latest: LatestStatistics, caplog: pytest.LogCaptureFixture, records: int) -> bool:
    waiting = threading.Event()
    return any((latest() and len(caplog.records) == records) or waiting.wait(0.01) for _ in range(500))


def test_statistics_of_another_dimension_are_not_used(
    tmp_path: Path, latest: LatestStatistics, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, dim=4)
    assert count(latest) is None
    assert "4 dimensions" in caplog.text


def test_a_storage_that_can_not_be_opened_costs_nothing_but_confidence(caplog: pytest.LogCaptureFixture) -> None:
    assert LatestStatistics("ftp://nowhere", "f00d", 3)() is None
    assert "ftp://nowhere" in caplog.text


def test_a_search_does_not_wait_for_slow_statistics(
    tmp_path: Path, latest: LatestStatistics, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 1)
    there = threading.Event()
    read = collection.read_statistics

    def slow(*given: object) -> CollectionStatistics | None:
        assert there.wait(10)
        return read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(collection, "read_statistics", slow)
    monkeypatch.setattr(collection, "PATIENCE_SECONDS", 0.01)
    assert count(latest) is None
    assert count(latest) is None
    there.set()
    assert eventually(latest, 1)
    there.clear()
    clock.now = MAX_AGE_SECONDS
    assert count(latest) == 1  # those of the hour before, while the new ones come
    there.set()
