"""Pages after the first: the candidates that a search found beyond its page, into a cursor, and out of it again."""

from collections.abc import Sequence

from imagesearch.cursor import Candidate, Cursor
from imagesearch.index.base import Hit, VectorIndex
from imagesearch.query import Found


def cursor_of(rest: Sequence[Found], offset: int, k: int) -> Cursor | None:
    """The cursor for the results `rest`, which come after `offset` others, by `k` a page; None where there are none."""
    if not rest:
        return None
    candidates = [
        Candidate(tuple((hit.id, hit.score) for hit in (found.hit, *found.similar)), found.confidence) for found in rest
    ]
    return Cursor(tuple(candidates), offset, k)


def turn_page(cursor: Cursor, k: int, index: VectorIndex) -> tuple[list[Found], Cursor | None]:
    """The next `k` results of `cursor`, as the images are now, and the cursor for those after them.

    What was deleted in the meantime is left out, and the page filled from what follows; where the best of a group of
    near-duplicates was deleted, the next one stands for it.

    Raises:
        VectorIndexError: the index doesn't answer, or is overloaded.
    """
    page: list[Found] = []
    read = 0
    while len(page) < k and read < len(cursor.candidates):
        chunk = cursor.candidates[read : read + k - len(page)]
        documents = index.get([id for candidate in chunk for id, _ in candidate.images])
        for candidate in chunk:
            there = [Hit(id, score, documents[id].metadata) for id, score in candidate.images if id in documents]
            if there:
                page.append(Found(there[0], candidate.confidence, tuple(there[1:])))
        read += len(chunk)
    rest = cursor.candidates[read:]
    return page, Cursor(rest, cursor.offset + len(page), cursor.k) if rest else None
