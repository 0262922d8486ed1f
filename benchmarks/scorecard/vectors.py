"""Vectors that lie as CLIP's do, for every benchmark that needs many: clustered, off centre, of few real dimensions.

Images' embeddings lie on an ellipsoid that isn't centred at the origin (Levi and Gilboa, arXiv:2411.14517), so that two
images that have nothing in common still have a cosine of about a half, and their variance falls off along the principal
axes. Independent noise in all dimensions is otherwise: there all neighbours are about equally far, which no graph can
walk and no collection of photos looks like.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

DIM = 512
CHUNK = 10_000
"""Vectors that are made at once: 20 MB. A vector depends on seed and position alone, not on how many are asked for."""
OFF_CENTRE, SPREAD = 1.1, 0.6
"""Length of what all vectors have in common, and of what one has beside its cluster's centre, where centres are of
length 1 around it: two vectors have a mean cosine of some 0.5, two of a cluster some 0.85."""


class ClipLike:
    """An endless collection of clustered vectors of length 1, the same for the same arguments, and queries for it.

    Cluster sizes fall off as 1 / rank, as topics in a person's photos do. A collection's first n vectors are those of
    every larger one.
    """

    def __init__(self, clusters: int = 4_000, dim: int = DIM, seed: int = 0) -> None:
        self.dim = dim
        self._seed = seed
        random = np.random.default_rng(seed)
        axes = np.linalg.qr(random.normal(size=(dim, dim)))[0]
        deviations = np.arange(1, dim + 1) ** -0.5  # the variance along the i-th principal axis falls as 1 / i
        self._axes: Float32 = ((deviations / np.linalg.norm(deviations))[:, None] * axes).astype(np.float32)
        common = random.normal(size=dim)
        common *= OFF_CENTRE / np.linalg.norm(common)
        self._centres: Float32 = (common + random.normal(size=(clusters, dim)) @ self._axes).astype(np.float32)
        shares = 1 / np.arange(1, clusters + 1)
        self._until = np.cumsum(shares / shares.sum())

    def chunks(self, count: int) -> Iterator[Float32]:
        """The first `count` vectors, up to CHUNK at a time: (n, dim) float32 of length 1."""
        for start in range(0, count, CHUNK):
            # A whole chunk every time, so that a smaller collection is the beginning of a larger one.
            yield self._some(CHUNK, start // CHUNK)[: count - start]

    def vectors(self, count: int) -> Float32:
        """The first `count` vectors in one array: (count, dim) float32 of length 1."""
        return np.concatenate(list(self.chunks(count)))

    def queries(self, count: int) -> Float32:
        """Vectors of the same clusters that are in no collection: (count, dim) float32 of length 1."""
        return self._some(count, -1)

    def _some(self, count: int, chunk: int) -> Float32:
        random = np.random.default_rng((self._seed + 1, chunk + 1))
        cluster = np.searchsorted(self._until, random.random(count))
        noise = random.standard_normal((count, self.dim), dtype=np.float32)
        vectors = noise @ (SPREAD * self._axes) + self._centres[np.minimum(cluster, len(self._centres) - 1)]
        unit: Float32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def neighbours(
    queries: Float32, chunks: Iterator[Float32], k: int, holds: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Positions of the `k` vectors nearest to each query by cosine, best first: (queries, k), by comparing with all.

    Args:
        queries: (n, dim) float32 of length 1.
        chunks: The vectors, some at a time.
        k: At most so many as there are vectors, or vectors for which `holds` is true.
        holds: (vectors,) which of them count; all where it is None.
    """
    best = np.full((len(queries), k), -np.inf, dtype=np.float32)
    found = np.zeros((len(queries), k), dtype=np.int64)
    start = 0
    for chunk in chunks:
        positions = np.arange(start, start + len(chunk))
        start += len(chunk)
        if holds is not None:
            chunk, positions = chunk[holds[positions]], positions[holds[positions]]
        cosines = np.concatenate([best, queries @ chunk.T], axis=1)
        candidates = np.concatenate([found, np.broadcast_to(positions, (len(queries), len(positions)))], axis=1)
        top = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        best, found = np.take_along_axis(cosines, top, 1), np.take_along_axis(candidates, top, 1)
    return np.take_along_axis(found, np.argsort(-best, axis=1), 1)
