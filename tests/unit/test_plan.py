"""Planning and the ledger. A finished shard is played by writing its ledger; encoding is in test_encode.py."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from batch.ledger import LedgerRow, Status, ledger_key, load_ledgers, rows_of, totals, write_ledger
from batch.plan import Plan, make_plan, read_plan, read_plans, read_work, unfinished, work_key
from batch.sources import SourceImage
from batch.throughput import Throughput
from imagesearch.errors import NotFound, SourceError, StorageError
from imagesearch.parquet import write_table
from imagesearch.records import ImageMetadata
from imagesearch.storage import FolderStorage, Storage

MODEL = "3f2a"
START = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass
class Photos:
    """A source that lists what it is told: id → etag."""

    etags: dict[str, str] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    uri: str = "file:///photos"
    columns: dict[str, str] = field(default_factory=dict)

    def list(self) -> Iterator[SourceImage]:
        for id, etag in self.etags.items():
            yield SourceImage(id, ImageMetadata(uri=f"file:///photos/{id}", etag=etag, title=f"T {id}"))
        for id in self.twice:
            yield SourceImage(id, ImageMetadata(uri=f"file:///elsewhere/{id}", etag="e"))


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    return FolderStorage(tmp_path)


def work(output: Storage, plan: Plan) -> list[tuple[str, str]]:
    return [(item.op, item.id) for shard in range(plan.shards) for item in read_work(output, plan.run, shard)]


def finish(output: Storage, plan: Plan, failing: tuple[str, ...] = (), shards: range | None = None) -> None:
    """Do as encoding would, for all shards or some."""
    for shard in shards or range(plan.shards):
        rows = []
        for item in read_work(output, plan.run, shard):
            status = {"delete": Status.DELETED, "skip": Status.SKIPPED}.get(item.op, Status.INDEXED)
            reason = None
            if item.id in failing:
                status, reason = Status.FAILED, "corrupt"
            metadata = item.metadata
            rows.append(
                LedgerRow(item.id, metadata.uri, metadata.etag, status, reason, None, plan.version, plan.run, shard)
            )
        write_ledger(output, plan.run, shard, plan.fingerprint, rows, Throughput())


def test_a_first_run_takes_every_image_in_shards(output: Storage) -> None:
    plan = make_plan(Photos(dict.fromkeys("abcde", "1")), output, MODEL, shard_size=2, now=START)
    assert (plan.shards, plan.upserts, plan.deletes, plan.unchanged) == (3, 5, 0, 0)
    assert [[item.id for item in read_work(output, plan.run, n)] for n in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
    assert read_work(output, plan.run, 0)[0].metadata == ImageMetadata(uri="file:///photos/a", etag="1", title="T a")
    assert read_plan(output, plan.run) == plan
    assert (plan.run, plan.version) == ("20250101T000000000Z", int(START.timestamp() * 1000))


def test_nothing_changed_plans_nothing_and_writes_nothing(output: Storage) -> None:
    photos = Photos({"a": "1", "b": "1"})
    finish(output, make_plan(photos, output, MODEL))
    before = list(output.list())
    plan = make_plan(photos, output, MODEL)
    assert (plan.shards, plan.upserts, plan.deletes, plan.unchanged) == (0, 0, 0, 2)
    assert list(output.list()) == before


def test_a_second_run_takes_only_what_is_new_or_changed_or_gone(output: Storage) -> None:
    finish(output, make_plan(Photos({"same": "1", "changed": "1", "gone": "1"}), output, MODEL))
    plan = make_plan(Photos({"new": "1", "same": "1", "changed": "2"}), output, MODEL)
    assert work(output, plan) == [("upsert", "new"), ("upsert", "changed"), ("delete", "gone")]
    assert (plan.upserts, plan.deletes, plan.unchanged) == (2, 1, 1)
    finish(output, plan)
    assert make_plan(Photos({"new": "1", "same": "1", "changed": "2"}), output, MODEL).shards == 0


def test_an_image_that_comes_back_is_encoded_again(output: Storage) -> None:
    for etags in ({"a": "1", "b": "1"}, {"b": "1"}):
        finish(output, make_plan(Photos(etags), output, MODEL))
    plan = make_plan(Photos({"a": "1", "b": "1"}), output, MODEL)
    assert work(output, plan) == [("upsert", "a")]


def test_what_failed_is_tried_again_when_it_changed_or_when_asked(output: Storage) -> None:
    photos = Photos({"good": "1", "bad": "1"})
    finish(output, make_plan(photos, output, MODEL), failing=("bad",))
    plan = make_plan(photos, output, MODEL)
    assert (plan.shards, plan.unchanged, plan.failed_before) == (0, 2, 1)
    plan = make_plan(photos, output, MODEL, retry_failed=True)
    assert work(output, plan) == [("upsert", "bad")]
    assert (plan.unchanged, plan.failed_before) == (1, 0)
    photos.etags["bad"] = "2"
    assert work(output, make_plan(photos, output, MODEL)) == [("upsert", "bad")]


def test_another_model_or_another_source_starts_anew(output: Storage) -> None:
    finish(output, make_plan(Photos({"a": "1"}), output, MODEL))
    assert work(output, make_plan(Photos({"a": "1"}), output, "beef")) == [("upsert", "a")]
    assert work(output, make_plan(Photos({"b": "1"}, uri="file:///other"), output, MODEL)) == [("upsert", "b")]


def test_of_two_images_with_one_id_the_first_counts_and_the_other_is_noted_once(output: Storage) -> None:
    photos = Photos({"a": "1", "b": "1"}, twice=["a"])
    plan = make_plan(photos, output, MODEL)
    assert (plan.upserts, plan.duplicates) == (2, 1)
    assert work(output, plan) == [("upsert", "a"), ("upsert", "b"), ("skip", "a")]
    finish(output, plan)
    assert make_plan(photos, output, MODEL).shards == 0
    photos.twice = []
    assert make_plan(photos, output, MODEL).shards == 0


def test_a_source_that_is_suddenly_empty_removes_nothing_unless_asked(output: Storage) -> None:
    finish(output, make_plan(Photos({"a": "1", "b": "1"}), output, MODEL))
    with pytest.raises(SourceError, match=r"lists no photos at all, but 2 are indexed.*--allow-empty"):
        make_plan(Photos(), output, MODEL)
    plan = make_plan(Photos(), output, MODEL, allow_empty=True)
    assert work(output, plan) == [("delete", "a"), ("delete", "b")]
    finish(output, plan)
    assert make_plan(Photos(), output, MODEL).shards == 0


def test_an_empty_source_plans_nothing(output: Storage) -> None:
    assert make_plan(Photos(), output, MODEL).shards == 0
    assert list(output.list()) == []


def test_an_interrupted_run_is_unfinished_until_its_last_shard_has_a_ledger(output: Storage) -> None:
    photos = Photos(dict.fromkeys("abc", "1"))
    plan = make_plan(photos, output, MODEL, shard_size=1)
    finish(output, plan, shards=range(2))
    assert unfinished(output, photos.uri, MODEL) == [plan]
    assert unfinished(output, photos.uri, "beef") == []
    assert unfinished(output, "file:///other", MODEL) == []
    finish(output, plan)
    assert unfinished(output, photos.uri, MODEL) == []


def test_a_run_that_was_killed_while_planning_never_was(output: Storage) -> None:
    plan = make_plan(Photos({"a": "1"}), output, MODEL)
    output.delete(f"runs/{plan.run}/plan.json")
    assert unfinished(output, "file:///photos", MODEL) == []
    assert read_plans(output) == []
    with pytest.raises(NotFound, match=plan.run):
        read_plan(output, plan.run)


def test_a_damaged_plan_is_named(output: Storage) -> None:
    output.write("runs/r/plan.json", b"{}")
    with pytest.raises(StorageError, match=r"runs/r/plan\.json .* is no plan"):
        read_plans(output)


def test_versions_only_rise_even_when_the_clock_goes_back(output: Storage) -> None:
    first = make_plan(Photos({"a": "1"}), output, MODEL, now=START)
    second = make_plan(Photos({"a": "2"}), output, MODEL, now=START - timedelta(days=1))
    third = make_plan(Photos({"a": "3"}), output, MODEL, now=START)
    assert first.version < second.version < third.version
    assert first.run < second.run < third.run


def test_ids_and_metadata_of_any_unicode_survive(output: Storage) -> None:
    ids = ["a b+c%20.jpg", "é/🐶.png", "'; DROP TABLE work; --", "\u202e\0", "e\u0301"]
    plan = make_plan(Photos(dict.fromkeys(ids, "ü'\"")), output, MODEL, shard_size=2)
    items = [item for shard in range(plan.shards) for item in read_work(output, plan.run, shard)]
    assert [item.id for item in items] == ids
    assert {item.metadata.etag for item in items} == {"ü'\""}


def test_problems_of_the_source_reach_the_work_shard(output: Storage) -> None:
    class Broken(Photos):
        def list(self) -> Iterator[SourceImage]:
            yield SourceImage("a", ImageMetadata(uri="u", etag="1"), "row 1: no latitude")

    plan = make_plan(Broken(), output, MODEL)
    assert [item.problem for item in read_work(output, plan.run, 0)] == ["row 1: no latitude"]


def test_the_ledger_is_plain_parquet_and_sums_up(output: Storage, tmp_path: Path) -> None:
    plan = make_plan(Photos(dict.fromkeys("abcd", "1"), twice=["a"]), output, MODEL, shard_size=2)
    finish(output, plan, failing=("b", "d"))
    frame = pd.read_parquet(tmp_path / f"runs/{plan.run}/ledger")
    assert set(frame.status) == {"indexed", "failed", "skipped"}
    assert set(frame[frame.status == "failed"].id) == {"b", "d"}
    with duckdb.connect() as con:
        load_ledgers(con, output, [plan.run])
        found = totals(con, plan.run)
        assert found.statuses == {"indexed": 2, "failed": 2, "skipped": 1}
        assert found.reasons["failed"] == {"corrupt": 2}
        assert [row.id for row in rows_of(con, plan.run, Status.FAILED, 10)] == ["b", "d"]
        assert [row.id for row in rows_of(con, plan.run, Status.FAILED, 1)] == ["b"]


def test_the_same_shard_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = FolderStorage(tmp_path / "1"), FolderStorage(tmp_path / "2")
    for output in (one, two):
        plan = make_plan(Photos(dict.fromkeys("abc", "1")), output, MODEL, now=START)
    assert one.read(work_key(plan.run, 0)) == two.read(work_key(plan.run, 0))


class Syncing(RuleBasedStateMachine):
    """Whatever happens to a source between runs, the ledger's state after a run is the source."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.output = FolderStorage(Path(self.folder.name))
        self.photos = Photos()
        self.indexed: dict[str, str] = {}
        self.clean = True

    @rule(id=st.sampled_from("abcd"), etag=st.sampled_from("12"))
    def write(self, id: str, etag: str) -> None:
        self.photos.etags[id] = etag
        self.clean = False

    @rule(id=st.sampled_from("abcd"))
    def remove(self, id: str) -> None:
        self.photos.etags.pop(id, None)
        self.clean = False

    @rule(size=st.integers(1, 3))
    def run(self, size: int) -> None:
        plan = make_plan(self.photos, self.output, MODEL, shard_size=size, allow_empty=True)
        for shard in range(plan.shards):
            for item in read_work(self.output, plan.run, shard):
                if item.op == "delete":
                    del self.indexed[item.id]
                else:
                    assert item.metadata.etag is not None
                    assert self.indexed.get(item.id) != item.metadata.etag
                    self.indexed[item.id] = item.metadata.etag
        finish(self.output, plan)
        self.clean = True

    @invariant()
    def what_is_indexed_is_the_source(self) -> None:
        if self.clean:
            assert self.indexed == self.photos.etags

    def teardown(self) -> None:
        self.folder.cleanup()


TestSyncing = Syncing.TestCase
TestSyncing.settings = settings(max_examples=6, stateful_step_count=8, deadline=None)


def test_a_ledger_of_another_schema_is_refused_by_name(output: Storage) -> None:
    plan = make_plan(Photos({"a": "1"}), output, MODEL, now=START)
    output.write(ledger_key(plan.run, 0), write_table({"id": "VARCHAR", "state": "VARCHAR"}, [("a", "ok")], {}))
    with pytest.raises(
        StorageError, match=r"ledger .*00000.parquet has the columns id, state, and should have id, uri"
    ):
        make_plan(Photos({"a": "2"}), output, MODEL, now=START)


def test_a_damaged_ledger_is_refused(output: Storage) -> None:
    plan = make_plan(Photos({"a": "1"}), output, MODEL, now=START)
    output.write(ledger_key(plan.run, 0), b"PAR1, but no more")
    with pytest.raises(StorageError, match="a ledger can't be read"):
        make_plan(Photos({"a": "2"}), output, MODEL, now=START)
