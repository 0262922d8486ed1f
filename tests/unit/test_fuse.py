from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesearch.fuse import reciprocal_rank_fusion


def test_what_is_in_both_rankings_comes_first() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["b", "c"]])
    assert fused == [
        ("b", pytest.approx(1 / 62 + 1 / 61)),
        ("a", pytest.approx(1 / 61)),
        ("c", pytest.approx(1 / 62)),
    ]


def test_of_equal_scores_the_earlier_ranking_wins_and_a_repeated_id_counts_once() -> None:
    assert [id for id, _ in reciprocal_rank_fusion([["b"], ["a"]])] == ["b", "a"]
    assert reciprocal_rank_fusion([["a", "a", "b"]]) == [("a", 1 / 61), ("b", 1 / 62)]


def test_a_small_constant_gives_the_first_of_each_ranking_more_say() -> None:
    rankings = [["a", "b", "x"], ["c", "d", "x"]]
    assert reciprocal_rank_fusion(rankings)[0][0] == "x"
    assert reciprocal_rank_fusion(rankings, k=0)[0][0] == "a"


@given(st.lists(st.lists(st.text(max_size=2), unique=True)))
def test_one_ranking_keeps_its_order_and_nothing_is_lost(rankings: list[list[str]]) -> None:
    def ids(given: Sequence[Sequence[str]]) -> list[str]:
        return [id for id, _ in reciprocal_rank_fusion(given)]

    assert sorted(ids(rankings)) == sorted({id for ranking in rankings for id in ranking})
    for ranking in rankings:
        assert ids([ranking]) == ids([ranking, []]) == ranking
