"""A collection's life: encoded, killed half-way, resumed, changed, thinned out; counted against the truth at each step.

    python benchmarks/lifecycle.py [--images 20000] [--folder FOLDER]

Makes pictures of the bundled ones (mirrored, turned in hue, as JPEG), encodes them with the bundled model through the
command line, kills that with SIGKILL half-way, goes on, loads the parts into an embedded index; then changes 1 %,
deletes 1 %, adds 1 %, and does it again. Every count is compared with what it has to be; a difference ends it.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

from PIL import Image

from batch.ledger import finished_shards
from batch.models import read_models
from batch.plan import read_plans
from batch.reconcile import compare
from batch.report import read_totals
from imagesearch.clip.model import ModelInfo
from imagesearch.index import open_index
from imagesearch.storage import FolderStorage

MODEL = Path(__file__).parents[1] / "models" / "tiny"
SHARD_SIZE = 500


def main() -> None:
    """Do it in a folder that is removed at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        live(Path(folder), options.images)


def live(folder: Path, count: int) -> None:
    """One collection of `count` pictures, from the first encoding to its first changes."""
    photos, output = folder / "photos", FolderStorage(folder / "encoded")
    info = ModelInfo.load(MODEL)
    index_url = f"duckdb:///{folder}/index.duckdb"
    started = time.perf_counter()
    make_photos(photos, range(count))
    say("pictures made", count, started)

    encode = ["encode", str(photos), "-o", str(output.folder), "--model", str(MODEL), "--shard-size", str(SHARD_SIZE)]
    shards = -(-count // SHARD_SIZE)
    started = time.perf_counter()
    process = subprocess.Popen(command(*encode), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not read_plans(output) or len(finished_shards(output, read_plans(output)[0].run)) < shards // 2:
        if process.poll() is not None:
            sys.exit("it ended before it could be killed")
        time.sleep(0.2)
    process.kill()
    process.wait()
    (plan,) = read_plans(output)
    done = len(finished_shards(output, plan.run))
    say(f"killed with SIGKILL: {done} of {shards} shards are done, images in them", done * SHARD_SIZE, started)

    started = time.perf_counter()
    said = run(*encode)
    check("images encoded after the restart", number_before(said, " images in"), count - done * SHARD_SIZE, started)
    totals, _, _ = read_totals(output, plan.run)
    check("images of the run in the ledger", totals.statuses["indexed"], count)
    started = time.perf_counter()
    run("load", str(output.folder), "--index", index_url)
    agree(output, index_url, info, photos, "images in the index", started)

    started = time.perf_counter()
    said = run(*encode)
    check("runs after nothing has changed", len(read_plans(output)), 1, started)

    one_percent, chance = max(1, count // 100), random.Random(1)  # noqa: S311
    names = sorted(path.name for path in photos.iterdir())
    picked = chance.sample(names, 2 * one_percent)
    for name in picked[:one_percent]:
        with Image.open(photos / name) as image:
            image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(photos / f"new-{name}", quality=90)
        (photos / f"new-{name}").replace(photos / name)
    for name in picked[one_percent:]:
        (photos / name).unlink()
    make_photos(photos, range(count, count + one_percent))
    started = time.perf_counter()
    run(*encode)
    second = read_plans(output)[-1]
    check("images encoded after 1 % changed and 1 % came", second.upserts, 2 * one_percent, started)
    check("images removed after 1 % had been deleted", second.deletes, one_percent)
    check("images left alone", second.unchanged, count - 2 * one_percent)
    started = time.perf_counter()
    run("load", str(output.folder), "--index", index_url)
    agree(output, index_url, info, photos, "images in the index", started)


def make_photos(folder: Path, numbers: range) -> None:
    """Write these pictures of the collection."""
    folder.mkdir(exist_ok=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(make_photo, [folder] * len(numbers), numbers, chunksize=100))


@cache
def bundled() -> list[Path]:
    """The bundled pictures."""
    return sorted((MODEL / "photos").glob("*.webp"))


def make_photo(folder: Path, number: int) -> None:
    """Picture `number` of the collection, always the same."""
    originals = bundled()
    with Image.open(originals[number % len(originals)]) as original:
        image = original.convert("RGB")
    turn = number // len(originals)
    hue, saturation, value = image.convert("HSV").split()
    image = Image.merge("HSV", (hue.point(lambda h: (h + 23 * turn) % 256), saturation, value)).convert("RGB")
    if turn % 2:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image.save(folder / f"{number:07d}.jpg", quality=90)


def command(*arguments: str) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-c", "from batch.cli import main; main()", *arguments]


def run(*arguments: str) -> str:
    """Run the command line; what it prints. It has to end well."""
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{arguments[0]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def number_before(text: str, what: str) -> int:
    """The number that stands before `what`."""
    return int(text[: text.index(what)].split()[-1].replace(",", ""))


def agree(output: FolderStorage, index_url: str, info: ModelInfo, photos: Path, what: str, started: float) -> None:
    """End it unless index, ledger and folder have the same pictures."""
    index = open_index(index_url, info.fingerprint, info.embed_dim)
    check(what, index.count(), sum(1 for _ in photos.iterdir()), started)
    (model,) = read_models(output)
    if difference := compare(output, index, model):
        sys.exit(f"index and ledger differ: {difference}")
    if {id for id, _ in index.versions()} != {path.name for path in photos.iterdir()}:
        sys.exit("the index has other images than the folder")
    index.close()  # type: ignore[attr-defined]


def check(what: str, found: int, expected: int, started: float | None = None) -> None:
    """Say a number, and end it unless it is the expected one."""
    say(what, found, started)
    if found != expected:
        sys.exit(f"that should be {expected:,}")


def say(what: str, number: int, started: float | None = None) -> None:
    """Print a line, with the seconds since `started`."""
    took = f"{time.perf_counter() - started:9.1f} s" if started else ""
    print(f"{what:75} {number:10,} {took}", flush=True)


if __name__ == "__main__":
    main()
