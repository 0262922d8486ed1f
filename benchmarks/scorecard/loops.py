"""Encoding folders of photos in a process of its own, in one way or another: commands on stdin, answers on stdout.

    python loops.py WAY WEIGHTS START

WAY is a key of WAYS. Each imports what it needs alone, as it runs in an environment of its own (see peers.py), and
loads its model. A command, {"do": "encode", "folder": FOLDER}, has it encode a folder, from reading the files to
writing the vectors; it answers with images a second.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "ViT-B-32-quickgelu"
BATCH = 64
CORES = len(os.sched_getaffinity(0))

Encode = Callable[[Path], int]
"""Encodes a folder, and tells how many images that were."""


def ours(weights: Path) -> Encode:
    """The batch job's `encode_run`: reading, decoding, encoding, writing parts and ledger."""
    from batch.encode import encode_run, open_encoder
    from batch.ledger import Status
    from batch.plan import make_plan
    from batch.report import read_totals
    from batch.sources import FolderSource, Reader
    from imagesearch.storage import FolderStorage

    encoder = open_encoder(weights / "ours")

    def encode(photos: Path) -> int:
        with tempfile.TemporaryDirectory() as folder:
            output = FolderStorage(Path(folder))
            plan = make_plan(FolderSource(photos), output, encoder.info.fingerprint)
            encode_run(output, plan, range(plan.shards), encoder, Reader(), workers=CORES)
            totals, _, _ = read_totals(output, plan.run)
            return totals.statuses[Status.INDEXED]

    return encode


def plain(weights: Path) -> Encode:
    """The loop that most people write: open_clip, its transform, Pillow, a DataLoader with a worker a core."""
    import numpy as np
    import open_clip
    import torch
    from PIL import Image

    checkpoint = str(weights / "open_clip" / "checkpoint.pt")
    model, _, transform = open_clip.create_model_and_transforms(NAME, pretrained=checkpoint)
    model.eval()

    class Folder(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self, photos: Path) -> None:
            self.paths = sorted(photos.iterdir())

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, number: int) -> torch.Tensor:
            return transform(Image.open(self.paths[number]))

    def encode(photos: Path) -> int:
        loader = torch.utils.data.DataLoader(Folder(photos), batch_size=BATCH, num_workers=CORES)
        with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            vectors = []
            for batch in loader:
                features = model.encode_image(batch)
                vectors.append(torch.nn.functional.normalize(features, dim=-1).numpy())
            np.save(Path(folder, "vectors.npy"), np.concatenate(vectors))
            return sum(map(len, vectors))

    return encode


def clip_retrieval(weights: Path) -> Encode:
    """The parts of `clip-retrieval inference`, run by its own Runner; the log, a process of its own, is left out."""
    import numpy as np
    from all_clip import load_clip
    from clip_retrieval.clip_inference.mapper import ClipMapper
    from clip_retrieval.clip_inference.reader import FilesReader
    from clip_retrieval.clip_inference.runner import Runner
    from clip_retrieval.clip_inference.writer import NumpyWriter

    model = f"open_clip:{NAME}/{weights / 'open_clip' / 'checkpoint.pt'}"
    only_images = {"enable_text": False, "enable_image": True, "enable_metadata": False}
    loading = {"clip_model": model, "use_jit": False, "warmup_batch_size": 1, "clip_cache_path": None}
    _, preprocess, tokenizer = load_clip(**loading)
    mapper = ClipMapper(**only_images, **loading, use_mclip=False, mclip_model="")

    class Silent:
        def start(self) -> None: ...

        def end(self) -> None: ...

        def __call__(self, stats: dict[str, Any]) -> None: ...

    def encode(photos: Path) -> int:
        with tempfile.TemporaryDirectory() as folder:
            Runner(
                reader_builder=lambda sampler: FilesReader(
                    sampler, preprocess, tokenizer, str(photos), BATCH, CORES, **only_images
                ),
                mapper_builder=lambda: mapper,
                writer_builder=lambda part: NumpyWriter(part, folder, output_partition_count=1, **only_images),
                logger_builder=lambda _: Silent(),
                output_partition_count=1,
            )(0)
            (vectors,) = Path(folder).rglob("img_emb*.npy")
            return len(np.load(vectors))

    return encode


WAYS = {"ours": ours, "open_clip": plain, "clip-retrieval": clip_retrieval}


def main(way: str, weights: Path) -> None:
    """Load, and answer the commands."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else writes to stdout
    encode = WAYS[way](weights)
    for line in sys.stdin:
        photos = Path(json.loads(line)["folder"])
        expected = len(list(photos.iterdir()))
        began = time.perf_counter()
        encoded = encode(photos)
        took = time.perf_counter() - began
        if encoded != expected:
            raise RuntimeError(f"{encoded} of {expected} images were encoded")
        print(json.dumps({"images_per_second": encoded / took}), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
