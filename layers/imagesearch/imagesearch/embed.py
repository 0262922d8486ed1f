"""Queries into the vectors to search with, many at once: one batch of texts, one of images, one look-up of ids."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagesearch.clip.model import Encoder, Float32
from imagesearch.clip.preprocess import preprocess
from imagesearch.combine import combine, rocchio
from imagesearch.errors import InvalidImage, InvalidInput, NotFound
from imagesearch.images import open_image
from imagesearch.index.base import Document, VectorIndex
from imagesearch.index.documents import unit
from imagesearch.query import By, ById, ByImage, ByText, ByVector, Query
from imagesearch.statistics import CollectionStatistics

Problem = InvalidInput | NotFound
"""What may be wrong with one query, and costs the others nothing."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """Makes the vectors of queries; the limits are those of images in them."""

    encoder: Encoder
    index: VectorIndex
    statistics: CollectionStatistics | None
    max_image_bytes: int
    max_image_pixels: int

    def __call__(self, queries: Sequence[Query]) -> list[Float32 | Problem]:
        """The vector of each query, (embed_dim,) float32 of length 1, or what is wrong with it.

        Raises:
            VectorIndexError: the index, which has the vectors of ids, doesn't answer, or is overloaded.
        """
        bys = [term.by for query in queries for term in query.terms]
        known: dict[By, Float32 | Problem] = {
            **self._texts([by for by in bys if isinstance(by, ByText)]),
            **self._images([by for by in bys if isinstance(by, ByImage)]),
        }
        ids = list(dict.fromkeys(id for query in queries for id in query.ids))
        documents = self.index.get(ids) if ids else {}
        return [self._vector(query, known, documents) for query in queries]

    def _vector(
        self, query: Query, known: dict[By, Float32 | Problem], documents: dict[str, Document]
    ) -> Float32 | Problem:
        try:
            embeddings = [self._embedding(term.by, known, documents) for term in query.terms]
            weights = [term.weight for term in query.terms]
            combined = combine(embeddings, weights, self.statistics) if embeddings else None
            if not (query.like or query.unlike) and combined is not None:
                return combined
            liked, unliked = ([_document(id, documents).vector for id in ids] for ids in (query.like, query.unlike))
            return rocchio(combined, liked, unliked, self.statistics)
        except (InvalidInput, NotFound) as problem:
            return problem

    def _embedding(self, by: By, known: dict[By, Float32 | Problem], documents: dict[str, Document]) -> Float32:
        match by:
            case ById(id):
                return _document(id, documents).vector
            case ByVector(vector):
                return unit(vector, self.encoder.info.embed_dim)
        embedding = known[by]
        if isinstance(embedding, InvalidInput | NotFound):
            raise embedding
        return embedding

    def _texts(self, bys: list[ByText]) -> dict[By, Float32 | Problem]:
        different = list(dict.fromkeys(bys))
        if not different:
            return {}
        return dict(zip(different, self.encoder.encode_text([by.text for by in different]), strict=True))

    def _images(self, bys: list[ByImage]) -> dict[By, Float32 | Problem]:
        """As soon as an image is open, it is made as small as the model sees it: there may be many large ones."""
        info = self.encoder.info
        made: dict[By, Float32 | Problem] = {}
        pixels: dict[By, Float32] = {}
        for by in dict.fromkeys(bys):
            try:
                opened = open_image(
                    by.data, target=info.image_size, max_bytes=self.max_image_bytes, max_pixels=self.max_image_pixels
                )
                pixels[by] = preprocess(opened.image, info)
            except InvalidImage as problem:
                made[by] = problem
        if pixels:
            made.update(zip(pixels, self.encoder.encode_pixels(np.stack(list(pixels.values()))), strict=True))
        return made


def _document(id: str, documents: dict[str, Document]) -> Document:
    try:
        return documents[id]
    except KeyError:
        raise NotFound(f"no image has the id {id[:200]!r}") from None
