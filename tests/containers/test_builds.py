"""What can be wrong with a build is told by the build."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from local.containers import ROOT

LAMBDA_LIMIT = 250 * 2**20
"""Code and layers, unpacked: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""


@pytest.mark.parametrize("dockerfile", ["functions/query/Dockerfile", "batch/Dockerfile"])
@pytest.mark.parametrize("model", ["", "models/nowhere", "models"])
def test_an_image_without_a_model_is_not_built(docker: Any, built: Any, dockerfile: str, model: str) -> None:
    arguments = ("--build-arg", f"MODEL={model}", "--build-arg", "TORCH=0")
    done = docker("build", "--force-rm", "--file", dockerfile, *built.on, *arguments, ".", check=False)
    assert done.returncode != 0
    assert f"error: MODEL={model} is no folder with a model artifact" in done.stdout + done.stderr


def test_an_image_with_half_a_model_is_not_built(docker: Any, built: Any, tmp_path: Path) -> None:
    context = tmp_path / "context"
    names = ("pyproject.toml", "uv.lock", "batch", "functions", "layers", ".dockerignore")
    context.mkdir()
    for name in names:
        source = ROOT / name
        shutil.copytree(source, context / name) if source.is_dir() else shutil.copy(source, context)
    half = context / "models" / "half"
    half.mkdir(parents=True)
    for name in ("model.json", "text.onnx", "text.onnx.data", "tokenizer.json"):
        shutil.copy(ROOT / "models" / "tiny" / name, half)
    dockerfile = str(context / "functions/query/Dockerfile")
    done = docker(
        "build", "--file", dockerfile, *built.on, "--build-arg", "MODEL=models/half", str(context), check=False
    )
    assert done.returncode != 0
    assert "/opt/model is no whole model artifact, it lacks image.onnx: export it again" in done.stdout + done.stderr


def test_the_loader_and_its_layer_fit_into_lambda(built: Any) -> None:
    files = [path for folder in (built.layer, built.loader) for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LAMBDA_LIMIT
    packages = {path.name for path in (built.layer / "python").iterdir()}
    assert {"imagesearch", "duckdb", "opensearchpy", "aws_lambda_powertools"} <= packages
    assert not {"boto3", "botocore", "torch", "onnxruntime", "PIL"} & packages


def test_both_images_have_the_model_that_was_asked_for(docker: Any, built: Any, tiny_model: Path) -> None:
    expected = json.loads((tiny_model / "model.json").read_text())
    for image in (built.query, built.batch):
        found = docker("run", "--rm", "--entrypoint", "cat", image, "/opt/model/model.json").stdout
        assert json.loads(found) == expected


def test_the_batch_job_does_not_run_as_root(docker: Any, built: Any) -> None:
    assert docker("run", "--rm", "--entrypoint", "id", built.batch, "-u").stdout.strip() != "0"


def test_nothing_else_of_the_project_gets_into_an_image(docker: Any, built: Any) -> None:
    others = (".git", ".venv", "photos.csv", "template.yaml", "tests/containers")
    names = [word for name in others for word in ("-o", "-path", f"*/{name}")][1:]
    for image in (built.query, built.batch):
        found = docker("run", "--rm", "--user", "0", "--entrypoint", "find", image, "/", "-xdev", *names)
        assert found.stdout == ""
