"""Load vector parts into the index: what the loader function does for each event, and `imagesearch load` for a folder.

Loading a part twice, or two parts in any order, ends the same: every row has a version, and the index keeps the newest.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from imagesearch.errors import PartError
from imagesearch.index.base import BulkResult, VectorIndex
from imagesearch.parts import PartKey, parse_part_key, read_part
from imagesearch.storage import Storage

logger = logging.getLogger(__name__)

OpenIndex = Callable[[str, int], VectorIndex]
"""Opens the index of a model, given the model's fingerprint and the dimension of its vectors."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A part that was loaded, and what became of its actions."""

    key: str
    fingerprint: str
    result: BulkResult


def rejected_key(key: PartKey) -> str:
    """Key of the list of a part's rows that the index refused: `runs/<run>/rejected/00042.jsonl`."""
    return f"runs/{key.run}/rejected/{key.shard:05d}.jsonl"


def load_part(storage: Storage, key: str, open_index: OpenIndex) -> Loaded:
    """Bring the part at `key` into the index of its model, which is created if it isn't there.

    Rows that the index refuses for good are logged and written to `rejected_key`, a JSON object a line with `id` and
    `reason`; the others go in.

    Raises:
        NotFound: the part is gone.
        PartError: it isn't a part, or isn't the one that its key says.
        StorageError: it can't be read.
        IndexUnavailable, IndexOverloaded: the index can't take it now; loading it again later is safe.
    """
    place = parse_part_key(key)
    if place is None:
        raise PartError(f"{key} is no key of a part: it should be vectors/<fingerprint>/<run>/<shard>.parquet")
    part = read_part(storage.read(key), fingerprint=place.fingerprint, name=key)
    index = open_index(part.fingerprint, part.dim)
    index.create()
    result = index.bulk(part.actions)
    _note_rejected(storage, place, result)
    return Loaded(key, part.fingerprint, result)


def part_keys(storage: Storage) -> Iterator[str]:
    """The keys of all parts in `storage`, in order."""
    return (found.key for found in storage.list("vectors/") if parse_part_key(found.key))


def _note_rejected(storage: Storage, place: PartKey, result: BulkResult) -> None:
    for rejection in result.rejected:
        logger.warning("the index refused %r: %s", rejection.id, rejection.reason)
    # `place` may have a root of its own, as in the key of an S3 event; the list stands beside the part's `vectors/`.
    key = f"{place.root}/{rejected_key(place)}".lstrip("/")
    if result.rejected:
        lines = [json.dumps(asdict(rejection), ensure_ascii=False) + "\n" for rejection in result.rejected]
        storage.write(key, "".join(lines).encode())
    elif storage.exists(key):  # what an earlier try was refused has gone in now
        storage.write(key, b"")
