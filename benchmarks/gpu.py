"""Encoding on a GPU: batch sizes, precisions and torch.compile, and whether the decoders can feed it.

    python benchmarks/gpu.py [--device cuda] [--models ViT-B-32-quickgelu ViT-L-14-quickgelu] [--seconds 3]

Weights are random: speed doesn't depend on them. Prints Markdown, which belongs into docs/benchmarks.md with the card's
name; `--device cpu --batches 8` exercises the same code where there is no card.

- compute-bound: pixels that are in memory already go through `TorchEncoder.encode_pixels`, transfer included;
- decode-bound: JPEGs of 480 pixels and of 12 megapixels are opened and preprocessed in a thread for each core;
- both: `encode_run` on a folder of such JPEGs, as the batch job does it, with the stage that held it up.
"""

import argparse
import itertools
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import open_clip
import torch

from batch.encode import encode_run
from batch.plan import make_plan
from batch.sources import FolderSource, Reader
from batch.torch_encoder import TorchEncoder
from benchmarks.scorecard.jpegs import LARGE, SMALL, make_photos
from imagesearch.clip.model import ModelInfo
from imagesearch.clip.preprocess import preprocess
from imagesearch.images import open_image
from imagesearch.storage import FolderStorage

MODELS = ("ViT-B-32-quickgelu", "ViT-L-14-quickgelu")


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batches", nargs="+", type=int, default=(32, 128, 512, 1024))
    parser.add_argument("--precisions", nargs="+", default=("fp32", "bf16", "fp16"))
    parser.add_argument("--images", type=int, default=4_000, help="JPEGs of 480 pixels; a fiftieth of 12 megapixels")
    parser.add_argument("--seconds", type=float, default=3, help="how long each number is measured")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if options.device == "cuda" else platform.processor() or platform.machine()
    print(f"## {card}\n\ntorch {torch.__version__}, open_clip {open_clip.__version__}, {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder, "480"), Path(folder, "12mp")
        make_photos(small, options.images, SMALL)
        make_photos(large, max(4, options.images // 50), LARGE)
        for name in options.models:
            with random_checkpoint(name) as checkpoint:
                print(f"### {name}\n")
                info = compute_table(name, checkpoint, options)
                decode_table(info, {"480 px": small, "12 MP": large}, options.seconds)
                whole_table(name, checkpoint, {"480 px": small, "12 MP": large}, options.device)


@contextmanager
def random_checkpoint(name: str) -> Iterator[str]:
    """A file with random weights of the model."""
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        torch.save(open_clip.create_model(name).state_dict(), path := Path(folder, "weights.pt"))
        yield str(path)


def compute_table(name: str, checkpoint: str, options: argparse.Namespace) -> ModelInfo:
    """Images a second for each precision, compiled or not, and batch size."""
    print(f"| precision | {' | '.join(f'batch {size}' for size in options.batches)} |")
    print(f"|---|{'---:|' * len(options.batches)}")
    for precision, compile in itertools.product(options.precisions, (False,) if options.no_compile else (False, True)):
        encoder = TorchEncoder(name, checkpoint, options.device, precision, compile)
        rates = [compute_rate(encoder, size, options.seconds) for size in options.batches]
        print(f"| {precision}{', compiled' if compile else ''} | {' | '.join(f'{rate:,.1f}' for rate in rates)} |")
    print()
    return encoder.info


def compute_rate(encoder: TorchEncoder, size: int, seconds: float) -> float:
    """Images a second, from pixels in memory to embeddings in memory."""
    shape = (size, 3, encoder.info.image_size, encoder.info.image_size)
    pixels = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    for _ in range(3):  # the first ones compile, choose kernels, and take memory
        encoder.encode_pixels(pixels)
    return size * rate(lambda: encoder.encode_pixels(pixels), seconds)


def decode_table(info: ModelInfo, folders: dict[str, Path], seconds: float) -> None:
    """Images a second from bytes to the model's input, in one thread and in a thread for each core."""
    cores = os.cpu_count() or 1
    print(f"| decoding | one thread | {cores} threads | threads' gain |\n|---|---:|---:|---:|")
    for what, folder in folders.items():
        files = [path.read_bytes() for path in sorted(folder.iterdir())[:256]]

        def decode(data: bytes) -> None:
            preprocess(open_image(data, target=info.image_size).image, info)

        rates = []
        for threads in (1, cores):
            with ThreadPoolExecutor(threads) as pool:
                rates.append(len(files) * rate(lambda: list(pool.map(decode, files)), seconds))  # noqa: B023
        print(f"| {what} | {rates[0]:,.1f} | {rates[1]:,.1f} | {rates[1] / rates[0]:.2f} |")
    print()


def whole_table(name: str, checkpoint: str, folders: dict[str, Path], device: str) -> None:
    """Images a second of the whole job, and what held it up."""
    encoder = TorchEncoder(name, checkpoint, device)
    batch_size = encoder.best_batch_size()
    print(f"| the whole job, batch {batch_size} | images/s | slowest stage |\n|---|---:|---|")
    for what, folder in folders.items():
        with tempfile.TemporaryDirectory() as output:
            storage = FolderStorage(Path(output))
            plan = make_plan(FolderSource(folder), storage, encoder.info.fingerprint, shard_size=10_000)
            took = encode_run(storage, plan, [0], encoder, Reader(), workers=os.cpu_count() or 1, batch_size=batch_size)
        print(f"| {what} | {took.images_per_second:,.1f} | {took.slowest_stage} |")
    print()


def rate(call: Callable[[], object], seconds: float) -> float:
    """Calls a second, measured for so long, and for one call at least."""
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
