"""What every VectorIndex must do, held against them all: DuckDB, and a real OpenSearch, also with quantised vectors."""

import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesearch.errors import InvalidInput, VectorIndexError
from imagesearch.index import open_index
from imagesearch.index.base import MAX_RESULTS, Action, Delete, Facet, Float32, Ranked, Upsert, VectorIndex, VectorQuery
from imagesearch.index.facets import FIELDS as FACETS
from imagesearch.index.filters import And, AnyOf, parse_filter
from imagesearch.records import ImageMetadata

DIM = 8
on_one_index = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
"""Many examples may go into the one index of a test, since each has ids of its own."""

Opener = Callable[..., VectorIndex]


@pytest.fixture(params=["duckdb", "opensearch", "opensearch-sq"])
def open_new(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Opens indices on one store; each opened with the same fingerprint is the same index. Dropped at the end."""
    if request.param == "duckdb":
        url = f"duckdb://{tmp_path}/index.duckdb"
    else:
        url = request.getfixturevalue("opensearch_url")
    engine = "lucene-sq" if request.param == "opensearch-sq" else "lucene"
    own = secrets.token_hex(6)
    opened = []

    def opener(fingerprint: str = "a", dim: int = DIM) -> VectorIndex:
        opened.append(open_index(url, f"{own}{fingerprint}", dim, engine))
        return opened[-1]

    yield opener
    for index in opened:
        index.drop()


@pytest.fixture
def index(open_new: Opener) -> VectorIndex:
    index = open_new()
    index.create()
    return index


def axis(*components: float) -> Float32:
    vector = np.zeros(DIM, dtype=np.float32)
    vector[: len(components)] = components
    return vector / np.linalg.norm(vector)


def photo(id: str, version: int = 1, vector: Float32 | None = None, **metadata: Any) -> Upsert:
    return Upsert(id, version, axis(1) if vector is None else vector, ImageMetadata(uri=f"file:///{id}", **metadata))


def fill(index: VectorIndex, *actions: Action) -> None:
    result = index.bulk(actions)
    assert not result.rejected
    index.refresh()


def found(index: VectorIndex, vector: Float32 | None = None, **options: Any) -> list[str]:
    return [hit.id for hit in index.search(axis(1) if vector is None else vector, options.pop("k", 10), **options)]


# --- the index itself ----------------------------------------------------------------------------------------------


def test_it_is_named_after_the_fingerprint(open_new: Opener) -> None:
    assert open_new("abc").name.startswith("images-")
    assert open_new("abc").name.endswith("abc")


def test_a_missing_index_has_no_hits_no_documents_and_no_count(open_new: Opener) -> None:
    index = open_new()
    index.refresh()
    assert found(index) == found(index, exact=True) == []
    assert found(index, filter=AnyOf("format", ("jpeg",))) == []
    assert index.get(["a"]) == {}
    assert index.count() == 0


def test_creating_it_twice_keeps_what_is_in_it(index: VectorIndex) -> None:
    fill(index, photo("a"))
    index.create()
    assert found(index) == ["a"]


def test_several_may_create_it_at_the_same_time(open_new: Opener) -> None:
    failures = []

    def create() -> None:
        try:
            open_new().create()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_writing_to_a_missing_index_creates_it_properly(open_new: Opener) -> None:
    index = open_new()
    fill(index, photo("a", tags=("dog",)))
    assert found(index, filter=AnyOf("tags", ("dog",))) == ["a"]


def test_an_index_of_another_dimension_is_refused(open_new: Opener) -> None:
    open_new().create()
    with pytest.raises(VectorIndexError, match="dimension"):
        open_new(dim=DIM + 1).create()


def test_a_dropped_index_is_empty_when_created_again_and_dropping_twice_is_no_error(index: VectorIndex) -> None:
    fill(index, photo("a"))
    index.drop()
    index.drop()
    assert index.count() == 0
    index.create()
    assert found(index) == []


def test_two_fingerprints_are_two_indices(open_new: Opener) -> None:
    first, second = open_new("a"), open_new("b", dim=DIM + 1)
    second.create()
    fill(first, photo("a"))
    second.refresh()
    assert (first.count(), second.count()) == (1, 0)


# --- writing -------------------------------------------------------------------------------------------------------


def test_a_bulk_tells_what_became_of_its_actions(index: VectorIndex) -> None:
    result = index.bulk([photo("a", 5), photo("b", 5), Delete("c", 5), photo("a", 4), Delete("b", 4)])
    assert (result.upserted, result.deleted, result.stale, result.rejected) == (2, 1, 2, [])


def test_an_older_version_changes_nothing(index: VectorIndex) -> None:
    fill(index, photo("a", 2, title="new"))
    assert index.bulk([photo("a", 1, axis(0, 1), title="old")]).stale == 1
    assert index.bulk([Delete("a", 1)]).stale == 1
    document = index.get(["a"])["a"]
    assert (document.version, document.metadata.title) == (2, "new")
    assert np.array_equal(document.vector, axis(1))


def test_the_same_version_again_rewrites(index: VectorIndex) -> None:
    fill(index, photo("a", 1, title="first"))
    assert index.bulk([photo("a", 1, title="second")]).upserted == 1
    index.refresh()
    assert index.get(["a"])["a"].metadata.title == "second"


def test_the_same_bulk_twice_leaves_the_same_index(index: VectorIndex) -> None:
    actions: list[Action] = [photo("a", 3, title="t"), photo("b", 3), Delete("b", 4)]
    fill(index, *actions)
    before = index.get(["a", "b"])
    fill(index, *actions)
    after = index.get(["a", "b"])
    assert after.keys() == before.keys() == {"a"}
    assert after["a"].metadata == before["a"].metadata
    assert index.count() == 1


def test_a_newer_version_replaces_the_whole_document(index: VectorIndex) -> None:
    fill(index, photo("a", 1, title="t", tags=("dog",), lat=1, lon=1, extra={"camera": "x"}))
    fill(index, photo("a", 2, axis(0, 1)))
    assert index.get(["a"])["a"].metadata == ImageMetadata(uri="file:///a")
    assert index.count(AnyOf("tags", ("dog",))) == 0
    assert index.search(axis(0, 1), 1)[0].score == pytest.approx(1, abs=1e-6)


def test_the_last_of_one_bulk_wins_when_versions_rise(index: VectorIndex) -> None:
    fill(index, photo("a", 1, title="1"), Delete("a", 2), photo("a", 3, title="3"))
    assert index.get(["a"])["a"].metadata.title == "3"


def test_a_deleted_image_is_gone(index: VectorIndex) -> None:
    fill(index, photo("a"), photo("b", vector=axis(1, 1)))
    fill(index, Delete("a", 2))
    assert found(index) == found(index, exact=True) == ["b"]
    assert index.get(["a", "b"]).keys() == {"b"}
    assert index.count() == 1
    assert index.count(parse_filter({"id": {"any_of": ["a", "b"]}})) == 1
    assert index.count(parse_filter({"not": {"id": "b"}})) == 0


def test_an_upsert_that_comes_after_a_newer_delete_does_not_bring_the_image_back(index: VectorIndex) -> None:
    fill(index, Delete("a", 2))  # not even known yet
    assert index.bulk([photo("a", 1)]).stale == 1
    index.refresh()
    assert found(index) == []
    fill(index, photo("a", 3))
    assert found(index) == ["a"]


def test_what_an_index_cannot_take_is_rejected_with_a_reason_and_the_rest_goes_in(index: VectorIndex) -> None:
    nan = axis(1)
    nan[3] = np.nan
    refused: dict[str, Action] = {
        "wrong-dimension": photo("wrong-dimension", vector=np.ones(DIM + 1, dtype=np.float32)),
        "nan": photo("nan", vector=nan),
        "infinite": photo("infinite", vector=np.full(DIM, np.inf, dtype=np.float32)),
        "zero": photo("zero", vector=np.zeros(DIM, dtype=np.float32)),
        "negative-version": photo("negative-version", -1),
        "huge-version": Delete("huge-version", 2**63),
        "huge-width": photo("huge-width", width=2**63),
        "no-json": photo("no-json", extra={"a": object()}),
        "half-a-surrogate": photo("half-a-surrogate", title="x", extra={"a": "\ud800"}),
        "too-deep": photo("too-deep", extra=nested(2_000)),
        "too-long": photo("too-long", description="x" * 2_000_000),
        "": photo(""),
        "é" * 257: Delete("é" * 257, 1),
        "\ud800": Delete("\ud800", 1),
    }
    mixed = [action for refusal in refused.values() for action in (refusal, photo(f"good-{refusal.id[:20]!r}"))]
    result = index.bulk(mixed)
    index.refresh()
    assert [rejection.id for rejection in result.rejected] == list(refused)
    assert all(len(rejection.reason) > 10 for rejection in result.rejected)
    assert result.upserted == index.count() == len(refused)


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_a_vector_of_another_length_is_normalised(index: VectorIndex) -> None:
    fill(index, photo("a", vector=axis(1, 1) * 7))
    assert index.get(["a"])["a"].vector == pytest.approx(axis(1, 1), abs=1e-6)


def test_more_than_one_request_can_hold_goes_in(open_new: Opener) -> None:
    index = open_new(dim=512)
    vectors = np.random.default_rng(1).normal(size=(900, 512)).astype(np.float32)  # 6 MB as JSON
    fill(index, *(photo(str(i), vector=vector) for i, vector in enumerate(vectors)))
    assert index.count() == 900
    assert found(index, vectors[876], k=1) == ["876"]


def test_the_order_of_actions_holds_across_requests(open_new: Opener) -> None:
    index = open_new(dim=512)
    vectors = np.random.default_rng(1).normal(size=(900, 512)).astype(np.float32)  # several requests, as JSON
    refused = [Upsert(f"bad-{i}", -1, vectors[0], ImageMetadata(uri="file:///bad")) for i in range(3)]
    same = [photo("same", 1, vectors[i], title=str(i)) for i in range(3)]
    others = [photo(str(i), vector=vector) for i, vector in enumerate(vectors)]
    result = index.bulk([same[0], refused[0], *others[:450], same[1], refused[1], *others[450:], same[2], refused[2]])
    index.refresh()
    assert (result.upserted, result.stale) == (903, 0)
    assert [rejection.id for rejection in result.rejected] == ["bad-0", "bad-1", "bad-2"]
    assert index.get(["same"])["same"].metadata.title == "2"


# --- searching -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_scores_are_cosines_best_first(index: VectorIndex, exact: bool) -> None:
    fill(index, photo("same"), photo("half", vector=axis(1, 1)), photo("right", vector=axis(0, 1)))
    fill(index, photo("opposite", vector=axis(-1)))
    hits = index.search(axis(1) * 5, 10, exact=exact)
    assert [hit.id for hit in hits] == ["same", "half", "right", "opposite"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.5**0.5, 0, -1], abs=1e-6)
    assert all(-1 <= hit.score <= 1 for hit in hits)
    assert hits[0].metadata == ImageMetadata(uri="file:///same")


@pytest.mark.parametrize("exact", [False, True])
def test_equal_scores_are_ordered_by_id(index: VectorIndex, exact: bool) -> None:
    ids = [
        "b",
        "10",
        "9",
        "a",
        "é",
        "Z",
        "\U0001f600",
        "\uffee",
        "aa",
    ]  # the last but one: UTF-16 would order otherwise
    fill(index, *(photo(id) for id in ids))
    assert found(index, exact=exact) == sorted(ids)


@pytest.mark.parametrize("exact", [False, True])
def test_pages_repeat_nothing_and_leave_nothing_out(index: VectorIndex, exact: bool) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, DIM)).astype(np.float32).repeat(3, axis=0)  # with duplicates across page borders
    fill(index, *(photo(f"{i:03}", vector=vectors[i]) for i in rng.permutation(120)))
    whole = found(index, vectors[0], k=120, exact=exact)
    assert len(set(whole)) == 120
    pages = [found(index, vectors[0], k=7, offset=offset, exact=exact) for offset in range(0, 98, 7)]
    assert [id for page in pages for id in page] == whole[:98]
    assert found(index, vectors[0], offset=120, exact=exact) == []


@pytest.mark.parametrize("exact", [False, True])
def test_as_many_hits_come_back_as_match_even_if_none_of_them_is_near(index: VectorIndex, exact: bool) -> None:
    rng = np.random.default_rng(3)
    near = [photo(f"near-{i}", vector=axis(1, *(rng.random(3) * 0.1))) for i in range(300)]
    far = [photo(f"far-{i}", vector=axis(-1, *(rng.random(3) * 0.1)), tags=("wanted",)) for i in range(12)]
    fill(index, *near, *far)
    hits = found(index, filter=AnyOf("tags", ("wanted",)), exact=exact)
    assert len(hits) == 10
    assert all(id.startswith("far-") for id in hits)


@pytest.mark.parametrize(
    ("vector", "k", "offset", "field"),
    [
        (axis(1), 0, 0, "k"),
        (axis(1), 1, -1, "offset"),
        (axis(1), 1, MAX_RESULTS, "offset"),
        (axis(1)[:-1], 1, 0, "vector"),
        (axis(1) * 0, 1, 0, "vector"),
        (axis(1) * np.nan, 1, 0, "vector"),
    ],
)
def test_a_search_that_makes_no_sense_is_the_callers_mistake(
    index: VectorIndex, vector: Float32, k: int, offset: int, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        index.search(vector, k, offset=offset)
    assert caught.value.field == field


@pytest.mark.parametrize("exact", [False, True])
def test_the_deepest_page_can_be_asked_for(index: VectorIndex, exact: bool) -> None:
    fill(index, photo("a"), photo("b"))
    assert found(index, k=MAX_RESULTS, exact=exact) == ["a", "b"]
    assert found(index, k=1, offset=MAX_RESULTS - 1, exact=exact) == []


# --- several searches at once ----------------------------------------------------------------------------------------


def test_several_searches_are_answered_as_each_alone(index: VectorIndex) -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(30, DIM)).astype(np.float32)
    fill(index, *(photo(str(i), vector=v, format=("png", "jpeg")[i % 2]) for i, v in enumerate(vectors)))
    png = AnyOf("format", ("png",))
    queries = [VectorQuery(vectors[0], 3), VectorQuery(vectors[1] * 9, 5, png, 2), VectorQuery(vectors[0], 3)]
    alone = [index.search(query.vector, query.k, filter=query.filter, offset=query.offset) for query in queries]
    answers = index.search_many(queries)
    assert answers == alone
    assert [len(hits) for hits in answers] == [3, 5, 3]
    assert index.search_many([]) == []
    assert index.rank_many(queries) == [[Ranked(hit.id, hit.score) for hit in hits] for hits in answers]
    assert index.rank_many([]) == []


def test_several_searches_of_a_missing_index_have_no_hits(open_new: Opener) -> None:
    queries = [VectorQuery(axis(1), 3), VectorQuery(axis(0, 1), 1)]
    assert open_new().search_many(queries) == open_new().rank_many(queries) == [[], []]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (VectorQuery(axis(1), 0), "k"),
        (VectorQuery(axis(1), 1, offset=-1), "offset"),
        (VectorQuery(axis(1), 1, offset=MAX_RESULTS), "offset"),
        (VectorQuery(axis(1)[:-1], 1), "vector"),
    ],
)
def test_one_of_several_searches_that_makes_no_sense_is_the_callers_mistake(
    index: VectorIndex, wrong: VectorQuery, field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        index.search_many([VectorQuery(axis(1), 1), wrong])
    assert caught.value.field == field
    with pytest.raises(InvalidInput) as caught:
        index.rank_many([VectorQuery(axis(1), 1), wrong])
    assert caught.value.field == field


# --- searching by words ----------------------------------------------------------------------------------------------


def named(index: VectorIndex, text: str, k: int = 10, **options: Any) -> list[str]:
    return [hit.id for hit in index.search_words(text, k, **options)]


def test_words_of_title_tags_and_description_are_found(index: VectorIndex) -> None:
    fill(index, photo("title", title="Two dogs"), photo("tags", tags=("cat", "dogs")), photo("none", title="A cat"))
    fill(index, photo("description", description="A beach with dogs"), photo("silent"))
    assert set(named(index, "dogs")) == {"title", "tags", "description"}
    assert named(index, "dogs beach")[0] == "description"
    (hit,) = index.search_words("beach", 1)
    assert hit.id == "description"
    assert hit.score > 0


def test_a_word_in_the_title_weighs_more_than_a_tag_and_a_tag_more_than_a_word_in_the_description(
    index: VectorIndex,
) -> None:
    texts = {"title": ("dog", "x y", "z z z"), "tag": ("x", "dog y", "z z z z"), "description": ("x", "y y", "dog z z")}
    for id, (title, tags, description) in texts.items():
        fill(index, photo(id, title=title, tags=tuple(tags.split()), description=description))
    assert named(index, "dog") == ["title", "tag", "description"]


def test_rare_words_count_more_than_common_ones(index: VectorIndex) -> None:
    fill(index, *(photo(f"common-{i}", title="beach sea") for i in range(20)), photo("rare", title="lighthouse sea"))
    assert named(index, "beach lighthouse", 2) == ["rare", "common-0"]


def test_more_of_a_word_counts_more_and_a_longer_text_less(index: VectorIndex) -> None:
    fill(index, photo("once", description="dog a b c"), photo("twice", description="dog dog a b"))
    fill(index, photo("lost", description="dog a b c d e f g h i j k"))
    assert named(index, "dog") == ["twice", "once", "lost"]


def test_case_accents_and_punctuation_do_not_matter(index: VectorIndex) -> None:
    fill(index, photo("a", title="Früh, am_STRAND: Ærøskøbing (Straße)"), photo("b", title="f-r-u-h"))
    for text in ("fruh", "FRÜH!", "fru\u0308h", "strand", "aeroskobing", "strasse", "STRASSE"):
        assert named(index, text) == ["a"]


def test_scripts_without_spaces_are_found_by_their_characters(index: VectorIndex) -> None:
    fill(index, photo("dog", title="海边的狗"), photo("cat", title="海边的猫"), photo("hindi", title="हिन्दी कुत्ता"))
    assert named(index, "狗") == ["dog"]
    assert named(index, "कुत्ता") == ["hindi"]
    assert set(named(index, "海边")) == {"dog", "cat"}


def test_text_without_words_finds_nothing(index: VectorIndex) -> None:
    fill(index, photo("a", title="- * -"), photo("b"))
    for text in ("", " ", "-", "?!*", "\U0001f600"):
        assert named(index, text) == []


def test_the_syntax_of_query_languages_is_only_text(index: VectorIndex) -> None:
    fill(index, photo("a", title="a OR b"), photo("b", title="quote"))
    assert named(index, 'NOT "quote" OR title:*') == ["b", "a"]
    assert named(index, "quote'; DROP TABLE x; --") == ["b"]


def test_equal_word_scores_are_ordered_by_id_and_k_cuts(index: VectorIndex) -> None:
    fill(index, *(photo(id, title="dog") for id in ("b", "10", "9", "a", "é", "Z")))
    assert named(index, "dog") == sorted(["b", "10", "9", "a", "é", "Z"])
    assert named(index, "dog", 2) == ["10", "9"]


def test_a_filter_holds_among_word_hits_and_does_not_change_their_scores(index: VectorIndex) -> None:
    fill(index, *(photo(f"{i}", title="dog " * (i + 1), format=("png", "jpeg")[i % 2]) for i in range(6)))
    every = {hit.id: hit.score for hit in index.search_words("dog", 10)}
    some = {hit.id: hit.score for hit in index.search_words("dog", 10, filter=AnyOf("format", ("jpeg",)))}
    assert some == {id: every[id] for id in ("1", "3", "5")}


def test_words_of_deleted_and_rewritten_images_are_gone(index: VectorIndex) -> None:
    fill(index, photo("a", title="dog"), photo("b", title="dog"))
    fill(index, Delete("a", 2), photo("b", 2, title="cat"))
    assert named(index, "dog") == []
    assert named(index, "cat") == ["b"]


def test_very_long_texts_and_queries_can_be_searched(index: VectorIndex) -> None:
    long = " ".join(f"w{i}" for i in range(150_000))
    fill(index, photo("a", title=long[:200_000], description=long[:700_000], tags=("x" * 30_000,)))
    assert named(index, "w17") == ["a"]
    assert named(index, long) == ["a"]
    assert named(index, "x" * 30_000) == ["a"]


def test_words_of_a_missing_index_find_nothing(open_new: Opener) -> None:
    assert open_new().search_words("dog", 3) == []


@pytest.mark.parametrize("k", [0, MAX_RESULTS + 1])
def test_a_word_search_for_no_or_too_many_hits_is_the_callers_mistake(index: VectorIndex, k: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        index.search_words("dog", k)
    assert caught.value.field in ("k", "offset")


# --- facets ----------------------------------------------------------------------------------------------------------


def test_facets_count_the_values_of_all_images_most_frequent_first(index: VectorIndex) -> None:
    fill(index, photo("a", tags=("sea", "dog", "dog"), color="red", format="png", credit="Ada", width=3, height=2))
    fill(index, photo("b", tags=("dog",), format="jpeg", width=2, height=3), photo("c", width=2, height=2), photo("d"))
    assert index.facets(None, FACETS) == {
        "tags": [Facet("dog", 2), Facet("sea", 1)],
        "color": [Facet("red", 1)],
        "credit": [Facet("Ada", 1)],
        "format": [Facet("jpeg", 1), Facet("png", 1)],
        "orientation": [Facet("landscape", 1), Facet("portrait", 1), Facet("square", 1)],
        "year": [],
    }
    assert index.facets(None, []) == {}


def test_the_year_of_a_photo_is_that_in_utc(index: VectorIndex) -> None:
    east = timezone(timedelta(hours=5))
    fill(
        index, photo("a", created_at=datetime(2020, 1, 1, 2, tzinfo=east)), photo("b", created_at=datetime(2019, 7, 1))
    )
    fill(index, photo("c", created_at=datetime(890, 1, 1, tzinfo=UTC)), photo("d", created_at=datetime(2020, 1, 1)))
    assert index.facets(None, ["year"]) == {"year": [Facet("2019", 2), Facet("0890", 1), Facet("2020", 1)]}
    assert index.facets(None, ["year"], size=1) == {"year": [Facet("2019", 2)]}


def test_facets_of_a_search_are_of_its_nearest_candidates_that_match(index: VectorIndex) -> None:
    near = [
        photo(f"near-{i}", vector=axis(1, i / 100), tags=("near",), format=("png", "jpeg")[i % 2]) for i in range(9)
    ]
    far = [photo(f"far-{i}", vector=axis(0, 1, i / 100), tags=("far",), format="png") for i in range(20)]
    fill(index, *near, *far)
    assert index.facets(axis(1), ["tags"], candidates=5) == {"tags": [Facet("near", 5)]}
    assert index.facets(axis(1), ["tags"], candidates=12) == {"tags": [Facet("near", 9), Facet("far", 3)]}
    assert index.facets(axis(1), ["tags"]) == {"tags": [Facet("far", 20), Facet("near", 9)]}
    png = AnyOf("format", ("png",))
    assert index.facets(axis(1), ["tags"], filter=png, candidates=6) == {"tags": [Facet("near", 5), Facet("far", 1)]}
    assert index.facets(None, ["tags"], filter=AnyOf("tags", ("near",)), candidates=1) == {"tags": [Facet("near", 9)]}


def test_as_many_values_of_a_facet_come_as_asked_for(index: VectorIndex) -> None:
    values = [f"{letter}{i:03}" for letter in "äzZ9" for i in range(40)]
    fill(index, photo("all", tags=tuple(values)), photo("some", tags=("z007", "9001")))
    assert index.facets(None, ["tags"], size=4)["tags"] == [
        Facet("9001", 2), Facet("z007", 2), Facet("9000", 1), Facet("9002", 1),
    ]  # fmt: skip
    assert len(index.facets(None, ["tags"])["tags"]) == 20
    rest = [facet.value for facet in index.facets(None, ["tags"], size=1_000)["tags"][2:]]
    assert rest == sorted(set(values) - {"9001", "z007"})


def test_deleted_images_and_a_missing_index_have_no_facets(open_new: Opener) -> None:
    index = open_new()
    assert index.facets(None, ["tags", "year"]) == {"tags": [], "year": []}
    assert index.facets(axis(1), ["format"]) == {"format": []}
    fill(index, photo("a", format="png"), Delete("a", 2))
    assert index.facets(None, ["format"]) == index.facets(axis(1), ["format"]) == {"format": []}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"fields": ["tags", "title"]}, "facets"),
        ({"candidates": 0}, "candidates"),
        ({"candidates": MAX_RESULTS + 1}, "candidates"),
        ({"size": 0}, "size"),
        ({"size": 1_001}, "size"),
        ({"vector": axis(1)[:-1]}, "vector"),
    ],
)
def test_facets_that_make_no_sense_are_the_callers_mistake(
    index: VectorIndex, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        index.facets(**{"vector": axis(1), "fields": ["tags"], **arguments})
    assert caught.value.field == field


# --- what comes back -----------------------------------------------------------------------------------------------


def test_get_answers_with_the_documents_that_are_there(index: VectorIndex) -> None:
    vector = np.random.default_rng(4).normal(size=DIM).astype(np.float32)
    vector /= np.linalg.norm(vector)
    fill(index, photo("a", 1_700_000_000_123, vector, title="t"), photo("b"))
    documents = index.get(["a", "nobody", "", "x" * 600, "\ud800", "a"])
    assert documents.keys() == {"a"}
    assert documents["a"].id == "a"
    assert documents["a"].version == 1_700_000_000_123
    assert documents["a"].vector.dtype == np.float32
    assert np.array_equal(documents["a"].vector, vector)
    assert index.get([]) == {}
    known = index.describe(["a", "nobody", "", "x" * 600, "\ud800", "b", "a"])
    assert known == {id: document.metadata for id, document in index.get(["a", "b"]).items()}
    assert known.keys() == {"a", "b"}
    assert index.describe([]) == {}
    assert index.describe(["a", "b"], filter=AnyOf("title", ("t",))).keys() == {"a"}
    assert index.describe(["b"], filter=AnyOf("title", ("t",))) == {}
    assert index.describe(["a", "b"], filter=And(())).keys() == {"a", "b"}


def test_each_of_many_documents_comes_with_its_own_vector(index: VectorIndex) -> None:
    vectors = {f"i{n}": axis(*np.random.default_rng(n).normal(size=DIM)) for n in range(40)}
    for half in (list(vectors)[:20], list(vectors)[20:]):  # in two segments of OpenSearch
        fill(index, *(photo(id, vector=vectors[id]) for id in half))
    documents = index.get(list(vectors))
    assert documents.keys() == vectors.keys()
    for id, vector in vectors.items():
        assert documents[id].vector == pytest.approx(vector, abs=1e-6), id


def test_versions_are_of_all_images_that_are_there(open_new: Opener) -> None:
    index = open_new()
    assert list(index.versions()) == []
    fill(index, *(photo(f"i{n}", n + 1) for n in range(6_000)), Delete("i7", 99))
    assert dict(index.versions()) == {f"i{n}": n + 1 for n in range(6_000) if n != 7}


unicode = st.characters(exclude_categories=["Cs"])


@on_one_index
@given(ids=st.lists(st.text(unicode, min_size=1, max_size=128), min_size=1, unique=True))
def test_an_id_may_be_any_unicode(index: VectorIndex, ids: list[str]) -> None:
    fill(index, *(photo(id, vector=axis(0, 1)) for id in ids))
    assert index.get(ids).keys() == set(ids)
    assert index.count(AnyOf("id", tuple(ids))) == len(ids)


words = st.text(unicode, max_size=20)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
counts = st.none() | st.integers(0, 2**63 - 1)
zones = st.none() | st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
metadata = st.builds(
    ImageMetadata,
    uri=words,
    **dict.fromkeys(("etag", "format", "title", "description", "color", "credit"), st.none() | words),
    **dict.fromkeys(("width", "height", "bytes"), counts),
    tags=st.lists(words, max_size=4).map(tuple),
    created_at=st.none() | st.datetimes(timezones=zones),
    lat=st.none() | st.floats(-90, 90),
    lon=st.none() | st.floats(-180, 180),
    extra=st.dictionaries(words, jsons, max_size=4),
)


@on_one_index
@given(written=st.lists(metadata, min_size=1, max_size=5))
def test_metadata_comes_back_as_it_was_written(index: VectorIndex, written: list[ImageMetadata]) -> None:
    run = secrets.token_hex(4)
    vectors = np.random.default_rng(5).normal(size=(len(written), DIM)).astype(np.float32)
    ids = [f"{run}-{i}" for i in range(len(written))]
    fill(index, *(Upsert(id, 1, vector, one) for id, vector, one in zip(ids, vectors, written, strict=True)))
    documents = index.get(ids)
    hits = {hit.id: hit.metadata for hit in index.search(vectors[0], 10, filter=AnyOf("id", tuple(ids)), exact=True)}
    for id, one in zip(ids, written, strict=True):
        assert documents[id].metadata == one
        assert hits[id] == one


def test_a_date_of_a_zone_with_seconds_stays_the_same_moment(index: VectorIndex) -> None:
    taken = datetime(1890, 6, 1, 12, tzinfo=timezone(timedelta(minutes=53, seconds=28)))
    fill(index, photo("a", created_at=taken))
    assert index.get(["a"])["a"].metadata.created_at == taken
    assert index.count(parse_filter({"created_at": taken.astimezone(UTC).isoformat()})) == 1


def test_text_of_any_length_can_be_kept_and_its_presence_filtered(index: VectorIndex) -> None:
    long = "ü" * 30_000
    fill(index, photo("a", description=long, extra={"note": long}), photo("b"))
    assert index.get(["a"])["a"].metadata.description == long
    assert found(index, filter=parse_filter({"description": {"exists": True}})) == ["a"]
    assert found(index, filter=parse_filter({"extra.note": {"exists": True}})) == ["a"]
    assert found(index, filter=parse_filter({"description": {"exists": False}})) == ["b"]


def test_the_key_and_the_value_of_extra_are_not_mixed_up(index: VectorIndex) -> None:
    fill(index, photo("a", extra={"a=b": "c", "%3D": 1}), photo("b", extra={"a": "b=c", "=": 1}))
    assert found(index, filter=AnyOf("extra.a", ("b=c",))) == ["b"]
    assert found(index, filter=AnyOf("extra.a=b", ("c",))) == ["a"]
    assert found(index, filter=AnyOf("extra.=", ("1",))) == ["b"]


def test_only_a_photo_with_a_whole_place_is_near_another_place(index: VectorIndex) -> None:
    fill(index, photo("nowhere"), photo("half", lat=1), photo("other-half", lon=1), photo("antipode", lat=-1, lon=-179))
    near = {"lat": 1, "lon": 1, "km": 20_038}
    assert found(index, filter=parse_filter({"location": {"near": near}})) == ["antipode"]
    assert found(index, filter=parse_filter({"location": {"near": near | {"km": 20_000}}})) == []


def test_orientation_follows_from_width_and_height(index: VectorIndex) -> None:
    shapes = {"wide": (3, 2), "tall": (2, 3), "even": (2, 2), "half": (2, None), "empty": (0, 0), "flat": (5, 0)}
    fill(index, *(photo(id, width=width, height=height) for id, (width, height) in shapes.items()))
    assert found(index, filter=parse_filter({"orientation": "landscape"})) == ["wide"]
    assert found(index, filter=parse_filter({"orientation": {"any_of": ["portrait", "square"]}})) == ["even", "tall"]
    assert found(index, filter=parse_filter({"orientation": {"exists": False}})) == ["empty", "flat", "half"]
