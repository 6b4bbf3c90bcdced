"""Flip rates on published test vectors, and beside the formulas on random predictions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_aa.metrics.baselines import alexnet_flips
from robustbench_aa.metrics.flip_rate import (
    compared_frames,
    flip_probability,
    mean_rate,
    top5_distance,
    zipf_distance,
)

CLASSES = 1000
VECTORS = [
    ([1, 2, 3, 4, 5], 0, 0.0),
    ([2, 1, 3, 4, 5], 2, 0.75),
    ([3, 1, 2, 4, 5], 4, 0.972222),
    ([1, 2, 3, 4, 6, 5], 1, 0.012222),
    ([1, 2, 3, 4, 6, 7, 5], 1, 0.018798),
    ([1, 2, 3, 5, 6, 4], 2, 0.033056),
    ([5, 4, 3, 2, 1], 12, 1.1475),
    ([*range(2, CLASSES + 1), 1], 5, None),
]


def rankings(sigma: list[int]) -> np.ndarray:
    """[1, 2, K]: two frames, the class at place i of the first being at σ(i) in the second."""
    whole = np.array([*sigma, *range(len(sigma) + 1, CLASSES + 1)]) - 1
    second = np.empty(CLASSES, dtype=int)
    second[whole] = np.arange(CLASSES)
    return np.stack([np.arange(CLASSES), second])[None]


@pytest.mark.parametrize(("sigma", "top5", "zipf"), VECTORS)
def test_the_published_vectors(sigma: list[int], top5: int, zipf: float | None) -> None:
    ranking = rankings(sigma)
    assert top5_distance(ranking[:, :, :5], noise=False).tolist() == [top5]
    if zipf is not None:
        assert zipf_distance(ranking, noise=False)[0] == pytest.approx(zipf, abs=1e-6)


def plain(ranking: np.ndarray, noise: bool) -> tuple[list[float], ...]:
    """Flip probability, top-5 and Zipf distance of each sequence, frame by frame."""
    results: tuple[list[float], ...] = ([], [], [])
    for sequence in ranking:
        found: tuple[list[float], ...] = ([], [], [])
        for position in range(1, len(sequence)):
            before = sequence[0] if noise else sequence[position - 1]
            sigma = [int(np.flatnonzero(sequence[position] == c)[0]) + 1 for c in before]
            found[0].append(float(before[0] != sequence[position][0]))
            found[1].append(sum(abs(min(i, 5) - min(sigma[i] - 1, 5)) for i in range(5)))
            found[2].append(sum(abs(1 / (i + 1) - 1 / s) / (i + 1) for i, s in enumerate(sigma)))
        for result, values in zip(results, found, strict=True):
            result.append(float(np.mean(values)))
    return results


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(2, 9))
def test_random_predictions(seed: int, noise: bool, frames: int) -> None:
    random = np.random.default_rng(seed)
    ranking = np.array([[random.permutation(8) for _ in range(frames)] for _ in range(3)])
    flips, top5, zipf = plain(ranking, noise)
    np.testing.assert_allclose(flip_probability(ranking[..., 0], noise), flips)
    np.testing.assert_allclose(top5_distance(ranking[..., :5], noise), top5)
    np.testing.assert_allclose(zipf_distance(ranking, noise), zipf)


def test_noise_is_compared_with_the_first_frame() -> None:
    top1 = np.array([[0, 1, 1, 1], [0, 1, 0, 1]])
    assert flip_probability(top1, noise=True).tolist() == [1.0, 2 / 3]
    assert flip_probability(top1, noise=False).tolist() == [1 / 3, 1.0]
    assert list(compared_frames(4, noise=False)) == [(0, 1), (1, 2), (2, 3)]


def test_lists_of_fewer_classes_are_as_long_as_they_are() -> None:
    top5 = np.array([[[0, 1, 2, -1, -1], [1, 0, 2, -1, -1], [1, 0, 2, -1, -1]]])
    assert top5_distance(top5, noise=False).tolist() == [1.0]


def test_sequences_that_are_too_short_are_refused() -> None:
    for frames in (0, 1):
        with pytest.raises(ValueError, match=f"{frames} frames cannot be compared"):
            flip_probability(np.zeros((1, frames), int), noise=False)


def test_alexnet_is_at_100_percent_of_itself() -> None:
    constants = alexnet_flips()
    assert len(constants) == 14
    for metric in ("flip_probability", "top5_distance"):
        values = constants[metric].to_numpy()
        assert mean_rate(values, values) == pytest.approx(100.0, abs=1e-12)
    assert constants.loc["snow"].tolist() == [0.11928, 2.42]


def test_rates_are_relative_to_a_baseline() -> None:
    base = np.array([0.2, 0.1])
    assert mean_rate(np.array([0.1, 0.1]), base) == pytest.approx(75.0)
    assert np.isnan(mean_rate(np.array([0.1, np.nan]), base))
    assert np.isnan(mean_rate(base, np.array([0.2, 0.0])))
    assert mean_rate(np.array([[0.1, 0.1], [0.2, 0.1]]), base) == pytest.approx([75.0, 100.0])
    with pytest.raises(ValueError, match="other perturbations"):
        mean_rate(base, base[:1])
