"""Encode a run, shard by shard: fetch → decode → CLIP → write the part, then its ledger.

A shard with a ledger is done. Killed at any moment, a run goes on where it stopped when it is started again: files
appear whole or not at all, and a shard that is done twice gives the same part.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from batch.ledger import LedgerRow, Status, write_ledger
from batch.models import write_model
from batch.parallel import ParallelEncoder
from batch.plan import Plan, WorkItem, read_work
from batch.throughput import Throughput
from imagesearch.clip.model import Encoder, Float32, ModelInfo
from imagesearch.clip.preprocess import preprocess
from imagesearch.errors import ImageSearchError, InvalidImage, ModelError
from imagesearch.images import OpenedImage, open_image
from imagesearch.index.base import Action, Delete, Upsert
from imagesearch.parts import Part, part_key, write_part
from imagesearch.records import ImageMetadata
from imagesearch.storage import Storage

if TYPE_CHECKING:
    from batch.torch_encoder import Precision

T = TypeVar("T")
R = TypeVar("R")

logger = logging.getLogger(__name__)

ReadImage = Callable[[str], bytes]

DEFAULT_BATCH = 32


@dataclass(frozen=True, slots=True)
class _Prepared:
    """An image that a worker has fetched and decoded, or why it couldn't."""

    item: WorkItem
    pixels: Float32 | None = None
    metadata: ImageMetadata | None = None
    reason: str | None = None
    detail: str | None = None
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0


def open_encoder(folder: Path, precision: "Precision | None" = None, compile: bool = False) -> Encoder:
    """The encoder for the model artifact in `folder`: torch where it is installed and has a GPU, else ONNX Runtime.

    Torch takes the weights that the artifact was made of: a checkpoint beside the artifact, or a tag of open_clip.
    `precision` and `compile` are as for TorchEncoder, and matter on a GPU only.

    Raises:
        ModelError: it is no model artifact.
    """
    info = ModelInfo.load(folder)
    if not _has_gpu():
        return _cpu_encoder(folder)
    from batch.torch_encoder import TorchEncoder

    beside = folder / info.pretrained
    try:
        encoder: Encoder = TorchEncoder(
            info.name, str(beside) if beside.exists() else info.pretrained, None, precision, compile
        )
    except ModelError as error:
        logger.warning("the GPU is not used, as torch can't load the weights of %s: %s", folder, error)
        return _cpu_encoder(folder)
    if encoder.info.fingerprint != info.fingerprint:
        found = encoder.info.fingerprint
        logger.warning("the GPU is not used, as torch's weights of %s are others (%s): export it again", folder, found)
        return _cpu_encoder(folder)
    return encoder


def _cpu_encoder(folder: Path) -> Encoder:
    from imagesearch.clip.onnx import OnnxEncoder

    return ParallelEncoder(OnnxEncoder(folder, threads=1), os.cpu_count() or 1)


def _has_gpu() -> bool:
    # Without a driver there is no need to import torch, which takes seconds. NVIDIA's on Linux has the one device, that
    # of Windows' Linux the other.
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def batch_size_for(encoder: Encoder) -> int:
    """Images to encode at once: tried out on a GPU, and by the number of threads on a CPU."""
    best: Callable[[], int] | None = getattr(encoder, "best_batch_size", None)
    return best() if best else DEFAULT_BATCH


