"""What is deployed, built by the SAM CLI and run by Docker; the stand-ins for AWS listen on loopback."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from imagesearch.index import open_index
from imagesearch.index.base import Upsert, VectorIndex
from imagesearch.records import ImageMetadata
from local.aws import Aws
from local.containers import ROOT, LambdaContainer, sam, sam_environment
from local.docker import DockerEngine
from local.stack import QUIET

PHOTOS = ROOT / "models" / "tiny" / "photos"
PICTURES = ("automobile", "black-cat", "dog-face", "guitar", "pizza", "red-apple", "rose", "sailboat")

Docker = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., LambdaContainer]


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerEngine]:
    """The Docker engine that runs, or one of our own. Where there is none to be had, every test here fails."""
    with DockerEngine() as engine:
        yield engine


@pytest.fixture(scope="session")
def docker(engine: DockerEngine) -> Docker:
    """Runs `docker` in the root of the project."""

    def run(*arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            ["docker", *arguments], cwd=ROOT, env=engine.environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0 or not check, f"docker {arguments[0]}: {done.stdout}\n{done.stderr}"
        return done

    return run


@dataclass(frozen=True, slots=True)
class Built:
    """What `sam build` makes of the template: two images, and folders for the loader and its layer.

    `resources` has the properties of each resource in the built template, which is in `folder`; `on` tells
    `docker build` what to build on.
    """

    folder: Path
    resources: dict[str, Any]
    query: str
    batch: str
    layer: Path
    loader: Path
    on: tuple[str, ...]


@pytest.fixture(scope="session")
def built(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The template, built with the bundled model, and without torch for lack of a GPU."""
    folder, base = tmp_path_factory.mktemp("sam"), engine.base_image()
    parameters = ["Model=models/tiny", "EncodeOn=cpu"]
    if base:
        parameters += [f"QueryBaseImage={base}", f"BatchBaseImage={base}"]
    command = sam("build", "--build-dir", str(folder), "--parameter-overrides", *parameters)
    done = subprocess.run(command, cwd=ROOT, env=sam_environment(engine), check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    resources = yaml.safe_load((folder / "template.yaml").read_text())["Resources"]
    properties = {name: resource.get("Properties", {}) for name, resource in resources.items()}
    return Built(
        folder,
        properties,
        query=properties["QueryFunction"]["ImageUri"],
        batch=properties["IngestFunction"]["ImageUri"],
        layer=folder / properties["ImageSearchLayer"]["ContentUri"],
        loader=(folder / properties["LoaderFunction"]["CodeUri"]).resolve(),
        on=("--build-arg", f"BASE_IMAGE={base}") if base else (),
    )


@pytest.fixture(scope="session")
def zip_image(docker: Docker, built: Built) -> str:
    """The image that zip functions run in."""
    name = "clip-image-search/lambda-python"
    docker("build", "--quiet", "--tag", name, *built.on, str(Path(__file__).parent / "lambda-python"))
    return name


@pytest.fixture(scope="module")
def aws(engine: DockerEngine, opensearch_url: str) -> Iterator[Aws]:
    """S3, SQS and Batch, whose jobs run in containers. (OpenSearch comes first, so that it doesn't see our engine.)"""
    with Aws() as services, pytest.MonkeyPatch.context() as environment:
        environment.setenv("MOTO_DOCKER_NETWORK_MODE", "host")
        if engine.private:
            environment.setenv("DOCKER_HOST", engine.environment["DOCKER_HOST"])
        yield services


@pytest.fixture(scope="module")
def index(opensearch_url: str, tiny_model: Path) -> Iterator[VectorIndex]:
    """An index in a real OpenSearch, as yet empty, for the bundled model."""
    info = OnnxEncoder(tiny_model).info
    index = open_index(opensearch_url, info.fingerprint, info.embed_dim, "lucene")
    index.drop()
    index.create()
    yield index
    index.drop()


@pytest.fixture(scope="module")
def pictures(index: VectorIndex, tiny_model: Path) -> VectorIndex:
    """The index, with some pictures in it."""
    encoder = OnnxEncoder(tiny_model)
    vectors = encoder.encode_images([open_image((PHOTOS / f"{name}.webp").read_bytes()).image for name in PICTURES])
    index.bulk(
        Upsert(f"{name}.webp", 1, vector, ImageMetadata(uri=f"s3://photos/{name}.webp", title=name))
        for name, vector in zip(PICTURES, vectors, strict=True)
    )
    index.refresh()
    return index


@pytest.fixture(scope="module")
def start_query(engine: DockerEngine, built: Built, opensearch_url: str) -> Start:
    """Prepares the query function; options are those of `LambdaContainer`."""

    def start(index_url: str = opensearch_url, **options: Any) -> LambdaContainer:
        return LambdaContainer(engine, built.query, {**QUIET, "IMAGESEARCH_INDEX_URL": index_url}, **options)

    return start


@pytest.fixture(scope="module")
def loader(
    engine: DockerEngine, built: Built, zip_image: str, aws: Aws, opensearch_url: str
) -> Iterator[LambdaContainer]:
    """The loader function: its folder and its layer, mounted where Lambda has them."""
    with LambdaContainer(
        engine,
        zip_image,
        {**QUIET, "IMAGESEARCH_INDEX_URL": opensearch_url, "AWS_ENDPOINT_URL": aws.endpoint},
        command=["python", "-m", "awslambdaric", built.resources["LoaderFunction"]["Handler"]],
        mounts={built.loader: "/var/task", built.layer: "/opt"},
        memory_mb=1024,
    ) as function:
        yield function


@pytest.fixture(scope="session")
def photos() -> Path:
    """Folder of the bundled pictures."""
    return PHOTOS
