"""What the command line shows: progress, totals, reasons, search results."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from batch.ledger import LedgerRow, Status, Totals, load_ledgers, rows_of, totals
from batch.models import OutputModel
from batch.plan import Plan
from batch.reconcile import Difference
from batch.throughput import Throughput
from imagesearch.index.base import BulkResult, Hit
from imagesearch.parquet import connect
from imagesearch.storage import Storage

# Names of files are shown as they are: nothing in them is markup or the name of an emoji.
console = Console(highlight=False, markup=False, emoji=False)
messages = Console(stderr=True, highlight=False, markup=False, emoji=False)

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(total: int, doing: str = "encoding", things: str = "images") -> Iterator[Callable[[int], None]]:
    """Show how many of `total` are done: a bar on a terminal, a line now and then anywhere else."""
    if messages.is_terminal:
        columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=messages) as bar:
            task = bar.add_task(doing, total=total)
            yield lambda images: bar.advance(task, images)
        return
    done, said = 0, monotonic()

    def advance(images: int) -> None:
        nonlocal done, said
        done += images
        if monotonic() - said >= SECONDS_BETWEEN_LINES:
            said = monotonic()
            messages.print(f"{done:,} of {total:,} {things}")

    yield advance


def show_plan(plan: Plan) -> None:
    """Say what a new run has to do."""
    if not plan.shards:
        messages.print("Nothing has changed since the last run.")
    else:
        messages.print(f"Run {plan.run}: {plan.upserts:,} to encode, {plan.deletes:,} to remove.")
    if plan.failed_before:
        messages.print(f"{plan.failed_before:,} failed before and are not tried again; --retry-failed does.")
    if plan.duplicates:
        messages.print(f"{plan.duplicates:,} have an id that another image of the source has too; they are skipped.")


def read_totals(
    output: Storage, run: str, failures: int = 0, shards: Collection[int] | None = None
) -> tuple[Totals, list[LedgerRow], Throughput]:
    """What became of the images of `run`, or of these shards of it; some of those that failed; and how long it took."""
    with connect() as con:
        took = load_ledgers(con, output, [run], shards)
        return totals(con, run), rows_of(con, run, Status.FAILED, failures), took


def show_totals(found: Totals, unchanged: int = 0) -> None:
    """A table of what became of the images, and of the reasons."""
    statuses = Counter(found.statuses)
    statuses["skipped"] += unchanged
    table = _table("status", "images", "reasons")
    for status in Status:
        reasons = [f"{reason} {count:,}" for reason, count in found.reasons[status].most_common()]
        if status is Status.SKIPPED and unchanged:
            reasons.insert(0, f"unchanged {unchanged:,}")
        if statuses[status] or status is not Status.DELETED:
            table.add_row(status, f"{statuses[status]:,}", ", ".join(reasons))
    console.print(table)


def log_line(output: Storage, plan: Plan, shard: int) -> dict[str, object]:
    """What became of one shard, for logs: the template makes metrics of it."""
    found, _, took = read_totals(output, plan.run, shards=[shard])
    return {
        "message": "shard encoded",
        "run": plan.run,
        "shard": shard,
        **{status.value: found.statuses[status] for status in Status},
        "images_per_second": round(took.images_per_second, 1),
        "slowest_stage": took.slowest_stage,
    }


def show_throughput(throughput: Throughput) -> None:
    """How quick it was, and what held it up."""
    if throughput.images:
        rate = f"{throughput.images_per_second:,.1f} a second"
        console.print(f"{throughput.images:,} images in {throughput.seconds:,.1f} s, {rate}.")
        console.print(f"The slowest stage is {throughput.slowest_stage}.")


def show_reasons(reasons: Iterable[str]) -> None:
    """How many failed for each reason."""
    if counts := Counter(reasons):
        table = _table("reason", "failed")
        for reason, count in counts.most_common():
            table.add_row(_printable(reason), f"{count:,}")
        console.print(table)


def show_failures(rows: Sequence[LedgerRow]) -> None:
    """The images that failed, with their reasons."""
    table = _table("id", "reason", "detail")
    for row in rows:
        table.add_row(*map(_printable, (row.id, row.reason, row.detail)))
    console.print(table)


def show_hits(hits: Sequence[Hit]) -> None:
    """Search results, best first."""
    credits = ["credit"] if any(hit.metadata.credit for hit in hits) else []
    table = _table("score", "id", "title", *credits, "uri")
    for hit in hits:
        known = hit.metadata
        credit = [known.credit] if credits else []
        table.add_row(f"{hit.score:.3f}", *map(_printable, (hit.id, known.title, *credit, known.uri)))
    console.print(table)


def show_refused(result: BulkResult, limit: int = 20) -> None:
    """Name images that the index refused, if there are any."""
    for rejection in result.rejected[:limit]:
        messages.print(f"{_printable(rejection.id)}: {_printable(rejection.reason)}", style="red")


def show_difference(index: str, difference: Difference, limit: int) -> None:
    """What an index lacks and has too much, with at most `limit` ids of each."""
    missing, surplus = difference.missing_ids, [delete.id for delete in difference.surplus]
    if not difference:
        console.print(f"{index} has what was encoded, and nothing else.")
        return
    console.print(f"{index} lacks {len(missing):,} images, and has {len(surplus):,} too many.")
    table = _table("id", "the index")
    for ids, what in ((missing, "lacks it"), (surplus, "should not have it")):
        for id in ids[:limit]:
            table.add_row(_printable(id), what)
        if len(ids) > limit:
            table.add_row("…", f"and {len(ids) - limit:,} more")
    console.print(table)


def show_models(models: Sequence[tuple[OutputModel, int, int]]) -> None:
    """Models, each with how many images should be in its index, and are."""
    table = _table("fingerprint", "model", "weights", "last run", "encoded", "in the index", "coverage")
    for model, encoded, indexed in models:
        coverage = f"{min(1.0, indexed / encoded):.1%}" if encoded else ""
        info, last = model.info, model.plans[-1].run
        table.add_row(info.fingerprint, info.name, info.pretrained, last, f"{encoded:,}", f"{indexed:,}", coverage)
    console.print(table)


def _table(*names: str) -> Table:
    """A table that wraps what is long instead of cutting it off."""
    return Table(*(Column(name, overflow="fold") for name in names))


def _printable(text: str | None) -> str:
    """`text` with escapes for what a terminal would take for a command; a file may be called anything."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text or "")
