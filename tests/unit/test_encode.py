"""Encoding runs, with an encoder that is quick and tells pictures apart; real models are in the tests of clip."""

import io
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from batch.encode import encode_run
from batch.ledger import Status, finished_shards, ledger_key
from batch.plan import Plan, make_plan, unfinished, waiting_shards
from batch.report import read_totals
from batch.sources import FolderSource, Reader, open_source
from batch.throughput import Throughput
from imagesearch.clip.model import Float32, ModelInfo
from imagesearch.clip.preprocess import preprocess_batch
from imagesearch.errors import ModelError
from imagesearch.index.base import Delete, Upsert
from imagesearch.parts import Part, part_key, read_part
from imagesearch.storage import FolderStorage, Storage

INFO = ModelInfo(
    name="mean-colour",
    pretrained="none",
    fingerprint="c010",
    embed_dim=3,
    image_size=8,
    mean=(0, 0, 0),
    std=(1, 1, 1),
    interpolation="bicubic",
    context_length=77,
    logit_scale=100,
)


class MeanColour:
    """An Encoder: the embedding is the mean colour. Black has none, as a model's overflow to NaN would have none."""

    info = INFO

    def __init__(self, seconds: float = 0) -> None:
        self.seconds = seconds
        self.batches: list[int] = []

    def encode_text(self, texts: Sequence[str]) -> Float32:
        raise NotImplementedError

    def encode_images(self, images: Sequence[Image.Image]) -> Float32:
        return self.encode_pixels(preprocess_batch(images, INFO))

    def encode_pixels(self, pixels: Float32) -> Float32:
        self.batches.append(len(pixels))
        time.sleep(self.seconds)
        mean = pixels.mean(axis=(2, 3))
        with np.errstate(invalid="ignore"):
            return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


def picture(color: str | tuple[int, ...] = "red", kind: str = "png", mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (12, 10), color).save(file, kind)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG whose header claims 100,000 x 100,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def animation() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (12, 10), color) for color in ("lime", "red", "blue")]
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a b+c%20.png", "é 🐶.png", "c.png", "d.png", "e.png"):
        (folder / name).write_bytes(picture())
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return FolderStorage(tmp_path / "out")


def plan_of(photos: Path, output: Storage, shard_size: int = 2) -> Plan:
    return make_plan(FolderSource(photos), output, INFO.fingerprint, shard_size=shard_size)


def encode(plan: Plan, output: Storage, encoder: MeanColour | None = None, batch_size: int = 3) -> Throughput:
    return encode_run(
        output, plan, waiting_shards(output, plan), encoder or MeanColour(), Reader(), workers=2, batch_size=batch_size
    )


def parts(plan: Plan, output: Storage) -> Iterator[Part]:
    for shard in range(plan.shards):
        yield read_part(output.read(part_key(plan.fingerprint, plan.run, shard)), fingerprint=plan.fingerprint)


def upserts(plan: Plan, output: Storage) -> dict[str, Upsert]:
    return {action.id: action for part in parts(plan, output) for action in part.actions if isinstance(action, Upsert)}


def failures(plan: Plan, output: Storage) -> dict[str, str | None]:
    _, failed, _ = read_totals(output, plan.run, failures=100)
    return {row.id: row.reason for row in failed}


def contents(output: Storage) -> dict[str, bytes]:
    return {found.key: output.read(found.key) for found in output.list()}


def test_every_photo_gets_a_row_with_its_vector_and_what_the_file_says(photos: Path, output: Storage) -> None:
    (photos / "blue.png").write_bytes(picture("blue"))
    plan = plan_of(photos, output)
    seen: list[int] = []
    throughput = encode_run(
        output, plan, range(plan.shards), MeanColour(), Reader(), workers=2, batch_size=3, progress=seen.append
    )
    found = upserts(plan, output)
    assert found.keys() == {path.name for path in photos.iterdir()}
    assert all(part.dim == 3 and part.run == plan.run for part in parts(plan, output))
    blue = found["blue.png"]
    assert blue.vector.tolist() == [0, 0, 1]
    assert found["é 🐶.png"].vector.tolist() == [1, 0, 0]
    assert blue.version == plan.version
    assert (blue.metadata.width, blue.metadata.height, blue.metadata.format) == (12, 10, "png")
    assert blue.metadata.bytes == (photos / "blue.png").stat().st_size
    assert Reader()(blue.metadata.uri) == picture("blue")
    assert sum(seen) == throughput.images == 6
    totals, _, _ = read_totals(output, plan.run)
    assert totals.statuses == {"indexed": 6}


BAD = {
    "empty.jpg": (b"", "empty"),
    "text.jpg": (b"This is no picture at all, only its name says so.", "not_an_image"),
    "truncated.png": (picture()[:-20], "truncated"),
    "bomb.png": (bomb(), "too_many_pixels"),
    "black.png": (picture("black"), "no_embedding"),
}
ODD = {
    "animated.gif": animation(),
    "mislabelled.jpg": picture("lime", "gif"),
    "grey.jpg": picture((99,), "jpeg", "L"),
    "cmyk.jpg": picture((9, 9, 9, 0), "jpeg", "CMYK"),
    "palette.gif": picture("blue", "gif"),
    "one.bmp": picture((1,), "bmp", "1"),
}


