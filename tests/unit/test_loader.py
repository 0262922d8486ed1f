"""Loading parts into the embedded index; the function that does it on events is in tests/integration."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from imagesearch.errors import IndexUnavailable, NotFound, PartError
from imagesearch.index import open_index
from imagesearch.index.base import Action, Delete, Upsert, VectorIndex
from imagesearch.load import Loaded, load_part, part_keys
from imagesearch.parts import Part, part_key, write_part
from imagesearch.records import ImageMetadata
from imagesearch.storage import FolderStorage

MODEL, DIM = "3f2a", 4
ODD = ["a b+c%20.jpg", "é/🐶.png", "'; DROP TABLE images; --"]


class Loader:
    """A storage of parts and an index to load them into."""

    def __init__(self, folder: Path) -> None:
        self.storage = FolderStorage(folder / "parts")
        self.url = f"duckdb:///{folder}/index.duckdb"
        self.index = self.open(MODEL, DIM)

    def open(self, fingerprint: str, dim: int) -> VectorIndex:
        return open_index(self.url, fingerprint, dim, "lucene")

    def put(self, shard: int, actions: Sequence[Action], run: str = "r", root: str = "") -> str:
        key = root + part_key(MODEL, run, shard)
        self.storage.write(key, write_part(Part(MODEL, DIM, run, actions)))
        return key

    def load(self, key: str) -> Loaded:
        return load_part(self.storage, key, lambda fingerprint, dim: self.index)

    def ids(self, *ids: str) -> set[str]:
        return set(self.index.get(ids))


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def upsert(id: str, version: int = 1, title: str = "t", vector: Sequence[float] = (1, 0, 0, 0)) -> Upsert:
    return Upsert(id, version, np.array(vector, np.float32), ImageMetadata(uri=f"s3://b/{id}", title=title))


def test_a_part_fills_an_index_that_was_not_there(loader: Loader) -> None:
    loaded = loader.load(loader.put(0, [upsert(id) for id in ODD]))
    assert (loaded.fingerprint, loaded.result.upserted, loaded.result.rejected) == (MODEL, 3, [])
    assert loader.index.count() == 3
    assert loader.index.get(ODD)[ODD[0]].metadata == upsert(ODD[0]).metadata


def test_parts_come_to_the_same_end_doubled_late_and_in_any_order(loader: Loader) -> None:
    first = loader.put(0, [upsert("a", 1, "old"), upsert("b", 1), upsert("c", 1)], run="r1")
    second = loader.put(0, [upsert("a", 2, "new"), Delete("b", 2), Delete("never there", 2)], run="r2")
    for order in ([first, second], [second, first], [second, first, first, second], [first, first, second, first]):
        loader.index.drop()
        for key in order:
            loader.load(key)
        assert loader.ids("a", "b", "c", "never there") == {"a", "c"}
        assert loader.index.get(["a"])["a"].metadata.title == "new"


def test_what_the_index_refuses_is_written_beside_the_ledger_and_the_rest_goes_in(
    loader: Loader, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    key = loader.put(7, [upsert("good"), upsert("zéro", vector=(0, 0, 0, 0))], run="r1")
    assert [rejection.id for rejection in loader.load(key).result.rejected] == ["zéro"]
    assert loader.ids("good", "zéro") == {"good"}
    assert "zéro" in caplog.text
    (line,) = loader.storage.read("runs/r1/rejected/00007.jsonl").decode().splitlines()
    row = json.loads(line)
    assert row["id"] == "zéro"
    assert row["reason"]
    loader.put(7, [upsert("good"), upsert("zéro")], run="r1")  # encoded again, rightly
    loader.load(key)
    assert loader.storage.read("runs/r1/rejected/00007.jsonl") == b""


def test_a_part_below_a_folder_of_its_own_has_its_rejections_there(loader: Loader) -> None:
    loader.load(loader.put(0, [upsert("zero", vector=(0, 0, 0, 0))], root="my photos/x/"))
    assert [found.key for found in loader.storage.list("my photos/x/runs/")] == [
        "my photos/x/runs/r/rejected/00000.jsonl"
    ]


def test_a_part_that_is_gone_damaged_or_in_the_wrong_place_is_refused(loader: Loader) -> None:
    good = loader.put(0, [upsert("a")])
    data = loader.storage.read(good)
    elsewhere, damaged = part_key("beef", "r", 0), part_key(MODEL, "r", 1)
    loader.storage.write(elsewhere, data)
    loader.storage.write(damaged, data[:-50])
    with pytest.raises(NotFound):
        loader.load(part_key(MODEL, "r", 9))
    with pytest.raises(PartError, match=f"{elsewhere} is of the model 3f2a, not beef"):
        loader.load(elsewhere)
    with pytest.raises(PartError, match=damaged):
        loader.load(damaged)
    with pytest.raises(PartError, match=r"x\.parquet is no key of a part"):
        loader.load("x.parquet")
    assert loader.index.count() == 0


def test_an_index_that_is_away_is_an_error_and_trying_again_is_safe(loader: Loader) -> None:
    key = loader.put(0, [upsert("a")])

    def away(fingerprint: str, dim: int) -> VectorIndex:
        raise IndexUnavailable("the index doesn't answer")

    with pytest.raises(IndexUnavailable):
        load_part(loader.storage, key, away)
    assert loader.load(key).result.upserted == 1


def test_the_parts_of_a_storage_are_listed_and_nothing_else(loader: Loader) -> None:
    keys = [loader.put(shard, []) for shard in (2, 0, 1)]
    loader.storage.write("vectors/notes.txt", b"")
    loader.storage.write("runs/r/work/00000.parquet", b"")
    assert list(part_keys(loader.storage)) == sorted(keys)
