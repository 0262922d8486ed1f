"""Planning a large bucket: seconds, and the most memory that the process had.

    python benchmarks/plan.py [--objects 1000000]

Plans a source that lists so many objects as S3 would; then plays that all of them were encoded, and plans again: once
with nothing changed, once with 1 % changed and 1 % gone.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from batch.ledger import LedgerRow, Status, write_ledger
from batch.plan import Plan, make_plan, read_work
from batch.sources import SourceImage
from batch.throughput import Throughput
from imagesearch.records import ImageMetadata
from imagesearch.storage import FolderStorage, Storage

SHARD_SIZE = 5_000
BUCKET = "s3://a-bucket-of-photos"


@dataclass
class Listing:
    """A source of `objects` photos; of each hundred, one is `changed` and one is `gone`, if so."""

    objects: int
    changed: bool = False
    gone: bool = False
    uri: str = BUCKET
    columns: dict[str, str] = field(default_factory=dict)

    def list(self) -> Iterator[SourceImage]:
        """See Source."""
        for n in range(self.objects):
            if self.gone and n % 100 == 1:
                continue
            key = f"2024/{n % 366:03d}/camera/IMG_{n:09d}.jpg"
            etag = f"{n * 2654435761 % 2**64:032x}" + ("-2" if self.changed and n % 100 == 0 else "")
            yield SourceImage(key, ImageMetadata(uri=f"{BUCKET}/{key}", etag=etag, bytes=2_000_000 + n))


def main() -> None:
    """Plan three times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--objects", type=int, default=1_000_000)
    objects = parser.parse_args().objects
    with tempfile.TemporaryDirectory() as folder:
        output = FolderStorage(Path(folder))
        plan = measured("all new", Listing(objects), output, objects, 0)
        for shard in range(plan.shards):
            finish(output, plan, shard)
        measured("nothing has changed", Listing(objects), output, 0, 0)
        some = objects // 100
        measured("1 % changed, 1 % gone", Listing(objects, changed=True, gone=True), output, some, some)


def measured(what: str, source: Listing, output: Storage, upserts: int, deletes: int) -> Plan:
    """Make a plan, check its counts, and print what it took."""
    started = time.perf_counter()
    plan = make_plan(source, output, "f00d", shard_size=SHARD_SIZE)
    seconds = time.perf_counter() - started
    if (plan.upserts, plan.deletes) != (upserts, deletes):
        sys.exit(f"{what}: {plan.upserts} to encode and {plan.deletes} to remove; should be {upserts} and {deletes}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = source.objects / seconds
    print(f"{what:25} {source.objects:12,} objects {seconds:8.1f} s {rate:10,.0f}/s   peak {peak:6,.0f} MB", flush=True)
    return plan


def finish(output: Storage, plan: Plan, shard: int) -> None:
    """Play that a shard was encoded."""
    rows = [
        LedgerRow(
            one.id, one.metadata.uri, one.metadata.etag, Status.INDEXED, None, None, plan.version, plan.run, shard
        )
        for one in read_work(output, plan.run, shard)
    ]
    write_ledger(output, plan.run, shard, plan.fingerprint, rows, Throughput())


if __name__ == "__main__":
    main()
