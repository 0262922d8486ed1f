import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagesearch.errors import ImageReason, InvalidImage, InvalidInput, NotFound
from imagesearch.index.base import Ranked, VectorQuery
from imagesearch.index.filters import AnyOf
from imagesearch.query import By
from imagesearch.search import ById, ByImage, ByText, ByVector, Query, Result, Searcher, Term

from .conftest import MemoryIndex


def png(colour: str, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "png")
    return buffer.getvalue()


def by(what: By, **rest: Any) -> Query:
    """A query by one thing."""
    return Query((Term(what),), **rest)


def titles(searcher: Searcher, query: Query) -> list[str | None]:
    return [hit.metadata.title for hit in searcher.search(query).hits]


def test_words_find_the_images_nearest_to_them(searcher: Searcher) -> None:
    assert titles(searcher, by(ByText("red"), k=3)) == ["red", "yellow", "grey"]


def test_an_image_finds_the_images_that_look_like_it(searcher: Searcher) -> None:
    assert titles(searcher, by(ByImage(png("blue")), k=2)) == ["blue", "grey"]


def test_an_indexed_image_finds_those_like_it_but_not_itself(searcher: Searcher) -> None:
    assert titles(searcher, by(ById("red"), k=2)) == ["yellow", "grey"]
    assert len(titles(searcher, by(ById("red"), k=100))) == 4


def test_offset_goes_on_where_the_page_before_ended(searcher: Searcher) -> None:
    for what in (ByText("red"), ById("red"), ByImage(png("red"))):
        everything = titles(searcher, by(what, k=5))
        assert titles(searcher, by(what, k=2)) + titles(searcher, by(what, k=3, offset=2)) == everything


def test_a_filter_holds_for_every_hit(searcher: Searcher) -> None:
    warm = AnyOf("tags", ("warm",))
    assert titles(searcher, by(ByText("blue"), filter=warm)) == ["red", "yellow"]
    assert titles(searcher, by(ById("red"), filter=warm)) == ["yellow"]


def test_a_filter_holds_for_what_is_written_while_it_is_searched(
    searcher: Searcher, index: MemoryIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank = index.rank_many

    def rank_then_write(queries: Sequence[VectorQuery]) -> list[list[Ranked]]:
        ranked = rank(queries)
        red = index.documents["red"]
        index.documents["red"] = replace(red, metadata=red.metadata.model_copy(update={"tags": ("cold",)}))
        return ranked

    monkeypatch.setattr(index, "rank_many", rank_then_write)
    warm = by(ByText("red"), k=2, candidates=5, filter=AnyOf("tags", ("warm",)))
    assert titles(searcher, warm) == ["yellow"]


def test_scores_are_cosines(searcher: Searcher) -> None:
    hits = searcher.search(by(ByText("red"))).hits
    assert [hit.score for hit in hits] == pytest.approx([1, 0.5**0.5, 3**-0.5, 0, 0], abs=1e-6)


def test_the_times_of_encoding_and_searching_are_told(searcher: Searcher) -> None:
    result = searcher.search(by(ByText("red")))
    assert 0 < result.encode_ms < 1_000
    assert 0 < result.search_ms < 1_000


def test_an_unknown_id_is_not_found(searcher: Searcher) -> None:
    with pytest.raises(NotFound, match="no image has the id 'nothing'"):
        searcher.search(by(ById("nothing")))
    with pytest.raises(NotFound):
        searcher.document("nothing")


def test_what_is_no_image_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidImage) as caught:
        searcher.search(by(ByImage(b"this is text")))
    assert caught.value.reason is ImageReason.NOT_AN_IMAGE


def test_an_image_larger_than_allowed_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidImage) as caught:
        searcher.search(by(ByImage(b"\x89PNG" + bytes(100_000))))
    assert caught.value.reason is ImageReason.TOO_MANY_BYTES


def test_a_range_that_the_index_does_not_take_is_refused(searcher: Searcher) -> None:
    for query in (by(ByText("red"), k=0), by(ByText("red"), offset=-1), by(ByText("red"), offset=10_000)):
        with pytest.raises(InvalidInput):
            searcher.search(query)


def test_an_embedding_finds_what_is_nearest_to_it(searcher: Searcher) -> None:
    assert titles(searcher, by(ByVector(np.array([0, 7, 0], dtype=np.float32)), k=1)) == ["green"]
    for wrong in ([1, 0], [0, 0, 0], [float("nan"), 0, 0]):
        with pytest.raises(InvalidInput, match="vector"):
            searcher.search(by(ByVector(np.array(wrong, dtype=np.float32))))


@pytest.mark.parametrize("weight", [0, float("nan"), float("inf"), 1e9, -1e9])
def test_a_weight_that_is_none_is_refused(searcher: Searcher, weight: float) -> None:
    with pytest.raises(InvalidInput, match="a weight must be from -10 to 10, and not 0"):
        searcher.search(Query((Term(ByText("red")), Term(ByText("blue"), weight))))


def test_a_query_for_nothing_is_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidInput, match="nothing to search for"):
        searcher.search(Query())
    with pytest.raises(InvalidInput, match="there are no facets of 'colour'"):
        searcher.search(by(ByText("red"), facets=("colour",)))


def test_many_queries_are_answered_or_refused_one_by_one(searcher: Searcher) -> None:
    queries = [
        by(ByText("red"), k=1),
        by(ById("nothing")),
        by(ByImage(b"text")),
        Query(),
        by(ByImage(png("blue")), k=1),
    ]
    red, missing, broken, empty, blue = searcher.search_many(queries)
    assert isinstance(red, Result)
    assert isinstance(blue, Result)
    assert [red.hits[0].metadata.title, blue.hits[0].metadata.title] == ["red", "blue"]
    assert [type(one) for one in (missing, broken, empty)] == [NotFound, InvalidImage, InvalidInput]
    assert searcher.search_many([]) == []


def test_candidates_beyond_the_page_are_kept(searcher: Searcher) -> None:
    result = searcher.search(by(ByText("red"), k=1, candidates=3))
    assert [candidate.images for candidate in result.rest] == [
        (("yellow/similar", pytest.approx(0.5**0.5)),),
        (("holidays/2024/dog.jpg", pytest.approx(3**-0.5)),),
    ]
    assert searcher.search(by(ByText("red"), k=1, offset=9_999, candidates=500)).found == []
