"""The embedded index as a file: it lasts, holds several vector spaces, serves threads, and belongs to one process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from imagesearch.errors import IndexUnavailable, VectorIndexError
from imagesearch.index.base import Delete, Upsert
from imagesearch.index.embedded import EmbeddedIndex
from imagesearch.records import ImageMetadata

VECTOR = np.array([1, 0, 0], dtype=np.float32)


def photo(id: str, version: int = 1, dim: int = 3) -> Upsert:
    return Upsert(id, version, np.eye(dim, dtype=np.float32)[0], ImageMetadata(uri=f"file:///{id}"))


def test_what_was_written_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "photos.duckdb"
    index = EmbeddedIndex(path, "a", 3)
    index.bulk([photo("a"), Delete("b", 5)])
    index.close()
    again = EmbeddedIndex(path, "a", 3)
    assert [hit.id for hit in again.search(VECTOR, 5)] == ["a"]
    assert again.bulk([photo("b", 4)]).stale == 1


def test_one_file_holds_several_vector_spaces(tmp_path: Path) -> None:
    first, second = (EmbeddedIndex(tmp_path / "p.duckdb", f'finger"print{dim}', dim) for dim in (3, 4))
    first.bulk([photo("a", dim=3)])
    second.bulk([photo("b", dim=4), photo("c", dim=4)])
    assert (first.count(), second.count()) == (1, 2)
    first.drop()
    assert (first.count(), second.count()) == (0, 2)


def test_in_memory_indices_are_separate_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = EmbeddedIndex(None, "a", 3), EmbeddedIndex(None, "a", 3)
    first.bulk([photo("a")])
    assert (first.count(), second.count()) == (1, 0)
    assert list(tmp_path.iterdir()) == []


def test_threads_may_write_and_search_at_the_same_time(tmp_path: Path) -> None:
    shared = EmbeddedIndex(tmp_path / "p.duckdb", "a", 3)

    def work(thread: int) -> int:
        index = shared if thread % 2 else EmbeddedIndex(tmp_path / "p.duckdb", "a", 3)
        for version in range(1, 6):
            index.bulk([photo(f"{i}", version) for i in range(20)] + [photo(f"{thread}-{version}")])
            assert len(index.search(VECTOR, 100)) >= 20
        return index.count()

    with ThreadPoolExecutor(8) as pool:
        assert max(pool.map(work, range(8))) == 20 + 8 * 5
    assert {document.version for document in shared.get([str(i) for i in range(20)]).values()} == {5}


def test_a_file_in_use_by_another_process_is_unavailable_and_the_message_says_why(tmp_path: Path) -> None:
    path = tmp_path / "p.duckdb"
    program = f"import duckdb; database = duckdb.connect({str(path)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(IndexUnavailable, match="in use by another process"):
            EmbeddedIndex(path, "a", 3)
        other.communicate()
    EmbeddedIndex(path, "a", 3).create()


def test_a_file_that_is_no_database_is_an_index_error(tmp_path: Path) -> None:
    path = tmp_path / "p.duckdb"
    path.write_bytes(b"nothing like a database " * 1000)
    with pytest.raises(VectorIndexError, match=r"p\.duckdb"):
        EmbeddedIndex(path, "a", 3)
