"""Bring a source up to date: finish what was interrupted, plan what has changed, encode it, say what became of it."""

import os
from collections.abc import Sequence

from batch import report
from batch.encode import encode_run
from batch.ledger import Status
from batch.plan import Plan, make_plan, unfinished, waiting_shards
from batch.sources import Reader, Source
from imagesearch.clip.model import Encoder
from imagesearch.storage import Storage


def ingest(
    source: Source,
    output: Storage,
    encoder: Encoder,
    *,
    shard_size: int = 1_000,
    batch_size: int | None = None,
    workers: int | None = None,
    retry_failed: bool = False,
    allow_empty: bool = False,
) -> int:
    """Encode what is new or has changed in `source`, and return how many images failed.

    Raises:
        SourceError: the source can't be listed, or is suddenly empty and `allow_empty` isn't set.
        StorageError: the output can't be read or written.
    """

    def encode(plan: Plan) -> int:
        return encode_shards(plan, output, encoder, batch_size=batch_size, workers=workers)

    failed = 0
    for plan in unfinished(output, source.uri, encoder.info.fingerprint):
        report.messages.print(f"Run {plan.run} was interrupted; it goes on first.")
        failed += encode(plan)
    plan = make_plan(
        source,
        output,
        encoder.info.fingerprint,
        shard_size=shard_size,
        retry_failed=retry_failed,
        allow_empty=allow_empty,
    )
    report.show_plan(plan)
    if plan.shards:
        failed += encode(plan)
    return failed


def encode_shards(
    plan: Plan,
    output: Storage,
    encoder: Encoder,
    *,
    batch_size: int | None = None,
    workers: int | None = None,
    shards: Sequence[int] | None = None,
) -> int:
    """Encode the shards of a run that aren't done yet, or these of them, and return how many images failed.

    Raises:
        StorageError: the output can't be read or written.
    """
    waiting = [shard for shard in waiting_shards(output, plan) if shards is None or shard in shards]
    with report.progress(min(plan.upserts, plan.shard_size * len(waiting))) as advance:
        throughput = encode_run(
            output,
            plan,
            waiting,
            encoder,
            Reader(),
            workers=workers or os.cpu_count() or 1,
            batch_size=batch_size,
            progress=advance,
        )
    totals, _, _ = report.read_totals(output, plan.run, shards=shards)
    report.show_totals(totals, plan.unchanged)
    report.show_throughput(throughput)
    return totals.statuses[Status.FAILED]
