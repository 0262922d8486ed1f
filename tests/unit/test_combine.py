"""Embeddings, weights and feedback, on vectors small enough to see through."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imagesearch.clip.model import Float32
from imagesearch.combine import combine, rocchio
from imagesearch.errors import InvalidInput

X, Y, Z = np.eye(3, dtype=np.float32)


@dataclass
class Spread:
    """Statistics of a collection that varies so much along each axis."""

    axes: tuple[float, float, float]

    def deviation(self, vector: Float32) -> float:
        return float(np.linalg.norm(vector * np.array(self.axes)))


def test_one_embedding_stays_what_it_is() -> None:
    for weight in (0.01, 1, 10):
        assert combine([Y], [weight]) == pytest.approx(Y)
        assert combine([Y], [weight], Spread((1, 0.01, 1))) == pytest.approx(Y)


def test_weights_say_how_much_each_counts_and_a_negative_one_leads_away() -> None:
    assert combine([X, Y], [1, 1]) == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    assert combine([X, Y], [3, 4]) == pytest.approx([0.6, 0.8, 0])
    assert combine([X, Y], [3, -4]) == pytest.approx([0.6, -0.8, 0])


def test_balanced_embeddings_move_the_ranking_equally() -> None:
    spread = Spread((0.02, 0.08, 1))
    mixed = combine([X, Y], [1, 1], spread)
    assert mixed[0] / mixed[1] == pytest.approx(4)  # the first varies a quarter as much
    # What is ranked is the cosine with the mix: how much it varies because of each of them.
    assert mixed[0] * spread.axes[0] == pytest.approx(mixed[1] * spread.axes[1])


def test_an_embedding_that_says_nothing_about_the_collection_does_not_drown_the_others() -> None:
    for nothing in (0.0, 1e-12):
        mixed = combine([X, Y], [1, 1], Spread((1, nothing, 1)))
        assert np.isfinite(mixed).all()
        assert mixed[1] / mixed[0] == pytest.approx(10)
    assert np.isfinite(combine([X], [1], Spread((0, 0, 0)))).all()


def test_what_cancels_out_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cancel each other out"):
        combine([X, X], [1, -1])
    with pytest.raises(InvalidInput, match="cancel each other out"):
        combine([X, Y, X + Y], [2, 2, -2])


def test_feedback_moves_the_query_by_rocchios_weights() -> None:
    moved = rocchio(X, [Y], [Z])
    assert moved / moved[0] == pytest.approx([1, 0.75, -0.15])
    moved = rocchio(X, [Y, Z], [])
    assert moved / moved[0] == pytest.approx([1, 0.375, 0.375])  # the mean of what is liked
    moved = rocchio(X, [Y], [Z], alpha=1, beta=2, gamma=3)
    assert moved / moved[0] == pytest.approx([1, 2, -3])
    assert rocchio(X, [], []) == pytest.approx(X)


def test_feedback_without_a_query_is_a_query() -> None:
    assert rocchio(None, [X, Y], []) == pytest.approx([0.5**0.5, 0.5**0.5, 0])
    moved = rocchio(None, [X], [Y])
    assert moved / moved[0] == pytest.approx([1, -0.2, 0])
    with pytest.raises(InvalidInput, match="nothing to search for"):
        rocchio(None, [], [])


def test_feedback_is_balanced_with_the_query() -> None:
    moved = rocchio(X, [Y], [], Spread((0.02, 0.08, 1)))
    assert moved[1] / moved[0] == pytest.approx(0.75 / 4)


@given(
    arrays.arrays(np.float32, (4, 3), elements=st.floats(-1, 1, width=32)),
    st.lists(st.floats(0.001, 10) | st.floats(-10, -0.001), min_size=4, max_size=4),
    st.none() | st.tuples(*[st.floats(0, 1)] * 3).map(Spread),
)
def test_the_result_has_length_1_or_is_refused(rows: Float32, weights: list[float], spread: Spread | None) -> None:
    try:
        combined = combine(rows, weights, spread)
    except InvalidInput:
        return
    assert combined.dtype == np.float32
    assert np.linalg.norm(combined) == pytest.approx(1, abs=1e-5)