def encode_run(
    output: Storage,
    plan: Plan,
    shards: Sequence[int],
    encoder: Encoder,
    read: ReadImage,
    *,
    workers: int,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Throughput:
    """Encode these shards of a run.

    `progress` hears how many more images are done. `batch_size` is found by trying if it isn't given.

    Raises:
        ModelError: `encoder` is another model than the run's.
        StorageError: the output can't be read or written.
    """
    if encoder.info.fingerprint != plan.fingerprint:
        raise ModelError(f"run {plan.run} is for the model {plan.fingerprint}, not {encoder.info.fingerprint}")
    if not shards:
        return Throughput()
    batch_size = batch_size or batch_size_for(encoder)
    write_model(output, encoder.info)
    total = Throughput()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        run = _Run(output, plan, encoder, read, pool, workers, batch_size, progress)
        try:
            for shard in shards:
                total.add(run.encode_shard(shard))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return total


@dataclass(frozen=True, slots=True)
class _Run:
    output: Storage
    plan: Plan
    encoder: Encoder
    read: ReadImage
    pool: ThreadPoolExecutor
    workers: int
    batch_size: int
    progress: Callable[[int], None] | None

    def encode_shard(self, shard: int) -> Throughput:
        plan, info = self.plan, self.encoder.info
        started, took = perf_counter(), Throughput(workers=self.workers)
        actions: list[Action] = []
        ledger: list[LedgerRow] = []

        def note(item: WorkItem, status: Status, reason: str | None = None, detail: str | None = None) -> None:
            uri, etag = item.metadata.uri, item.metadata.etag
            ledger.append(LedgerRow(item.id, uri, etag, status, reason, detail, plan.version, plan.run, shard))

        work = read_work(self.output, plan.run, shard)
        for item in work:
            if item.op == "delete":
                actions.append(Delete(item.id, plan.version))
                note(item, Status.DELETED)
            elif item.op == "skip":
                note(item, Status.SKIPPED, "duplicate_id", "another image of the source has this id")
        for prepared, vector in self._encode([item for item in work if item.op == "upsert"], took):
            if vector is None or prepared.metadata is None:
                note(prepared.item, Status.FAILED, prepared.reason, prepared.detail)
            elif not np.isfinite(vector).all():
                note(prepared.item, Status.FAILED, "no_embedding", "the model gives it no finite embedding")
            else:
                actions.append(Upsert(prepared.item.id, plan.version, vector, prepared.metadata))
                note(prepared.item, Status.INDEXED)

        encoded = perf_counter()
        part = write_part(Part(plan.fingerprint, info.embed_dim, plan.run, actions))
        self.output.write(part_key(plan.fingerprint, plan.run, shard), part)
        took.busy["write"] += perf_counter() - encoded
        took.seconds = perf_counter() - started
        write_ledger(self.output, plan.run, shard, plan.fingerprint, ledger, took)
        return took

    def _encode(self, items: list[WorkItem], took: Throughput) -> Iterator[tuple["_Prepared", Float32 | None]]:
        """Each item with its embedding, (embed_dim,) float32, or None where it can't be read or decoded."""
        prepare = partial(_prepare, read=self.read, info=self.encoder.info)
        prepared = _in_order(self.pool, prepare, items, ahead=2 * self.workers + self.batch_size)
        while batch := list(islice(prepared, self.batch_size)):
            pixels = [one.pixels for one in batch if one.pixels is not None]
            started = perf_counter()
            vectors = iter(self.encoder.encode_pixels(np.stack(pixels)) if pixels else ())
            took.busy["encode"] += perf_counter() - started
            took.busy["fetch"] += sum(one.fetch_seconds for one in batch)
            took.busy["decode"] += sum(one.decode_seconds for one in batch)
            for one in batch:
                yield one, None if one.pixels is None else next(vectors)
            took.images += len(batch)
            if self.progress:
                self.progress(len(batch))


def _prepare(item: WorkItem, read: ReadImage, info: ModelInfo) -> _Prepared:
    """Fetch and decode one image; what is wrong with it is part of the answer and costs no other image anything."""
    if item.problem:
        return _Prepared(item, reason="invalid_row", detail=item.problem)
    started = fetched = perf_counter()
    try:
        data = read(item.metadata.uri)
        fetched = perf_counter()
        opened = open_image(data, target=info.image_size)
        pixels = preprocess(opened.image, info)
    except InvalidImage as error:
        return _Prepared(item, reason=error.reason, detail=str(error), fetch_seconds=fetched - started)
    except ImageSearchError as error:
        return _Prepared(item, reason=error.code, detail=str(error), fetch_seconds=perf_counter() - started)
    return _Prepared(
        item,
        pixels,
        _merge(item.metadata, opened),
        fetch_seconds=fetched - started,
        decode_seconds=perf_counter() - fetched,
    )


def _merge(known: ImageMetadata, opened: OpenedImage) -> ImageMetadata:
    """What the source knows, with what the file says; of date and place, the source's word counts more than EXIF."""
    update: dict[str, object] = {
        "width": opened.width,
        "height": opened.height,
        "format": opened.format,
        "bytes": opened.bytes,
    }
    if known.created_at is None:
        update["created_at"] = opened.created_at
    if known.lat is None and known.lon is None:
        update |= {"lat": opened.lat, "lon": opened.lon}
    return known.model_copy(update=update)


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """Like `pool.map`, but with at most `ahead` results waiting: pictures are big, and a shard has many."""
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
