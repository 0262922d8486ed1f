"""Bring a source up to date: finish what was interrupted, plan what has changed, encode it, say what became of it."""

import os
from collections.abc import Sequence

from batch import report
from batch.encode import encode_run
from batch.ledger import Status
from batch.plan import Plan, make_plan, unfinished, waiting_shards
from batch.sources import Reader, Source
from batch.statistics import write_statistics
from imagesearch.clip.model import Encoder
from imagesearch.errors import NotFound, PartError
from imagesearch.statistics import statistics_key
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

    failed, runs = 0, unfinished(output, source.uri, encoder.info.fingerprint)
    for plan in runs:
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
    if runs or plan.shards or not output.exists(statistics_key(encoder.info.fingerprint)):
        _renew_statistics(output, encoder.info.fingerprint)
    return failed


def _renew_statistics(output: Storage, fingerprint: str) -> None:
    """Without them searches work too: that a part is missing, which only they need now, doesn't undo the run."""
    try:
        write_statistics(output, fingerprint)
    except (NotFound, PartError) as error:
        report.messages.print(f"The statistics of the collection stay as they were: {error}", style="red")


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
