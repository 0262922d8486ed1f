"""A Query in, Hits out: turns what is asked for into one vector, and asks the index for its nearest neighbours."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt

from imagesearch.clip.model import Encoder
from imagesearch.errors import NotFound
from imagesearch.images import open_image
from imagesearch.index.base import Document, Hit, VectorIndex
from imagesearch.index.filters import And, AnyOf, Filter, Not

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ByText:
    """What the image shows, in words."""

    text: str


@dataclass(frozen=True, slots=True)
class ByImage:
    """An image that the results should look like: the bytes of a file in any format that `imagesearch.images` opens."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ById:
    """An indexed image that the results should look like; it isn't among them itself."""

    id: str


@dataclass(frozen=True, slots=True)
class Query:
    """What to search for: the `k` images nearest to `by`, after skipping `offset`, among those that `filter` holds for.

    The index says which k and offset it takes.
    """

    by: ByText | ByImage | ById
    k: int = 20
    offset: int = 0
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Hits, best first, and how long it took to make the query's vector and to search for it, in milliseconds."""

    hits: list[Hit]
    encode_ms: float
    search_ms: float


@dataclass(frozen=True, slots=True)
class Searcher:
    """Searches `index` with the model that filled it.

    ```python
    encoder = OnnxEncoder(Path("models/tiny"))
    index = open_index("duckdb:///photos.duckdb", encoder.info.fingerprint, encoder.info.embed_dim, "lucene")
    for hit in Searcher(encoder, index).search(Query(ByText("a dog on a beach"))).hits:
        print(hit.score, hit.metadata.uri)
    ```
    """

    encoder: Encoder
    index: VectorIndex
    max_image_bytes: int = 20_000_000
    max_image_pixels: int = 100_000_000

    def search(self, query: Query) -> Result:
        """The images that `query` asks for.

        Raises:
            InvalidInput: k or offset that the index doesn't take.
            InvalidImage: bytes of `ByImage` that are no usable image, or a larger one than allowed.
            NotFound: an id of `ById` that isn't indexed.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        start = perf_counter()
        vector = self.vector(query.by)
        encoded = perf_counter()
        hits = self.index.search(vector, query.k, offset=query.offset, filter=_filter(query))
        searched = perf_counter()
        return Result(hits, encode_ms=(encoded - start) * 1000, search_ms=(searched - encoded) * 1000)

    def vector(self, by: ByText | ByImage | ById) -> Float32:
        """The vector to search with, (embed_dim,) float32 of length 1. Raises as `search` does."""
        vector: Float32
        match by:
            case ByText(text):
                (vector,) = self.encoder.encode_text([text])
            case ByImage(data):
                opened = open_image(
                    data,
                    target=self.encoder.info.image_size,
                    max_bytes=self.max_image_bytes,
                    max_pixels=self.max_image_pixels,
                )
                (vector,) = self.encoder.encode_images([opened.image])
            case ById(id):
                vector = self.document(id).vector
        return vector

    def document(self, id: str) -> Document:
        """The indexed image with this id.

        Raises:
            NotFound: there is none.
            VectorIndexError: the index doesn't answer, or is overloaded.
        """
        try:
            return self.index.get([id])[id]
        except KeyError:
            raise NotFound(f"no image has the id {id[:200]!r}") from None


def _filter(query: Query) -> Filter | None:
    if not isinstance(query.by, ById):
        return query.filter
    others = Not(AnyOf("id", (query.by.id,)))
    return And((query.filter, others)) if query.filter else others
