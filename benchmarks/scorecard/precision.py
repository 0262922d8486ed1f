"""An int8 artifact beside the fp32 one of the same weights: what it gains, and what it finds less of.

Retrieval is that of the bundled model, which has meaning; time and size are those of a full-size ViT-B/32 with random
weights. Artifacts are kept in .cache/bench, as making them takes minutes, until the exporter changes.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from benchmarks.agreement import Agreement, Search, read_photos
from benchmarks.scorecard.peers import CACHE
from benchmarks.scorecard.rows import Row, compared
from benchmarks.scorecard.weights import ARTIFACT, ARTIFACT_INT8, EXPORTER, make_weights
from imagesearch.clip.onnx import OnnxEncoder
from imagesearch.clip.preprocess import preprocess_batch
from local.containers import ROOT
from local.demo import MODEL, SAMPLES

TEXT = "two dogs on a beach at sunset"
IN_SAMPLE = "the bundled model on the drawings that it was trained on, vectors by fp32; no real weights were at hand"
HELD_OUT = "the bundled model on OpenMoji's drawings, which it never saw, vectors by fp32"

OURS, THEIRS = "int8", "fp32"
FULL = {OURS: ARTIFACT_INT8, THEIRS: ARTIFACT}
"""ViT-B/32."""


def measure(quick: bool) -> Iterator[Row]:
    """Retrieval, cosines, time of a query and size; in full also retrieval with a vendor that was held out."""
    tiny = {THEIRS: OnnxEncoder(MODEL), OURS: OnnxEncoder(make_artifact())}  # its fp16 weights are exact
    search = Search(read_photos(SAMPLES / "photos.csv", 300 if quick else 2000), tiny)
    titles, copies = search.by_title(), search.by_copy()
    yield recall("retrieval-int8", "first hit of a title is right", titles, IN_SAMPLE)
    yield recall("retrieval-int8-picture", "first hit of an altered copy is right", copies, IN_SAMPLE)
    yield cosine("cosine-int8-text", "texts", titles)
    yield cosine("cosine-int8-image", "pictures", copies)
    if not quick:
        yield from held_out(search, tiny)
    yield from times(7 if quick else 30)
    yield size()


def recall(key: str, what: str, found: dict[str, Agreement], note: str) -> Row:
    """Recall at 1 of int8 queries and of fp32 ones among the same vectors."""
    ours, theirs = found[OURS], found[THEIRS]
    if theirs.recall[0] < 0.1:
        raise RuntimeError(f"fp32 finds next to nothing ({theirs.recall[0]:.3f}): the photos aren't those of the model")
    note = (
        f"{ours.queries:,} queries; R@10 {ours.recall[2]:.3f} against {theirs.recall[2]:.3f}; of the first ten, "
        f"{ours.same:.0%} are the same; {note}"
    )
    return Row(
        key, f"int8 queries: {what}", "fp32 queries", "R@1", ours.recall[0], theirs.recall[0],
        target=0.99, better="more", note=note,
    )  # fmt: skip


def cosine(key: str, what: str, found: dict[str, Agreement]) -> Row:
    """The lowest cosine of int8 queries to fp32 ones."""
    note = "the bundled model, whose image tower is a ResNet: only its pooling is int8" if what == "pictures" else ""
    return Row(
        key, f"lowest of {found[OURS].queries:,} {what}, int8 to fp32", "", "cosine", found[OURS].cosine,
        better="more", note=note or "the bundled model",
    )  # fmt: skip


def held_out(search: Search, encoders: dict[str, OnnxEncoder]) -> Iterator[Row]:
    """Recall with OpenMoji's drawings: by their names among themselves, and as queries among the bundled pictures."""
    from benchmarks.retrieval import draw_openmoji  # it imports the whole local stack

    number = {photo.title: place for place, photo in enumerate(search.photos)}
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "openmoji")
        draw_openmoji(drawn, set(number))
        drawings = read_photos(drawn / "photos.csv", 2000)
        by_name = Search(drawings, encoders).by_title()
        by_drawing = search.by_picture(
            [drawing.path for drawing in drawings], [number[drawing.title] for drawing in drawings]
        )
    yield recall("retrieval-int8-held-out", "first hit of a title is right", by_name, HELD_OUT)
    yield recall("retrieval-int8-drawing", "another drawing of the same is the first hit", by_drawing, HELD_OUT)


def times(rounds: int) -> Iterator[Row]:
    """Milliseconds of a query on one core, warm, in turns."""
    encoders = {name: OnnxEncoder(folder, threads=1) for name, folder in FULL.items()}
    pixels = preprocess_batch([Image.open(SAMPLES / "dog-face.webp").convert("RGB")], encoders[OURS].info)
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(-2, rounds):
        for kind in ("text", "image"):
            for name, encoder in encoders.items():
                started = time.perf_counter()
                if kind == "text":
                    encoder.encode_text([f"{TEXT} {turn}"])
                else:
                    encoder.encode_pixels(pixels)
                if turn >= 0:  # the first two turns warm up
                    taken.setdefault((kind, name), []).append(1000 * (time.perf_counter() - started))
    for kind, what in (("text", "a text of some ten tokens"), ("image", "the pixels of a picture")):
        yield compared(
            f"{kind}-int8", f"int8: {what}, warm, one core", "our fp32 artifact", "ms",
            taken[kind, OURS], taken[kind, THEIRS], note="ViT-B/32 of random weights",
        )  # fmt: skip


def size() -> Row:
    """Megabytes of the artifacts of ViT-B/32."""
    ours, theirs = (sum(path.stat().st_size for path in folder.iterdir()) / 1e6 for folder in FULL.values())
    return Row("artifact-int8", "int8: files of ViT-B/32", "our fp32 artifact", "MB", ours, theirs, target=3)


def make_artifact() -> Path:
    """The bundled model as int8, which is made where it isn't there yet."""
    make_weights()
    code = b"".join((ROOT / "batch" / name).read_bytes() for name in EXPORTER)
    folder = CACHE / f"tiny-int8-{hashlib.sha256(code).hexdigest()[:12]}"
    if not (folder / "model.json").exists():
        # a process of its own: torch takes much memory, and doesn't give it back
        subprocess.run([sys.executable, "-m", "benchmarks.scorecard.precision", str(folder)], cwd=ROOT, check=True)
    return folder


def export(folder: Path) -> None:
    """Write the artifact into `folder`."""
    from batch.export import export_model

    export_model("tiny-clip", str(MODEL / "checkpoint"), folder, "int8")


if __name__ == "__main__":
    export(Path(sys.argv[1]))
