"""Encoding many photos on the CPU, beside the loop that most people write and beside clip-retrieval.

All have ViT-B/32 with the same random weights, float32, and all cores; see loops.py for what each does.
"""

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks.scorecard import peers
from benchmarks.scorecard.jpegs import LARGE, SMALL, make_photos
from benchmarks.scorecard.processes import Process
from benchmarks.scorecard.rows import Row, compared
from benchmarks.scorecard.weights import ARTIFACT, make_weights
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.images import open_image
from local.containers import ROOT
from local.demo import MODEL, SAMPLES

LOOPS = Path(__file__).with_name("loops.py")
DECODING = Path(__file__).with_name("decoding.py")
PEERS = {
    "open_clip": "the plain loop: open_clip, Pillow, DataLoader",
    "clip-retrieval": "clip-retrieval's inference, open_clip:ViT-B-32-quickgelu",
}

console = Console(stderr=True, highlight=False)


def measure(quick: bool) -> Iterator[Row]:
    """Rows of the section."""
    images, rounds = (64, 1) if quick else (192, 3)
    for name in ("ours", *PEERS):
        peers.python(name)
    peers.copy_code()
    weights = make_weights()
    with tempfile.TemporaryDirectory() as folder:
        few, small, large = Path(folder, "few"), Path(folder, "small"), Path(folder, "large")
        make_photos(few, 8, SMALL)
        make_photos(small, images, SMALL)
        make_photos(large, 2 if quick else 8, LARGE)
        yield from rows_of_decoding(small, large, 2 if quick else 7)
        yield row_of_cosines(Path(folder, "cosines"), 4 if quick else 32)
        yield from rows_of_encoding(few, small, weights, rounds)


def rows_of_encoding(few: Path, photos: Path, weights: Path, rounds: int) -> Iterator[Row]:
    """Images a second from a folder of files to a file of vectors."""
    rates = defaultdict[str, list[float]](list)
    with ExitStack() as running:
        processes = {}
        for way in ("ours", *PEERS):
            # what writes parts isn't in the query image
            python, environment = peers.python(way), {}
            if way == "ours":
                python, environment = Path(sys.executable), {"PYTHONPATH": str(ROOT)}
            processes[way] = running.enter_context(Process(python, LOOPS, way, str(weights), environment=environment))
        for process in processes.values():  # loads the model
            process("encode", folder=str(few))
        for _ in track(range(rounds), "encoding", console=console, transient=True):
            for way, process in processes.items():
                rates[way].append(process("encode", folder=str(photos))["images_per_second"])
    note = (
        f"{len(list(photos.iterdir()))} JPEGs of {SMALL[0]} px, {os.cpu_count()} cores, float32, models loaded before"
    )
    for way, against in PEERS.items():
        yield compared(
            f"batch/{way}", "batch encoding on a CPU, from files to vectors", against, "images/s", rates["ours"],
            rates[way], better="more", target=1.3, note=note,
        )  # fmt: skip


def rows_of_decoding(small: Path, large: Path, rounds: int) -> Iterator[Row]:
    """Images a second on one core, from the bytes of a file to the input of the model."""
    with Process(peers.python("open_clip"), DECODING, str(ARTIFACT), environment={}) as process:
        for key, what, folder, target in (
            ("decode-480", f"a JPEG of {SMALL[0]} px", small, 1.0),
            ("decode-12mp", "a JPEG of 12 megapixels", large, 3.5),
        ):
            process("decode", folder=str(folder))
            rates = [process("decode", folder=str(folder)) for _ in range(rounds)]
            ours, theirs = ([rate[way] for rate in rates] for way in ("ours", "pillow"))
            yield compared(
                f"{key}/pillow", f"decoding and preprocessing, {what}", "open_clip's transform, Pillow", "images/s",
                ours, theirs, better="more", target=target, note="one core",
            )  # fmt: skip


def row_of_cosines(folder: Path, count: int) -> Row:
    """How near the quicker decoding of large photos comes to the exact one, as the tiny model sees them."""
    folder.mkdir()
    encoder = OnnxEncoder(MODEL)
    cosines = []
    for path in track(sorted(SAMPLES.glob("*.webp"))[:count], "cosines", console=console, transient=True):
        photo = folder / "photo.jpg"
        with Image.open(path) as picture:
            on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
        on_white.convert("RGB").resize((3464, 3464), Image.Resampling.LANCZOS).save(photo, quality=90)
        data = photo.read_bytes()
        quick, exact = (open_image(data, target=target).image for target in (encoder.info.image_size, None))
        cosines.append(float(np.prod(encoder.encode_images([quick, exact]), axis=0).sum()))
    return Row(
        "decode-12mp-cosine", "cosine between the embeddings of both decodings, the lowest", "", "cosine",
        min(cosines), better="more",
        note=f"{count} bundled pictures, enlarged to 12 megapixels, models/tiny; 0.9995 is the bound that is tested",
    )  # fmt: skip
