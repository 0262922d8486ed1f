"""Several models in one output and one index: reindex, models, prune; and reconcile, which mends an index."""

import io
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from batch.cli import main
from imagesearch.clip.model import ModelInfo
from imagesearch.index import open_index
from imagesearch.index.base import Delete, Upsert, VectorIndex
from imagesearch.load import part_keys
from imagesearch.records import ImageMetadata
from imagesearch.storage import FolderStorage

PHOTOS = ("cat", "dog-face", "pizza", "rocket", "banana")


@dataclass
class Ran:
    code: int
    out: str
    err: str


@dataclass
class World:
    """An output with photos encoded by the model `old`, and an index that has them; `new` is another model."""

    photos: Path
    output: FolderStorage
    index_url: str
    old: Path
    new: Path
    run: Callable[..., Ran]

    def index(self, model: Path) -> VectorIndex:
        info = ModelInfo.load(model)
        return open_index(self.index_url, info.fingerprint, info.embed_dim)

    def load(self) -> None:
        assert self.run("load", self.output.folder, "--index", self.index_url).code == 0


@pytest.fixture(params=["embedded", "opensearch"])
def world(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setenv("COLUMNS", "200")
    url = f"duckdb:///{tmp_path}/index.duckdb"
    if request.param == "opensearch":
        url = request.getfixturevalue("opensearch_url")
    photos, output = tmp_path / "photos", FolderStorage(tmp_path / "out")
    photos.mkdir()
    for name in PHOTOS:
        shutil.copy(tiny_model / "photos" / f"{name}.webp", photos)

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, " ".join(out.split()), " ".join(err.split()))

    models = [model_like(tiny_model, tmp_path / name) for name in ("old", "new")]
    world = World(photos, output, url, *models, run)
    assert run("encode", photos, "-o", output.folder, "--model", world.old, "--shard-size", 2).code == 0
    world.load()
    yield world
    for model in models:
        world.index(model).drop()


