import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imagesearch.clip.model import Float32
from imagesearch.groups import group_similar


def at(*degrees: float) -> Float32:
    """Unit vectors at these angles, so that their cosines are those of the differences."""
    radians = np.radians(np.array(degrees, dtype=np.float32))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_near_duplicates_are_gathered_behind_the_best() -> None:
    assert group_similar(at(0, 90, 5, 45, 92), threshold=0.95) == [[0, 2], [1, 4], [3]]


def test_a_chain_of_small_differences_is_not_one_group() -> None:
    groups = group_similar(at(0, 15, 30, 45), threshold=np.cos(np.radians(16)))
    assert groups == [[0, 1], [2, 3]]


def test_an_image_joins_what_it_is_most_like() -> None:
    assert group_similar(at(0, 20, 12), threshold=np.cos(np.radians(13))) == [[0], [1, 2]]


def test_nothing_makes_no_group() -> None:
    assert group_similar(np.empty((0, 2), dtype=np.float32)) == []


@given(arrays.arrays(np.float32, st.tuples(st.integers(0, 20), st.just(3)), elements=st.floats(-1, 1, width=32)))
def test_groups_are_a_partition_in_order_and_all_are_near_their_first(rows: Float32) -> None:
    vectors = np.array([row / length for row in rows if (length := np.linalg.norm(row)) > 1e-3]).reshape(-1, 3)
    groups = group_similar(vectors, threshold=0.9)
    assert sorted(index for group in groups for index in group) == list(range(len(vectors)))
    assert [group[0] for group in groups] == sorted(group[0] for group in groups)
    for group in groups:
        assert group == sorted(group)
        assert all(vectors[group[0]] @ vectors[index] >= 0.9 - 1e-5 for index in group)
    leaders = [vectors[group[0]] for group in groups]
    assert all(a @ b == pytest.approx(min(a @ b, 0.9), abs=1e-5) for i, a in enumerate(leaders) for b in leaders[:i])
