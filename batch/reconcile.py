"""Compare an index with the ledger, and repair it: it should have all that was encoded, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass

from batch.ledger import expected_state, load_ledgers
from batch.models import OutputModel
from imagesearch.index.base import Action, BulkResult, Delete, VectorIndex
from imagesearch.parquet import connect, load_rows
from imagesearch.parts import part_key, read_part
from imagesearch.storage import Storage


@dataclass(frozen=True, slots=True)
class Missing:
    """Images of one part that the index lacks, or has in an older version."""

    run: str
    shard: int
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """What an index lacks, part by part, and what it has too much: deletions that bring it to what it should be."""

    missing: list[Missing]
    surplus: list[Delete]

    def __bool__(self) -> bool:
        return bool(self.missing or self.surplus)

    @property
    def missing_ids(self) -> list[str]:
        """Ids of the images that the index lacks."""
        return [id for part in self.missing for id in part.ids]


def compare(output: Storage, index: VectorIndex, model: OutputModel) -> Difference:
    """How `index` differs from what was encoded with `model`.

    A photo that couldn't be encoded anew after it had changed stays in the index as it was, which is no difference.
    What the loader hasn't come to yet is one.

    Raises:
        StorageError: the output can't be read.
        IndexUnavailable, IndexOverloaded: the index doesn't answer.
    """
    with connect() as con:
        load_ledgers(con, output, [plan.run for plan in model.plans])
        expected_state(con)
        load_rows(con, "indexed", {"id": "VARCHAR", "version": "BIGINT"}, index.versions())
        missing = con.execute(
            """
            SELECT run, shard, list(id ORDER BY id) FROM expected LEFT JOIN indexed USING (id)
            WHERE status = 'indexed' AND (indexed.version IS NULL OR indexed.version < expected.version)
            GROUP BY run, shard ORDER BY run, shard
            """
        ).fetchall()
        surplus = con.execute(
            """
            SELECT id, greatest(indexed.version, coalesce(expected.version, 0))
            FROM indexed LEFT JOIN expected USING (id)
            WHERE expected.status IS DISTINCT FROM 'indexed' ORDER BY id
            """
        ).fetchall()
    return Difference([Missing(*row) for row in missing], [Delete(*row) for row in surplus])


def repair(output: Storage, index: VectorIndex, model: OutputModel, difference: Difference) -> BulkResult:
    """Bring `index` to what it should be: missing images come from their parts.

    Raises:
        NotFound, PartError: a part is gone or damaged; what is missing has to be encoded again.
        IndexUnavailable, IndexOverloaded: the index doesn't answer.
    """

    def actions() -> Iterator[Action]:
        for missing in difference.missing:
            key, ids = part_key(model.info.fingerprint, missing.run, missing.shard), set(missing.ids)
            part = read_part(output.read(key), fingerprint=model.info.fingerprint, name=key)
            yield from (action for action in part.actions if action.id in ids)
        yield from difference.surplus

    result = index.bulk(actions())
    index.refresh()
    return result
