"""What a collection looks like to a query: how high the cosine of an image that has nothing to do with it is.

A cosine alone says little: a text has one of 0.2 with unrelated images, a picture of 0.5, and no two texts the same.
The mean and the covariance of all vectors give, for any query, the mean and the deviation of its cosines over the whole
collection, without asking the index: for q of length 1 they are q·μ and sqrt(qᵀΣq).

The batch job computes them at the end of a run (batch/statistics.py), and keeps them beside the parts.

```
statistics = read_statistics(open_storage("s3://vectors"), encoder.info.fingerprint)
statistics.confidence(query, hits[0].score)   # 0.97: the best of so many unrelated images wouldn't score as high
```
"""

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from imagesearch.errors import NotFound, StorageError
from imagesearch.storage import Storage

Float32 = npt.NDArray[np.float32]

SMALLEST_DEVIATION = 1e-6
"""A smaller one, as of a collection of equal images, is rounding of float32: it would make any difference huge."""


def statistics_key(fingerprint: str) -> str:
    """Where the statistics of what a model encoded are kept: `vectors/<fingerprint>/statistics.npz`."""
    return f"vectors/{fingerprint}/statistics.npz"


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """Of the vectors of a collection: how many there are, their `mean` (dim,) and `covariance` (dim, dim), float32."""

    count: int
    mean: Float32
    covariance: Float32

    @classmethod
    def of_vectors(cls, vectors: Float32) -> Self:
        """The statistics of all of `vectors`, (n, dim) float32 with n >= 1."""
        exact = vectors.astype(np.float64)
        mean = exact.mean(axis=0)
        centred = exact - mean
        covariance = centred.T @ centred / len(exact)
        return cls(len(exact), mean.astype(np.float32), covariance.astype(np.float32))

    def deviation(self, query: Float32) -> float:
        """How much the cosine with `query`, (dim,) float32 of length 1, varies over the collection: sqrt(qᵀΣq)."""
        return math.sqrt(max(float(query @ self.covariance @ query), SMALLEST_DEVIATION**2))

    def background(self, query: Float32) -> tuple[float, float]:
        """Mean and deviation of the cosine with `query`, (dim,) float32 of length 1, over the collection."""
        return float(query @ self.mean), self.deviation(query)

    def z_score(self, query: Float32, cosine: float) -> float:
        """How many deviations `cosine` is above the mean of the collection's cosines with `query`."""
        mean, deviation = self.background(query)
        return (cosine - mean) / deviation

    def confidence(self, query: Float32, cosine: float) -> float:
        """How sure it is, 0 to 1, that an image with this `cosine` has more to do with `query` than chance gives it.

        It is the probability that the best of `count` unrelated images has a lower cosine, if their cosines are
        normally distributed: Φ(z) ** count. For the best of many can't be judged as if it were the only one: of 25,000,
        it is four deviations above the mean by chance.
        """
        return self.confidences(query, [cosine])[0]

    def confidences(self, query: Float32, cosines: Sequence[float]) -> list[float]:
        """The `confidence` of each of `cosines`, for little more than that of one."""
        mean, deviation = self.background(query)
        # Φ(z) = 1 - erfc(z / √2) / 2, by logarithms, since Φ(z) is so near to 1 that only its distance is exact.
        above = [math.erfc((cosine - mean) / deviation / math.sqrt(2)) / 2 for cosine in cosines]
        return [math.exp(self.count * math.log1p(-share)) if share < 1 else 0.0 for share in above]

    def to_bytes(self) -> bytes:
        """As a compressed npz file; the upper triangle of the covariance as float16, 0.3 MB for 512 dimensions.

        Its entries are small, some below what float16 can hold, so they are stored as shares of the largest.
        """
        scale = float(np.abs(self.covariance).max(initial=0)) or 1.0
        triangle = self.covariance[np.triu_indices(len(self.mean))] / scale
        file = io.BytesIO()
        np.savez_compressed(
            file,
            count=np.int64(self.count),
            mean=self.mean,
            scale=np.float64(scale),
            covariance=triangle.astype(np.float16),
        )
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "the file") -> Self:
        """The inverse of `to_bytes`; `name` stands in the error.

        Raises:
            StorageError: it is no such file, or is damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                count, mean, scale, triangle = (file[key] for key in ("count", "mean", "scale", "covariance"))
            dim = len(mean)
            covariance = np.zeros((dim, dim), dtype=np.float32)
            covariance[np.triu_indices(dim)] = triangle.astype(np.float64) * float(scale)
            covariance += np.triu(covariance, 1).T
            statistics = cls(int(count), mean.astype(np.float32), covariance)
            if statistics.count < 1 or not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
                raise ValueError("it has no images, or numbers that aren't finite")
        except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise StorageError(
                f"{name} holds no statistics of a collection ({error}): imagesearch statistics makes it anew"
            ) from error
        return statistics


def read_statistics(storage: Storage, fingerprint: str) -> CollectionStatistics | None:
    """The statistics of what a model encoded; None if there are none.

    Raises:
        StorageError: they can't be read, or are damaged.
    """
    key = statistics_key(fingerprint)
    try:
        data = storage.read(key)
    except NotFound:
        return None
    return CollectionStatistics.from_bytes(data, f"{key} in {storage.uri}")
