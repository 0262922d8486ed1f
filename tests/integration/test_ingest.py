"""Photos on S3 to an index: encode with the bundled model, S3 events, the loader function, search."""

import io
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from PIL import Image

from batch.encode import open_encoder
from batch.ingest import ingest
from batch.ledger import Status
from batch.plan import read_plans
from batch.report import read_totals
from batch.sources import open_source
from functions.loader import app
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.index import open_index
from imagesearch.index.base import VectorIndex
from imagesearch.search import ByText, Query, Searcher, Term
from imagesearch.settings import get_settings
from imagesearch.storage import S3Storage
from local.aws import Aws, Bucket, Queue
from local.context import LambdaContext

MODEL = Path(__file__).parents[2] / "models" / "tiny"
SAMPLES = {"cat": "pets/a cat + 1.webp", "pizza": "é 🍕/pizza.webp", "rocket": "rocket.webp"}


class World:
    """A bucket with photos and vectors, the queue that its events go to, and the index that the loader fills."""

    def __init__(self, folder: Path) -> None:
        self.encoder = OnnxEncoder(MODEL)
        self.bucket, self.queue = Bucket("photos", folder / "bucket"), Queue("parts")
        self.bucket.notify(self.queue, "out/vectors/", ".parquet")
        self.s3 = boto3.client("s3")
        self.output = S3Storage("photos", "out")
        self.url = f"duckdb:///{folder}/index.duckdb"
        for name, key in SAMPLES.items():
            self.put(key, (MODEL / "photos" / f"{name}.webp").read_bytes())

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket="photos", Key=f"in/{key}", Body=data)

    def ingest(self) -> int:
        failed = ingest(open_source("s3://photos/in"), self.output, self.encoder, shard_size=2, workers=2)
        while self.queue.pending():
            records = self.queue.receive()
            answer = app.lambda_handler({"Records": records}, LambdaContext("loader"))
            assert answer["batchItemFailures"] == []
            self.queue.settle(records, set())
        return failed

    @property
    def index(self) -> VectorIndex:
        return open_index(self.url, self.encoder.info.fingerprint, self.encoder.info.embed_dim)

    def found(self, text: str) -> list[str]:
        return [hit.id for hit in Searcher(self.encoder, self.index).search(Query((Term(ByText(text)),), k=10)).hits]


@pytest.fixture
def world(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path)
    monkeypatch.setenv("IMAGESEARCH_INDEX_URL", world.url)
    get_settings.cache_clear()
    app.open_index.cache_clear()
    yield world
    get_settings.cache_clear()
    app.open_index.cache_clear()


def test_photos_on_s3_become_searchable_and_follow_their_source(world: World) -> None:
    assert world.ingest() == 0
    assert set(world.found("anything")) == set(SAMPLES.values())
    assert world.found("pizza")[0] == SAMPLES["pizza"]
    hit = world.index.get([SAMPLES["cat"]])[SAMPLES["cat"]]
    assert hit.metadata.uri == "s3://photos/in/pets/a cat + 1.webp"

    assert world.ingest() == 0  # nothing changed: no new run
    assert len(read_plans(world.output)) == 1

    world.s3.delete_object(Bucket="photos", Key=f"in/{SAMPLES['pizza']}")
    world.put(SAMPLES["cat"], (MODEL / "photos" / "banana.webp").read_bytes())
    world.put("new.webp", (MODEL / "photos" / "dog.webp").read_bytes())
    assert world.ingest() == 0
    assert set(world.found("anything")) == {SAMPLES["cat"], SAMPLES["rocket"], "new.webp"}
    assert world.found("banana")[0] == SAMPLES["cat"]


def test_bad_photos_among_good_ones_cost_only_themselves(world: World) -> None:
    animation, wide = io.BytesIO(), io.BytesIO()
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(animation, "gif", save_all=True, append_images=frames[1:])
    Image.new("L", (20_000, 11_000)).save(wide, "png")  # 220 million pixels
    good = (MODEL / "photos" / "cat.webp").read_bytes()
    world.put("bad/empty.jpg", b"")
    world.put("bad/corrupt.webp", good[:60] + bytes(len(good) - 60))
    world.put("bad/text.png", b"not a picture")
    world.put("bad/wide.png", wide.getvalue())
    world.put("odd/animated.gif", animation.getvalue())
    world.put("odd/mislabelled.jpg", good)
    assert world.ingest() == 4
    assert set(world.found("anything")) == {*SAMPLES.values(), "odd/animated.gif", "odd/mislabelled.jpg"}
    totals, failed, _ = read_totals(world.output, read_plans(world.output)[0].run, failures=10)
    assert totals.statuses == {Status.INDEXED: 5, Status.FAILED: 4}
    reasons = {row.id.removeprefix("bad/"): row.reason for row in failed}
    assert reasons.keys() == {"empty.jpg", "corrupt.webp", "text.png", "wide.png"}
    assert (reasons["empty.jpg"], reasons["text.png"]) == ("empty", "not_an_image")
    assert reasons["wide.png"] == "too_many_pixels"
    assert all(row.detail for row in failed)


def test_with_a_gpu_torch_encodes_where_it_has_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("batch.encode._has_gpu", lambda: True)  # torch itself goes on with the CPU
    encoder = open_encoder(MODEL)
    assert type(encoder).__name__ == "TorchEncoder"
    assert encoder.info.fingerprint == OnnxEncoder(MODEL).info.fingerprint
    for path in MODEL.glob("*.*"):
        (tmp_path / path.name).symlink_to(path)  # without the checkpoint
    assert type(open_encoder(tmp_path)).__name__ == "ParallelEncoder"
    assert "the GPU is not used, as torch can't load the weights" in caplog.text
