"""Encoding a folder of JPEGs on the CPU, side by side with the loop that most people write.

    uv run --group torch benchmarks/encode.py [--images 512] [--rounds 3]

- ours: `encode_run` with the ONNX encoder, reading, decoding, encoding, writing parts and ledger;
- the plain loop: open_clip, its own transform, Pillow, a DataLoader with a worker a core, batches of 64, the vectors
  saved with numpy.

Both have ViT-B/32 with the same random weights and all cores. Rounds alternate; the medians count. Before that,
decoding and preprocessing alone, on one core: ours against open_clip's transform, for files of 480 pixels and of 12
megapixels.
The pictures are made: noise of several scales, which JPEG compresses about as well as photos.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from batch.encode import encode_run
from batch.export import export_model
from batch.plan import make_plan
from batch.sources import FolderSource, Reader
from imagesearch.clip.model import ModelInfo
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.preprocess import preprocess
from imagesearch.images import open_image
from imagesearch.storage import FolderStorage

NAME = "ViT-B-32-quickgelu"
SMALL, LARGE = (480, 360), (4000, 3000)

console = Console(highlight=False)


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("WHO", "PHOTOS", "MODEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        who, photos, model = options.one
        print(ENCODERS[who](Path(photos), Path(model)))
        return
    with tempfile.TemporaryDirectory() as folder:
        photos, model = Path(folder, "photos"), Path(folder, "model")
        make_photos(photos, options.images, SMALL)
        make_model(model)
        console.print(decode_table(photos, model))
        console.print(encode_table(photos, model, options.images, options.rounds))
    console.print(f"{os.cpu_count()} cores, torch {torch.__version__}, open_clip {open_clip.__version__}")


def make_photos(folder: Path, count: int, size: tuple[int, int]) -> None:
    """JPEGs of noise in several scales."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    for number in range(count):
        image = Image.new("RGB", size)
        for scale in (2, 8, 32, 128):
            small = noise.integers(0, 256, (max(2, size[1] // scale), max(2, size[0] // scale), 3), dtype=np.uint8)
            image = Image.blend(image, Image.fromarray(small).resize(size, Image.Resampling.BICUBIC), 0.6)
        image.save(folder / f"{number:06d}.jpg", quality=85)


def make_model(folder: Path) -> None:
    """A checkpoint of random weights, and the artifact that is exported of it."""
    folder.mkdir()
    torch.manual_seed(0)
    torch.save(open_clip.create_model(NAME).state_dict(), folder / "checkpoint.pt")
    export_model(NAME, str(folder / "checkpoint.pt"), folder)


def ours(photos: Path, model: Path) -> float:
    """Images a second of our encoder."""
    with tempfile.TemporaryDirectory() as folder:
        encoder, output = OnnxEncoder(model), FolderStorage(Path(folder))
        plan = make_plan(FolderSource(photos), output, encoder.info.fingerprint)
        encoder.encode_images([Image.new("RGB", (9, 9))])  # load the model
        started = time.perf_counter()
        encode_run(output, plan, range(plan.shards), encoder, Reader(), workers=os.cpu_count() or 1)
        return plan.upserts / (time.perf_counter() - started)


class Folder(torch.utils.data.Dataset[torch.Tensor]):
    """The plain loop's dataset."""

    def __init__(self, photos: Path, transform: Callable[[Image.Image], torch.Tensor]) -> None:
        self.paths = sorted(photos.iterdir())
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        return self.transform(Image.open(self.paths[number]))


def plain(photos: Path, model: Path) -> float:
    """Images a second of the plain loop."""
    module, _, transform = open_clip.create_model_and_transforms(NAME)
    module.load_state_dict(torch.load(model / "checkpoint.pt"))
    module.eval()
    dataset = Folder(photos, transform)
    loader = torch.utils.data.DataLoader(dataset, batch_size=64, num_workers=os.cpu_count() or 1)
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        module.encode_image(torch.zeros(1, 3, 224, 224))
        started = time.perf_counter()
        vectors = []
        for batch in loader:
            features = module.encode_image(batch)
            vectors.append(torch.nn.functional.normalize(features, dim=-1).numpy())
        np.save(Path(folder, "vectors.npy"), np.concatenate(vectors))
        return len(dataset) / (time.perf_counter() - started)


ENCODERS = {"ours": ours, "plain loop": plain}


def encode_table(photos: Path, model: Path, images: int, rounds: int) -> Table:
    """Images a second of each, in processes of their own that alternate."""
    rates: dict[str, list[float]] = {who: [] for who in ENCODERS}
    for _ in range(rounds):
        for who, measured in rates.items():
            command = [sys.executable, __file__, "--one", who, str(photos), str(model)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            measured.append(float(done.stdout.split()[-1]))
    table = Table(f"{images} JPEGs of {SMALL[0]} px, ViT-B/32", "images/s", "lowest - highest", "ratio")
    add(table, rates, "plain loop")
    return table


def decode_table(photos: Path, model: Path) -> Table:
    """Images a second on one core, from the bytes of a file to the input of the model."""
    info = ModelInfo.load(model)
    _, _, transform = open_clip.create_model_and_transforms(NAME)
    torch.set_num_threads(1)
    table = Table("from bytes to the model's input, one core", "images/s", "lowest - highest", "ratio")
    with tempfile.TemporaryDirectory() as folder:
        make_photos(large := Path(folder, "large"), 4, LARGE)
        for what, files in (
            (f"{SMALL[0]} px", sorted(photos.iterdir())[:64]),
            ("12 megapixels", sorted(large.iterdir())),
        ):
            rates: dict[str, list[float]] = {f"{what}: ours": [], f"{what}: open_clip's transform": []}
            for _ in range(5):
                for who, measured in rates.items():
                    started = time.perf_counter()
                    for path in files:
                        if who.endswith("ours"):
                            preprocess(open_image(path.read_bytes(), target=info.image_size).image, info)
                        else:
                            transform(Image.open(path))
                    measured.append(len(files) / (time.perf_counter() - started))
            add(table, rates, f"{what}: open_clip's transform")
    return table


def add(table: Table, rates: dict[str, list[float]], reference: str) -> None:
    """A row for each: median, spread, and the ratio to the reference."""
    for who, measured in rates.items():
        rate = statistics.median(measured)
        ratio = rate / statistics.median(rates[reference])
        table.add_row(who, f"{rate:.1f}", f"{min(measured):.1f} - {max(measured):.1f}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
