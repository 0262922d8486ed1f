"""What puts a model artifact into an image while it is built, where the artifact is there already."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ARTIFACT = {"model.json", "text.onnx", "text.onnx.data", "image.onnx", "image.onnx.data", "tokenizer.json"}


def bake(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["sh", "batch/bake_model.sh", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def artifact(tiny_model: Path, tmp_path: Path) -> Path:
    """The bundled artifact, which is fp16, without its pictures."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    for name in ARTIFACT:
        (folder / name).write_bytes((tiny_model / name).read_bytes())
    return folder


@pytest.mark.parametrize("precision", [(), ("",), ("fp16",)])
def test_an_artifact_is_taken_in_its_own_precision(artifact: Path, tmp_path: Path, precision: tuple[str, ...]) -> None:
    baked = bake(artifact, tmp_path / "baked", *precision)
    assert baked.returncode == 0, baked.stderr
    assert {path.name for path in (tmp_path / "baked").iterdir()} == ARTIFACT | {"hub"}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_artifact_of_another_precision_is_refused(artifact: Path, tmp_path: Path, precision: str) -> None:
    baked = bake(artifact, tmp_path / "baked", precision)
    assert baked.returncode == 1
    assert f"is an artifact of another precision than PRECISION={precision}" in baked.stderr
    assert f"'imagesearch export-model --precision {precision}'" in baked.stderr
    assert not (tmp_path / "baked").exists()


def test_what_is_no_model_is_told(tmp_path: Path) -> None:
    baked = bake("models/nowhere", tmp_path / "baked", "int8")
    assert baked.returncode == 1
    assert "MODEL=models/nowhere is no folder with a model artifact" in baked.stderr
