"""The statistics of a collection: of what the index should have, new at the end of each run, gone with the model."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batch import statistics
from batch.cli import main
from batch.statistics import write_statistics
from imagesearch.index.base import Float32, Upsert
from imagesearch.load import part_keys
from imagesearch.parts import parse_part_key, read_part
from imagesearch.statistics import CollectionStatistics, read_statistics, statistics_key
from imagesearch.storage import FolderStorage

MODEL = Path(__file__).parents[2] / "models" / "tiny"
FINGERPRINT: str = json.loads((MODEL / "model.json").read_text())["fingerprint"]
PHOTOS = ("cat", "dog-face", "pizza", "rocket", "banana", "sun", "moon-cake")


@dataclass
class Ran:
    code: int
    out: str
    err: str


@dataclass
class World:
    """A folder of photos, an output, and the command line."""

    photos: Path
    output: FolderStorage
    run: Callable[..., Ran]

    def encode(self, *options: object) -> Ran:
        return self.run("encode", self.photos, "-o", self.output.folder, "--model", MODEL, *options)

    def vectors(self) -> dict[str, Float32]:
        """The vector of each photo that the index would have after all parts."""
        actions = [action for key in part_keys(self.output) for action in read_part(self.output.read(key)).actions]
        latest = {action.id: action for action in sorted(actions, key=lambda action: action.version)}
        return {id: action.vector for id, action in latest.items() if isinstance(action, Upsert)}

    def statistics(self) -> CollectionStatistics | None:
        return read_statistics(self.output, FINGERPRINT)


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("COLUMNS", "300")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in PHOTOS:
        shutil.copy(MODEL / "photos" / f"{name}.webp", photos)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, " ".join(out.split()), " ".join(err.split()))

    return World(photos, FolderStorage(tmp_path / "out"), run)


def check(world: World, count: int) -> None:
    """The statistics are those of the vectors that are there, and of nothing else."""
    found, vectors = world.statistics(), np.stack(list(world.vectors().values()))
    expected = CollectionStatistics.of_vectors(vectors)
    assert found is not None
    assert found.count == expected.count == count
    assert np.abs(found.mean - expected.mean).max() < 1e-6
    assert np.abs(found.covariance - expected.covariance).max() <= np.abs(expected.covariance).max() * 2**-10


def test_they_are_of_all_photos_that_are_there_after_each_run(world: World) -> None:
    assert world.encode("--shard-size", 2).code == 0
    check(world, 7)
    (world.photos / "pizza.webp").unlink()
    shutil.copy(MODEL / "photos" / "ant.webp", world.photos / "cat.webp")
    shutil.copy(MODEL / "photos" / "bus.webp", world.photos / "bus.webp")
    assert world.encode().code == 0
    check(world, 7)
    (world.photos / "bus.webp").write_bytes(b"no picture")  # it stays in the index as it was
    assert world.encode().code == 3
    check(world, 7)


def test_photos_of_all_sources_count(world: World, tmp_path: Path) -> None:
    assert world.encode().code == 0
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(MODEL / "photos" / "bus.webp", other)
    assert world.run("encode", other, "-o", world.output.folder, "--model", MODEL).code == 0
    check(world, 8)


def test_a_run_that_does_nothing_leaves_them_alone_but_makes_missing_ones(world: World) -> None:
    assert world.encode().code == 0
    path = world.output.folder / statistics_key(FINGERPRINT)
    made = path.read_bytes()
    path.write_bytes(b"as it was")
    assert world.encode().code == 0
    assert path.read_bytes() == b"as it was"
    path.unlink()
    assert world.encode().code == 0
    assert path.read_bytes() == made


def test_without_photos_there_are_none(world: World) -> None:
    for photo in world.photos.iterdir():
        photo.write_bytes(b"no picture")
    assert world.encode().code == 3
    assert world.statistics() is None
    assert write_statistics(world.output, "unknown") is None
    told = world.run("statistics", "-o", world.output.folder)
    assert (told.code, "Nothing is encoded" in told.err) == (0, True)


def test_the_command_makes_them_anew_and_the_report_too_if_asked(world: World) -> None:
    assert world.encode().code == 0
    path = world.output.folder / statistics_key(FINGERPRINT)
    made = path.read_bytes()
    path.write_bytes(b"damaged")
    told = world.run("statistics", "-o", world.output.folder)
    assert (told.code, told.out) == (0, f"vectors/{FINGERPRINT}/statistics.npz: of 7 photos")
    assert path.read_bytes() == made
    path.unlink()
    assert world.run("report", "-o", world.output.folder).code == 0
    assert not path.exists()
    assert world.run("report", "-o", world.output.folder, "--statistics").code == 0
    assert path.read_bytes() == made


def test_a_part_that_has_gone_does_not_undo_a_run_and_stops_the_command(world: World) -> None:
    assert world.encode("--shard-size", 3).code == 0
    before = world.statistics()
    gone = next(part_keys(world.output))
    world.output.delete(gone)
    shutil.copy(MODEL / "photos" / "bus.webp", world.photos / "bus.webp")
    encoded = world.encode()
    assert (encoded.code, "stay as they were" in encoded.err, gone in encoded.err) == (0, True, True)
    after = world.statistics()
    assert before is not None
    assert after is not None
    assert after.to_bytes() == before.to_bytes()
    told = world.run("statistics", "-o", world.output.folder)
    assert (told.code, gone in told.err) == (1, True)


def test_they_are_no_part_and_go_with_their_model(world: World, tmp_path: Path) -> None:
    assert world.encode().code == 0
    assert parse_part_key(statistics_key(FINGERPRINT)) is None
    index = ("--index", f"duckdb:///{tmp_path}/i.duckdb")
    assert world.run("load", world.output.folder, *index).code == 0
    assert world.run("prune", FINGERPRINT, "-o", world.output.folder, *index, "--yes").code == 0
    assert not world.output.exists(statistics_key(FINGERPRINT))


def test_of_a_large_collection_they_are_of_a_sample_that_stays_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i, photo in enumerate(sorted((MODEL / "photos").glob("*.webp"))[:150]):
        shutil.copy(photo, world.photos / f"{i:03}.webp")
    assert world.encode("--shard-size", 20).code == 0
    whole = world.statistics()
    monkeypatch.setattr(statistics, "SAMPLE", 100)
    monkeypatch.setattr(statistics, "DRAWS", 10)
    read = []
    monkeypatch.setattr(
        statistics, "read_part", lambda *args, **named: read.append(named["name"]) or read_part(*args, **named)
    )
    sampled = write_statistics(world.output, FINGERPRINT)
    assert whole is not None
    assert sampled is not None
    assert sampled.count == whole.count == 157
    assert len(read) == len(set(read)) <= 10
    for query in list(world.vectors().values())[:20]:
        assert sampled.deviation(query) == pytest.approx(whole.deviation(query), rel=0.4)
        assert sampled.background(query)[0] == pytest.approx(whole.background(query)[0], abs=whole.deviation(query) / 2)
    again = write_statistics(world.output, FINGERPRINT)
    assert again is not None
    assert again.to_bytes() == sampled.to_bytes()
