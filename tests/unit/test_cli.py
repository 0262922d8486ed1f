"""The command line from end to end on one machine, with the bundled model."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch.cli import main
from imagesearch.parts import parse_part_key
from imagesearch.storage import FolderStorage

MODEL = Path(__file__).parents[2] / "models" / "tiny"
SAMPLES = ("cat", "dog", "pizza", "rocket", "banana")


@dataclass
class Ran:
    """Exit code and output, in which a run of blanks counts as one."""

    code: int
    out: str
    err: str
    lines: list[str]


class Command:
    """Runs `imagesearch …` in this process, in a folder with `photos/`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.photos, self.output = folder / "photos", folder / "out"
        self.index = f"duckdb:///{folder}/index.duckdb"
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Ran:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        code = stopped.value.code
        return Ran(code if isinstance(code, int) else 0, " ".join(out.split()), " ".join(err.split()), out.splitlines())

    def encode(self, *options: str | Path) -> Ran:
        return self("encode", self.photos, "-o", self.output, "--model", MODEL, *options)

    def load(self) -> Ran:
        return self("load", self.output, "--index", self.index)

    def search(self, *arguments: str | Path) -> Ran:
        return self("search", *arguments, "--index", self.index, "--model", MODEL)


@pytest.fixture
def imagesearch(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("IMAGESEARCH_MODEL", raising=False)
    monkeypatch.delenv("IMAGESEARCH_INDEX_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    command = Command(tmp_path, capsys)
    command.photos.mkdir()
    for name in SAMPLES:
        shutil.copy(MODEL / "photos" / f"{name}.webp", command.photos)
    return command


def test_encode_load_and_search(imagesearch: Command) -> None:
    encoded = imagesearch.encode("--shard-size", "2", "--workers", "2")
    assert encoded.code == 0
    assert "5 to encode, 0 to remove" in encoded.err
    assert "│ indexed │ 5" in encoded.out
    assert "The slowest stage is" in encoded.out

    loaded = imagesearch.load()
    assert loaded.code == 0
    assert "3 parts loaded: 5 images written, 0 removed, 0 already newer, 0 refused" in loaded.out

    found = imagesearch.search("pizza", "-k", "2")
    assert found.code == 0
    assert "pizza.webp" in found.out.split("│")[2]

    found = imagesearch.search(imagesearch.photos / "rocket.webp", "--k", "3", "--json")
    hits = [json.loads(line) for line in found.lines]
    assert len(hits) == 3
    assert (hits[0]["id"], hits[0]["format"]) == ("rocket.webp", "webp")
    assert hits[0]["uri"] == (imagesearch.photos / "rocket.webp").as_uri()
    assert hits[0]["score"] == pytest.approx(1, abs=1e-3)


def test_a_second_time_only_changes_are_encoded(imagesearch: Command) -> None:
    assert imagesearch.encode().code == 0
    again = imagesearch.encode()
    assert again.code == 0
    assert "Nothing has changed since the last run" in again.err
    (imagesearch.photos / "cat.webp").unlink()
    shutil.copy(MODEL / "photos" / "dog.webp", imagesearch.photos / "new.webp")
    changed = imagesearch.encode()
    assert "1 to encode, 1 to remove" in changed.err
    assert "unchanged 4" in changed.out
    imagesearch.load()
    assert "cat.webp" not in imagesearch.search("cat").out


def test_images_that_fail_are_counted_explained_and_named(imagesearch: Command) -> None:
    (imagesearch.photos / "empty.jpg").write_bytes(b"")
    (imagesearch.photos / "[red]no :dog: é 🐶\x1b[31m.png").write_text("only its name says so")
    encoded = imagesearch.encode()
    assert encoded.code == 3
    assert "2 images failed" in encoded.err
    assert "│ indexed │ 5" in encoded.out
    assert "│ failed │ 2" in encoded.out
    assert "empty 1" in encoded.out
    assert "not_an_image 1" in encoded.out

    report = imagesearch("report", "-o", imagesearch.output)
    assert report.code == 0
    assert " a second." in report.out
    assert "The slowest stage is" in report.out
    assert "empty.jpg" in report.out
    assert "[red]no :dog: é 🐶\\x1b[31m.png" in report.out
    run = next(FolderStorage(imagesearch.output).list("runs/")).key.split("/")[1]
    assert imagesearch("report", run, "-o", imagesearch.output).out == report.out

    again = imagesearch.encode()
    assert again.code == 0
    assert "2 failed before and are not tried again; --retry-failed does" in again.err
    assert imagesearch.encode("--retry-failed").code == 3


def test_a_damaged_part_is_named_and_the_others_are_loaded(imagesearch: Command) -> None:
    imagesearch.encode("--shard-size", "2")
    output = FolderStorage(imagesearch.output)
    key = next(found.key for found in output.list("vectors/") if parse_part_key(found.key))
    output.write(key, b"no parquet")
    loaded = imagesearch.load()
    assert loaded.code == 1
    assert key in loaded.err
    assert "2 parts loaded: 3 images written" in loaded.out


def test_foreseen_trouble_is_one_message_and_exit_code_1(imagesearch: Command, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for ran, message in (
        (imagesearch("encode", nowhere, "-o", imagesearch.output, "--model", MODEL), f"Error: there is no {nowhere}"),
        (imagesearch("encode", imagesearch.photos, "-o", "gs://x", "--model", MODEL), "'gs://x' is no storage"),
        (imagesearch("encode", imagesearch.photos, "-o", imagesearch.output, "--model", nowhere), "no model.json"),
        (imagesearch.load(), "there are no vector parts"),
        (imagesearch("load", imagesearch.output, "--index", "redis://x"), "no vector parts"),
        (imagesearch("report", "-o", imagesearch.output), "there are no runs"),
        (imagesearch("report", "2024", "-o", imagesearch.output), "there is no run 2024"),
    ):
        assert ran.code == 1
        assert message in ran.err
        assert "Traceback" not in ran.err
        assert ran.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "photos"],
        ["encode", "photos", "-o", "out"],
        ["encode", "photos", "-o", "out", "--model", "m", "--batch-size", "0"],
        ["search", "dog"],
        ["load", "out", "--index", "duckdb://", "--engine", "annoy"],
        ["fly"],
    ],
)
def test_bad_usage_is_exit_code_2(imagesearch: Command, arguments: list[str]) -> None:
    ran = imagesearch(*arguments)
    assert ran.code == 2


