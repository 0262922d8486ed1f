"""The query function's image as Lambda would run it: its size, cold starts, warm searches, memory.

    uv run benchmarks/containers.py [MODEL]

MODEL is a folder of the project with a model artifact, models/tiny if none. A container gets the processor time that
Lambda gives at the same memory (one CPU at 1,769 MB), and a real OpenSearch with a hundred pictures. A cold start is
what a new container takes to its first answer; Docker's part in it, shown apart, isn't Lambda's, which has to fetch the
image too.
"""

import base64
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from imagesearch.index import open_index
from imagesearch.index.base import Upsert
from imagesearch.records import ImageMetadata
from local.containers import ROOT, LambdaContainer
from local.docker import DockerEngine
from local.opensearch import LocalOpenSearch
from local.stack import QUIET

IMAGE = "clip-image-search/query:benchmark"
PICTURES = sorted((ROOT / "models/tiny/photos").glob("*.webp"))[:100]
SIZES = ((1769, 1.0), (3008, 1.7))
"""Memory in MB, and Lambda's CPUs for it: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html"""
COLD, WARM = 3, 40

console = Console(highlight=False)


def main(model: str) -> None:
    """Build the image, run it at each size, and print what was measured."""
    with opensearch(ROOT / model) as url, DockerEngine() as engine:
        build(engine, model)
        table = Table("memory", "CPUs", "query", "docker", "init", "answer", "warm", "p95", "RSS")
        for memory, cpus in SIZES:
            for name, event in (("words", words), ("picture", picture)):
                table.add_row(f"{memory} MB", str(cpus), name, *measure(engine, url, memory, cpus, event))
        console.print(table)


def words(number: int) -> dict[str, Any]:
    """A search by words."""
    return {"query": f"two dogs on beach {number}", "input_type": "text"}


def picture(number: int) -> dict[str, Any]:
    """A search by one of the pictures."""
    return {"query": base64.b64encode(PICTURES[number].read_bytes()).decode(), "input_type": "image"}


def measure(
    engine: DockerEngine, url: str, memory: int, cpus: float, event: Callable[[int], dict[str, Any]]
) -> Iterator[str]:
    """The columns of the table."""
    environment = {**QUIET, "IMAGESEARCH_INDEX_URL": url}
    containers, inits, answers = [], [], []
    for _ in range(COLD):
        began = time.perf_counter()
        with LambdaContainer(engine, IMAGE, environment, memory_mb=memory, cpus=cpus) as function:
            listening = time.perf_counter()
            call(function, event(0))
            answered = time.perf_counter()
            containers.append(listening - began)
            inits.append(float(re.findall(r"INIT REPORT\(durationMs: ([\d.]+)", function.log())[0]) / 1000)
            answers.append(answered - listening)
            warm = []
            for number in range(WARM):
                began = time.perf_counter()
                call(function, event(number))
                warm.append(1000 * (time.perf_counter() - began))
            peak = function.peak_mb()
    for seconds in (containers, inits, answers):
        yield f"{statistics.median(seconds):.2f} s"
    yield f"{statistics.median(warm):.0f} ms"
    yield f"{statistics.quantiles(warm, n=20)[-1]:.0f} ms"
    yield f"{peak:.0f} MB"


def call(function: LambdaContainer, event: dict[str, Any]) -> None:
    """Search, and make sure of an answer."""
    answer = function(event)
    if answer["status_code"] != 200 or not answer["body"]["hits"]:
        raise SystemExit(f"no answer to {str(event)[:80]}: {answer}")


def build(engine: DockerEngine, model: str) -> None:
    """Build the image, and tell how long it took and how large it is."""
    base = engine.base_image()
    arguments = ["--build-arg", f"MODEL={model}", *(["--build-arg", f"BASE_IMAGE={base}"] if base else [])]
    began = time.perf_counter()
    command = ["docker", "build", "--quiet", "--file", "functions/query/Dockerfile", "--tag", IMAGE, *arguments, "."]
    subprocess.run(command, cwd=ROOT, env=engine.environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    for image in filter(None, (IMAGE, base)):
        inspect = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
        size = subprocess.run(inspect, env=engine.environment, check=True, capture_output=True, text=True).stdout
        console.print(f"{image}: {int(size) / 1e6:.0f} MB")
    console.print(f"built in {seconds:.0f} s (steps that were built before take no time)")


@contextmanager
def opensearch(model: Path) -> Iterator[str]:
    """URL of an OpenSearch with the pictures in it."""
    with tempfile.TemporaryDirectory() as folder:
        server = LocalOpenSearch(Path(folder, "opensearch"))
        try:
            url = server.start()
            encoder = OnnxEncoder(model)
            index = open_index(url, encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
            index.create()
            vectors = encoder.encode_images([open_image(path.read_bytes()).image for path in PICTURES])
            index.bulk(
                Upsert(path.name, 1, vector, ImageMetadata(uri=f"s3://photos/{path.name}"))
                for path, vector in zip(PICTURES, vectors, strict=True)
            )
            index.refresh()
            yield url
        finally:
            server.delete()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "models/tiny")