def model_like(model: Path, folder: Path) -> Path:
    """A model that is called another one: of the same dimension, so that nothing but its name keeps vectors apart."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("photos", "checkpoint"))
    info = ModelInfo.load(folder).model_copy(update={"fingerprint": secrets.token_hex(6), "name": folder.name})
    info.save(folder)
    return folder


def test_a_new_model_is_filled_beside_the_old_one_and_no_query_sees_the_others(world: World) -> None:
    (world.photos / "pizza.webp").unlink()
    assert world.run("reindex", "-o", world.output.folder, "--model", world.new).code == 0
    world.load()
    old, new = world.index(world.old), world.index(world.new)
    assert (old.count(), new.count()) == (5, 4)
    query = np.zeros(new.dim, np.float32)
    query[0] = 1
    assert {hit.id for hit in new.search(query, 10)} == {path.name for path in world.photos.iterdir()}
    assert "pizza.webp" in {hit.id for hit in old.search(query, 10)}
    found = world.run("search", "a pizza", "--index", world.index_url, "--model", world.new, "--json")
    assert "pizza.webp" not in found.out
    found = world.run("search", "a pizza", "--index", world.index_url, "--model", world.old, "--json")
    assert found.out.startswith('{"id": "pizza.webp"')


def test_models_shows_how_much_of_each_the_index_has(world: World) -> None:
    assert world.run("reindex", "-o", world.output.folder, "--model", world.new).code == 0
    shown = world.run("models", "-o", world.output.folder, "--index", world.index_url).out
    old, new = (re.escape(ModelInfo.load(model).fingerprint) for model in (world.old, world.new))
    assert re.search(rf"{old}.*old.*5 │ 5 │ 100.0%.*{new}.*new.*5 │ 0 │ 0.0%", shown)
    nothing = world.run("models", "-o", world.output.folder / "elsewhere", "--index", world.index_url)
    assert "Nothing is encoded" in nothing.err


def test_an_old_model_is_removed_after_a_question_and_the_new_one_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert world.run("reindex", "-o", world.output.folder, "--model", world.new).code == 0
    world.load()
    fingerprint = ModelInfo.load(world.old).fingerprint
    prune = ("prune", fingerprint, "-o", world.output.folder, "--index", world.index_url)
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = world.run(*prune)
    assert asked.code == 1
    assert "Remove 5 photos of images-" in asked.out + asked.err
    assert world.index(world.old).count() == 5

    assert world.run(*prune, "--yes").code == 0
    assert (world.index(world.old).count(), world.index(world.new).count()) == (0, 5)
    assert {key.split("/")[1] for key in part_keys(world.output)} == {ModelInfo.load(world.new).fingerprint}
    assert not any(fingerprint in item.key for item in world.output.list())
    again = world.run(*prune, "--yes")
    assert (again.code, f"there is no model {fingerprint}" in again.err) == (1, True)
    assert world.run("reconcile", "-o", world.output.folder, "--index", world.index_url).code == 0


def test_reindex_reads_a_table_by_the_columns_that_were_chosen(world: World, tmp_path: Path) -> None:
    table, output = tmp_path / "photos.csv", tmp_path / "of-table"
    table.write_text("url,picture\nhttps://example.com/page,photos/cat.webp\n")
    encode = ("encode", table, "-o", output, "--model", world.old, "--column", "path=picture")
    assert world.run(*encode).code == 0
    assert world.run("reindex", "-o", output, "--model", world.new).code == 0
    assert "indexed 1" in " ".join(world.run("report", "-o", output).out.replace("│", " ").split())


def test_reindex_without_a_run_is_an_error(world: World) -> None:
    nothing = world.run("reindex", "-o", world.output.folder / "elsewhere", "--model", world.new)
    assert (nothing.code, "there are no runs" in nothing.err) == (1, True)


def test_reconcile_lists_what_is_missing_or_too_much_and_mends_it(world: World) -> None:
    index = world.index(world.old)
    documents = index.get([f"{name}.webp" for name in PHOTOS])
    reconcile = ("reconcile", "-o", world.output.folder, "--index", world.index_url)
    assert "has what was encoded, and nothing else" in world.run(*reconcile).out

    (world.photos / "rocket.webp").unlink()
    assert world.run("encode", world.photos, "-o", world.output.folder, "--model", world.old).code == 0
    world.load()
    rocket = documents["rocket.webp"]
    index.drop()  # it keeps the newest version, so what is older has to be there first
    index.bulk(
        [
            *(Upsert(one.id, one.version, one.vector, one.metadata) for id, one in documents.items() if id[0] != "b"),
            Delete("cat.webp", documents["cat.webp"].version),
            Upsert("banana.webp", 1, rocket.vector, ImageMetadata(uri="file:///old")),
            Upsert("stranger.webp", 7, rocket.vector, ImageMetadata(uri="file:///stranger")),
        ]
    )
    index.refresh()
    told = world.run(*reconcile)
    assert told.code == 3
    assert "lacks 2 images, and has 2 too many" in told.out
    for line in (r"banana\.webp │ lacks it", r"cat\.webp │ lacks it", r"rocket\.webp │ should not have it"):
        assert re.search(line, told.out)
    assert index.get(["stranger.webp"])

    assert world.run(*reconcile, "--fix").code == 0
    assert dict(index.versions()) == {id: one.version for id, one in documents.items() if id != "rocket.webp"}
    assert index.get(["banana.webp"])["banana.webp"].metadata == documents["banana.webp"].metadata
    assert world.run(*reconcile).code == 0


def test_a_photo_that_fails_after_it_changed_stays_as_it_was_and_is_no_difference(world: World) -> None:
    (world.photos / "cat.webp").write_bytes(b"no picture")
    assert world.run("encode", world.photos, "-o", world.output.folder, "--model", world.old).code == 3
    world.load()
    assert world.run("reconcile", "-o", world.output.folder, "--index", world.index_url).code == 0
    assert world.index(world.old).count() == 5
