"""Statistics of a collection: they tell what its cosines are like without looking at them."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imagesearch.errors import StorageError
from imagesearch.statistics import CollectionStatistics, Float32, read_statistics, statistics_key
from imagesearch.storage import FolderStorage

finite = st.floats(-1, 1, width=32)
collections = st.integers(1, 24).flatmap(
    lambda dim: arrays(np.float32, st.tuples(st.integers(1, 30), st.just(dim)), elements=finite)
)


def unit(vectors: Float32) -> Float32:
    result: Float32 = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return result


def clustered(count: int, dim: int = 64, seed: int = 1) -> Float32:
    """Unit vectors off centre and in clusters, as CLIP's are."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dim)) + rng.normal(size=dim)
    return unit((centres[rng.integers(40, size=count)] + rng.normal(size=(count, dim))).astype(np.float32))


@settings(deadline=None)
@given(collections, st.integers(0, 2**31))
def test_mean_and_deviation_are_those_of_the_cosines_with_all_images(vectors: Float32, seed: int) -> None:
    query = unit(np.random.default_rng(seed).normal(size=vectors.shape[1]).astype(np.float32))
    cosines = vectors.astype(np.float64) @ query
    mean, deviation = CollectionStatistics.of_vectors(vectors).background(query)
    assert mean == pytest.approx(cosines.mean(), abs=1e-5)
    assert deviation**2 == pytest.approx(cosines.var(), abs=1e-5)


@settings(deadline=None)
@given(collections)
def test_what_was_written_comes_back(vectors: Float32) -> None:
    written = CollectionStatistics.of_vectors(vectors)
    data = written.to_bytes()
    read = CollectionStatistics.from_bytes(data)
    assert read.count == written.count == len(vectors)
    assert np.array_equal(read.mean, written.mean)
    assert read.covariance.dtype == np.float32
    assert np.array_equal(read.covariance, read.covariance.T)
    largest = np.abs(written.covariance).max()
    assert np.abs(read.covariance - written.covariance).max() <= largest * 2**-11
    assert CollectionStatistics.from_bytes(data).to_bytes() == read.to_bytes()
    assert written.to_bytes() == data


def test_what_is_stored_tells_the_same_deviation_and_is_small() -> None:
    vectors = clustered(2_000, 512)
    written = CollectionStatistics.of_vectors(vectors)
    data = written.to_bytes()
    assert len(data) < 300_000
    read = CollectionStatistics.from_bytes(data)
    for query in unit(np.random.default_rng(2).normal(size=(20, 512)).astype(np.float32)):
        assert read.deviation(query) == pytest.approx(written.deviation(query), rel=1e-3)


def test_confidence_is_the_probability_that_the_best_of_unrelated_images_scores_lower() -> None:
    rng = np.random.default_rng(3)
    count, dim = 500, 32
    statistics = CollectionStatistics(count, np.full(dim, 0.1, np.float32), np.eye(dim, dtype=np.float32) * 0.01)
    query = unit(rng.normal(size=dim).astype(np.float32))
    mean, deviation = statistics.background(query)
    best = rng.normal(mean, deviation, size=(20_000, count)).max(axis=1)
    for share in (0.05, 0.5, 0.95):
        assert statistics.confidence(query, float(np.quantile(best, share))) == pytest.approx(share, abs=0.02)


def test_more_images_make_the_same_cosine_less_certain() -> None:
    vectors = clustered(300)
    few = CollectionStatistics.of_vectors(vectors)
    many = CollectionStatistics(1_000_000, few.mean, few.covariance)
    query = vectors[0]
    mean, deviation = few.background(query)
    cosine = mean + 4 * deviation
    assert few.z_score(query, cosine) == pytest.approx(4)
    assert few.confidence(query, cosine) > 0.98 > 0.01 > many.confidence(query, cosine)


@given(cosine=st.floats(-1, 1), more=st.floats(0, 1), count=st.integers(1, 10**9))
def test_confidence_is_from_0_to_1_and_rises_with_the_cosine(cosine: float, more: float, count: int) -> None:
    base = CollectionStatistics.of_vectors(clustered(50, 8))
    statistics = CollectionStatistics(count, base.mean, base.covariance)
    query = unit(np.ones(8, dtype=np.float32))
    lower, higher = statistics.confidence(query, cosine), statistics.confidence(query, cosine + more)
    assert 0 <= lower <= higher <= 1
    assert statistics.confidences(query, [cosine, cosine + more]) == [lower, higher]


def test_a_collection_of_equal_images_has_an_answer_too() -> None:
    vectors = np.repeat(unit(np.ones((1, 8), dtype=np.float32)), 5, axis=0)
    statistics = CollectionStatistics.of_vectors(vectors)
    assert 0 < statistics.confidence(vectors[0], 1.0) <= 1
    assert statistics.confidence(vectors[0], 0.5) == 0
    assert statistics.deviation(vectors[0]) > 0


def npz(**arrays: object) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


GOOD = CollectionStatistics.of_vectors(clustered(20, 8)).to_bytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no npz",
        GOOD[:-30],
        GOOD[:100] + b"\xff" * 20 + GOOD[120:],
        npz(count=3),
        npz(count=3, mean=np.zeros(4), scale=1.0, covariance=np.zeros(9)),
        npz(count=0, mean=np.zeros(4), scale=1.0, covariance=np.zeros(10)),
        npz(count=3, mean=np.full(4, np.nan), scale=1.0, covariance=np.zeros(10)),
        npz(count=3, mean=np.zeros(4), scale=np.inf, covariance=np.ones(10)),
        npz(count=3, mean=np.array(1.0), scale=1.0, covariance=np.zeros(1)),
        npz(count="three", mean=np.zeros(4), scale=1.0, covariance=np.zeros(10)),
        npz(count=3, mean=np.array([object()] * 4), scale=1.0, covariance=np.zeros(10)),
    ],
)
def test_what_is_damaged_is_told_with_its_name(data: bytes) -> None:
    with pytest.raises(StorageError, match=r"statistics\.npz.*imagesearch statistics"):
        CollectionStatistics.from_bytes(data, "statistics.npz")


def test_they_are_read_from_beside_the_parts(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert read_statistics(storage, "abc") is None
    storage.write(statistics_key("abc"), GOOD)
    assert (tmp_path / "vectors" / "abc" / "statistics.npz").exists()
    read = read_statistics(storage, "abc")
    assert read is not None
    assert read.count == 20


def test_the_query_function_needs_nothing_but_numpy_for_them() -> None:
    program = "import sys, imagesearch.statistics; print({'scipy', 'duckdb', 'torch', 'sklearn'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
