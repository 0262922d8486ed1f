"""From candidates, which are ids and scores, to what is shown: for the first page and for those after it."""

from collections.abc import Sequence

from imagesearch.cursor import Candidate
from imagesearch.index.base import Hit, VectorIndex
from imagesearch.index.filters import Filter
from imagesearch.query import Found


def look_up(
    candidates: Sequence[Candidate], k: int, index: VectorIndex, filter: Filter | None = None
) -> tuple[list[Found], tuple[Candidate, ...]]:
    """The next `k` results, as the images are now, and the candidates that come after them.

    What was deleted in the meantime, or no longer matches `filter`, is left out, and the page filled from what follows;
    where the best of a group of near-duplicates is gone, the next one stands for it.

    Raises:
        VectorIndexError: the index doesn't answer, or is overloaded.
    """
    page: list[Found] = []
    read = 0
    while len(page) < k and read < len(candidates):
        chunk = candidates[read : read + k - len(page)]
        known = index.describe([id for candidate in chunk for id, _ in candidate.images], filter=filter)
        for candidate in chunk:
            there = [Hit(id, score, known[id]) for id, score in candidate.images if id in known]
            if there:
                page.append(Found(there[0], candidate.confidence, tuple(there[1:])))
        read += len(chunk)
    return page, tuple(candidates[read:])
