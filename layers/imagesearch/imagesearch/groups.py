"""Near-duplicates among what was found, gathered behind the best of them: bursts, copies, other sizes of one photo."""

import numpy as np
import numpy.typing as npt

DUPLICATE_COSINE = 0.95
"""Cosine from which two images count as near-duplicates; docs/search.md has what was measured."""


def group_similar(vectors: npt.ArrayLike, threshold: float = DUPLICATE_COSINE) -> list[list[int]]:
    """Groups of the rows of `vectors` (n, dim), each of length 1 and in the order of the search, best first.

    A group is the indices of its rows, the best first. Going from best to worst, a row joins the group whose first row
    it is most like, if their cosine is at least `threshold`, and starts a group of its own otherwise. So everything in
    a group is a near-duplicate of its first row; a chain of small differences doesn't make one group of a whole day.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    groups: list[list[int]] = []
    leaders = np.empty_like(rows)
    for index, row in enumerate(rows):
        cosines = leaders[: len(groups)] @ row
        nearest = int(cosines.argmax()) if len(groups) else -1
        if nearest >= 0 and cosines[nearest] >= threshold:
            groups[nearest].append(index)
        else:
            leaders[len(groups)] = row
            groups.append([index])
    return groups
