"""Many embeddings into the one that is searched with: weighted terms, and feedback on what was found (Rocchio).

CLIP puts texts and images into one space, but in different places of it (Liang et al., "Mind the Gap", 2022): the
cosines of a text with a collection's images vary less than those of an image. In a plain sum, an image therefore
decides the ranking over the head of a text of the same weight. With the collection's statistics each embedding q is
divided by the standard deviation of its cosines over the collection, sqrt(qᵀΣq) for the covariance Σ of the images, so
that terms of equal weight move the ranking equally, whatever they are.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imagesearch.errors import InvalidInput
from imagesearch.statistics import CollectionStatistics

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

ALPHA, BETA, GAMMA = 1.0, 0.75, 0.15
"""Rocchio's weights of the query, of what is liked and of what isn't: Manning, Raghavan, Schütze, Introduction to
Information Retrieval (2008), ch. 9.1.1, "reasonable values"."""

MOST_BALANCE = 10.0
"""How much more than its neighbours an embedding may be scaled up: one along which the collection hardly varies at all
says next to nothing about it, and shouldn't drown the others."""
CANCELLED = 1e-6
"""A sum shorter than this share of its summands is nothing but rounding."""


def combine(
    embeddings: npt.ArrayLike, weights: Sequence[float], statistics: CollectionStatistics | None = None
) -> Float32:
    """The weighted sum of `embeddings` (n, dim), scaled to length 1: (dim,) float32.

    With `statistics`, each embedding is divided by its deviation over the collection first; without, they are added as
    they are. A negative weight leads away from what its embedding stands for.

    Raises:
        InvalidInput: they cancel each other out, so that the sum has no direction.
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    scaled = (np.asarray(weights, dtype=np.float64) / _deviations(rows, statistics))[:, None] * rows
    return _unit(scaled)


def rocchio(
    query: npt.ArrayLike | None,
    liked: npt.ArrayLike,
    unliked: npt.ArrayLike,
    statistics: CollectionStatistics | None = None,
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    gamma: float = GAMMA,
) -> Float32:
    """`query` (dim,), moved towards the mean of `liked` (n, dim) and away from that of `unliked` (m, dim), of length 1.

    Each of the three may be absent or empty. With `statistics`, the query and the two means are balanced as the
    embeddings of `combine` are.

    Raises:
        InvalidInput: nothing is left, since they cancel each other out or there is none of them.
    """
    parts: list[tuple[float, Float64]] = []
    if query is not None:
        parts.append((alpha, np.asarray(query, dtype=np.float64)))
    for weight, rows in ((beta, liked), (-gamma, unliked)):
        vectors = np.asarray(rows, dtype=np.float64)
        if len(vectors):
            parts.append((weight, vectors.mean(axis=0)))
    if not parts:
        raise InvalidInput("there is nothing to search for")
    return combine(np.stack([vector for _, vector in parts]), [weight for weight, _ in parts], statistics)


def _deviations(rows: Float64, statistics: CollectionStatistics | None) -> Float64:
    """What each of `rows` (n, dim) is divided by: (n,)."""
    if statistics is None:
        return np.ones(len(rows))
    found = np.array([float(statistics.deviation(row.astype(np.float32))) for row in rows])
    floored: Float64 = np.maximum(found, max(found.max() / MOST_BALANCE, np.finfo(np.float32).tiny))
    return floored


def _unit(summands: Float64) -> Float32:
    total = summands.sum(axis=0)
    length = float(np.linalg.norm(total))
    if length <= CANCELLED * float(np.linalg.norm(summands, axis=1).sum()):
        raise InvalidInput("the parts of the query cancel each other out: change a weight, or leave one out")
    unit: Float32 = (total / length).astype(np.float32)
    return unit