def test_a_bad_photo_costs_only_itself_and_has_its_reason_in_the_ledger(photos: Path, output: Storage) -> None:
    for name, (data, _) in BAD.items():
        (photos / name).write_bytes(data)
    for name, data in ODD.items():
        (photos / name).write_bytes(data)
    plan = plan_of(photos, output, shard_size=100)
    (photos / "c.png").unlink()  # goes between planning and encoding
    throughput = encode(plan, output)
    assert failures(plan, output) == {name: reason for name, (_, reason) in BAD.items()} | {"c.png": "not_found"}
    found = upserts(plan, output)
    assert found.keys() == ODD.keys() | {"a b+c%20.png", "é 🐶.png", "d.png", "e.png"}
    assert found["mislabelled.jpg"].metadata.format == "gif"
    assert found["animated.gif"].vector.tolist() == [0, 1, 0]
    assert throughput.images == plan.upserts == len(BAD) + len(ODD) + 5


def test_a_shard_of_bad_photos_only_is_done_too(photos: Path, output: Storage) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"")
    plan = plan_of(photos, output)
    encoder = MeanColour()
    encode(plan, output, encoder)
    assert finished_shards(output, plan.run) == {0, 1, 2}
    assert upserts(plan, output) == {}
    assert encoder.batches == []


def test_what_has_gone_is_deleted_and_what_changed_is_encoded_again(photos: Path, output: Storage) -> None:
    encode(plan_of(photos, output), output)
    (photos / "c.png").unlink()
    (photos / "d.png").write_bytes(picture("lime"))
    plan = plan_of(photos, output)
    encoder = MeanColour()
    encode(plan, output, encoder)
    assert encoder.batches == [1]
    (part,) = parts(plan, output)
    first, second = part.actions
    assert {first.id, second.id} == {"c.png", "d.png"}
    assert Delete("c.png", plan.version) in (first, second)
    totals, _, _ = read_totals(output, plan.run)
    assert totals.statuses == {Status.INDEXED: 1, Status.DELETED: 1}


def test_what_the_table_knows_counts_more_than_exif(tmp_path: Path, output: Storage) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2001:02:03 04:05:06"
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "jpeg", exif=exif)
    (tmp_path / "a.jpg").write_bytes(file.getvalue())
    (tmp_path / "photos.csv").write_text(
        "id,path,created_at,title\n1,a.jpg,2024-05-01,T\n2,a.jpg,,\n3,b.jpg,,\n4,a.jpg,x,\n"
    )

    plan = make_plan(open_source(str(tmp_path / "photos.csv")), output, INFO.fingerprint)
    encode(plan, output)
    found = {id: action.metadata for id, action in upserts(plan, output).items()}
    assert (found["1"].created_at, found["1"].title) == (datetime(2024, 5, 1, tzinfo=UTC), "T")
    assert found["2"].created_at is not None
    assert found["2"].created_at.year == 2001
    assert failures(plan, output) == {"3": "not_found", "4": "invalid_row"}


def test_batches_are_filled_and_a_second_time_gives_the_same_bytes(photos: Path, output: Storage) -> None:
    plan = plan_of(photos, output, shard_size=100)
    encoder = MeanColour()
    encode(plan, output, encoder, batch_size=3)
    assert encoder.batches == [3, 2]
    before = contents(output)
    output.delete(ledger_key(plan.run, 0))
    encode(plan, output)
    ledger = ledger_key(plan.run, 0)  # says how long it took
    assert {**contents(output), ledger: b""} == {**before, ledger: b""}


def test_what_is_done_is_not_done_again(photos: Path, output: Storage) -> None:
    plan = plan_of(photos, output)
    encode(plan, output)
    encoder = MeanColour()
    assert encode(plan, output, encoder).images == 0
    output.delete(ledger_key(plan.run, 1))
    assert encode(plan, output, encoder).images == 2
    assert encoder.batches == [2]


def test_another_model_than_planned_is_refused(photos: Path, output: Storage) -> None:
    plan = plan_of(photos, output).model_copy(update={"fingerprint": "beef"})
    with pytest.raises(ModelError, match="is for the model beef, not c010"):
        encode(plan, output)


class Interrupted(MeanColour):
    """Ctrl-C comes while the second batch is encoded."""

    def encode_pixels(self, pixels: Float32) -> Float32:
        if self.batches:
            raise KeyboardInterrupt
        return super().encode_pixels(pixels)


def test_ctrl_c_leaves_whole_shards_and_the_next_time_goes_on(photos: Path, output: Storage) -> None:
    plan = plan_of(photos, output)
    with pytest.raises(KeyboardInterrupt):
        encode(plan, output, Interrupted())
    assert finished_shards(output, plan.run) == {0}
    assert unfinished(output, plan.source, INFO.fingerprint) == [plan]
    encode(plan, output)
    assert upserts(plan, output).keys() == {path.name for path in photos.iterdir()}


def test_the_slowest_stage_is_named(photos: Path, output: Storage) -> None:
    plan = plan_of(photos, output, shard_size=100)
    assert encode(plan, output, MeanColour(1)).slowest_stage == "encode"
    busy = {"fetch": 8.0, "decode": 12.0, "encode": 2.5, "write": 1.0}
    assert Throughput(workers=4, busy=busy).slowest_stage == "decode"
    assert Throughput(workers=8, busy=busy).slowest_stage == "encode"
    assert Throughput().slowest_stage == "none"
    assert Throughput(images=10, seconds=4).images_per_second == 2.5