def test_searching_an_empty_index_says_so(imagesearch: Command) -> None:
    found = imagesearch.search("dog")
    assert found.code == 0
    assert "Nothing found" in found.err
    assert "has 0 images" in found.err


def test_without_torch_exporting_says_what_to_install(imagesearch: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    for arguments in (
        ["export-model", "model"],
        ["encode", imagesearch.photos, "-o", imagesearch.output, "--model-name", "ViT-B-32"],
    ):
        ran = imagesearch(*arguments)
        assert ran.code == 1
        assert "open_clip, which isn't installed: uv sync --group torch" in ran.err


@pytest.mark.parametrize("command", ["encode", "load", "search", "report", "export-model", "demo"])
def test_every_command_has_help_with_an_example(imagesearch: Command, command: str) -> None:
    ran = imagesearch(command, "--help")
    assert ran.code == 0
    assert f"imagesearch {command}" in ran.out.split("Example", 1)[1]


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, batch.cli; print({'torch', 'onnxruntime', 'duckdb', 'boto3', 'numpy'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"


def test_the_columns_of_a_table_are_named_by_options(imagesearch: Command, tmp_path: Path) -> None:
    table = tmp_path / "photos.tsv"
    table.write_text("file\tname\n" + "".join(f"photos/{name}.webp\tA {name}\n" for name in SAMPLES))
    command = ("encode", table, "-o", imagesearch.output, "--model", MODEL)
    ran = imagesearch(*command, "--column", "path=file", "--column", "title=name")
    assert ran.code == 0
    imagesearch.load()
    assert json.loads(imagesearch.search("pizza", "-k", "1", "--json").lines[0])["title"] == "A pizza"
    assert "its columns are file, name" in imagesearch(*command).err
    for wrong in ("file", "path=", "=file"):
        assert imagesearch(*command, "--column", wrong).code == 2
