"""The metrics of shifts against their definitions, word by word."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from robustbench_aa.metrics.shifts import METRICS_OF_SHIFTS, measure_shift, metrics_of
from robustbench_aa.types import Distortion

FRAMES = {
    "crops": 10,
    "circular32": 10,
    "circular": 81,
    "neighbours": 9,
    "halfpixel": 9,
    "diagonal": 5,
}
WITHOUT_A_STEP = {"circular": 40, "neighbours": 0, "halfpixel": 0, "diagonal": 2}
"""The frame that is not shifted."""


def neighbours_of(protocol: str) -> list[int]:
    """Return the frames one step away from the frame without a shift."""
    if protocol == "circular":  # row dy + 4 and column dx + 4 of a square of nine
        steps = [(dy, dx) for dy, dx in product(range(-4, 5), repeat=2) if (dy, dx) != (0, 0)]
        return [9 * (dy + 4) + dx + 4 for dy, dx in steps if max(abs(dy), abs(dx)) == 1]
    return [1, 3] if protocol == "diagonal" else [*range(1, 9)]


def agreement(protocol: str, classes: list[int]) -> float:
    if protocol in ("crops", "circular32"):
        pairs = [(classes[2 * k], classes[2 * k + 1]) for k in range(5)]
    elif protocol == "circular":
        pairs = [*product(classes, classes)]
    else:
        pairs = [(classes[0], other) for other in classes[1:]]
    return sum(a == b for a, b in pairs) / len(pairs)


def transcribed(
    protocol: str, label: list[int], classes: list[int], probability: list[float]
) -> dict[str, float]:
    """Return the metrics of one image."""
    found = {}
    if protocol != "diagonal":
        found["consistency"] = agreement(protocol, classes)
    if protocol in WITHOUT_A_STEP:
        still = WITHOUT_A_STEP[protocol]
        moved = [frame for frame in range(len(classes)) if frame != still]
        right = [a == b for a, b in zip(classes, label, strict=True)]
        found["accuracy_worst"] = float(all(right))
        fooled = any(classes[frame] != classes[still] for frame in neighbours_of(protocol))
        found["fooled"] = float(fooled)
        found["accuracy_drop"] = right[still] - sum(right[f] for f in moved) / len(moved)
        changes = [abs(probability[frame] - probability[still]) for frame in moved]
        found["probability_change"] = sum(changes) / len(moved)
    return found


@pytest.mark.parametrize("protocol", FRAMES)
@pytest.mark.parametrize("classes", [2, 5])
def test_every_metric_is_its_definition(protocol: str, classes: int) -> None:
    random = np.random.default_rng(len(protocol))
    shape = (60, FRAMES[protocol])
    label = np.repeat(random.integers(classes, size=(60, 1)), shape[1], axis=1)
    # most frames have the true class, so that some images are right in all of them
    share = random.random((60, 1)) ** 0.1
    top1 = np.where(random.random(shape) < share, label, random.integers(classes, size=shape))
    top1[:9] = label[:9]
    probability = random.random(shape)
    shift = Distortion("shift", protocol)
    found = measure_shift(shift, label, top1, probability)
    assert tuple(found) == metrics_of(shift, shape[1])
    for image in range(60):
        of_image = (label[image].tolist(), top1[image].tolist(), probability[image].tolist())
        expected = transcribed(protocol, *of_image)
        assert {name: values[image] for name, values in found.items()} == pytest.approx(expected)
    if "accuracy_worst" in found:
        right = (top1 == label).mean(axis=1)
        assert (found["accuracy_worst"] <= right).all()
        assert 0 < found["accuracy_worst"].mean() < 1
        assert 0 < found["fooled"].mean() < 1


def test_a_worked_example_of_neighbours() -> None:
    label = np.full((3, 9), 7)
    top1 = np.array([[7] * 9, [7, 7, 7, 7, 7, 7, 7, 1, 2], [3, 7, 7, 7, 7, 3, 3, 3, 3]])
    probability = np.array(
        [[0.5] * 9, [0.75, *[0.75] * 6, 0.25, 0.0], [1.0, *[0.0] * 4, *[1.0] * 4]]
    )
    found = measure_shift(Distortion("shift", "neighbours"), label, top1, probability)
    assert {name: values.tolist() for name, values in found.items()} == {
        "consistency": [1.0, 0.75, 0.5],
        "accuracy_worst": [1.0, 0.0, 0.0],
        "fooled": [0.0, 1.0, 1.0],
        "accuracy_drop": [0.0, 0.25, -0.5],
        "probability_change": [0.0, 0.15625, 0.5],
    }


def test_a_step_further_than_one_pixel_fools_nobody() -> None:
    top1 = np.zeros((1, 81), int)
    top1[0, [0, 22, 38, 58, 80]] = 1  # 2 pixels to the left or right, or 2 up or down, or further
    found = measure_shift(
        Distortion("shift", "circular"), np.zeros((1, 81), int), top1, np.ones((1, 81))
    )
    assert found["fooled"].tolist() == [0.0]
    assert found["accuracy_worst"].tolist() == [0.0]
    top1[0, 30] = 1  # one up and one to the left
    found = measure_shift(
        Distortion("shift", "circular"), np.zeros((1, 81), int), top1, np.ones((1, 81))
    )
    assert found["fooled"].tolist() == [1.0]


@pytest.mark.parametrize("protocol", FRAMES)
@pytest.mark.parametrize("right", [True, False])
def test_an_invariant_model_loses_nothing(protocol: str, right: bool) -> None:
    shape = (4, FRAMES[protocol])
    label = np.repeat([[0], [1], [2], [3]], shape[1], axis=1)
    probability = np.repeat(np.random.default_rng(0).random((4, 1)), shape[1], axis=1)
    found = measure_shift(
        Distortion("shift", protocol), label, label if right else label + 1, probability
    )
    best = {"consistency": 1.0, "accuracy_worst": float(right)}
    for metric, values in found.items():
        assert values.tolist() == [best.get(metric, 0.0)] * 4, metric


def test_an_unknown_probability_leaves_only_its_own_metric_empty() -> None:
    top1 = np.zeros((2, 9), int)
    unknown = np.full((2, 9), np.nan, np.float32)
    found = measure_shift(Distortion("shift", "halfpixel"), top1, top1, unknown)
    assert [name for name, values in found.items() if np.isnan(values).any()] == [
        "probability_change"
    ]


def test_shifts_of_an_unknown_protocol_are_compared_in_all_pairs() -> None:
    top1 = np.array([[7, 7, 2, 7]])
    shift = Distortion("shift", "spiral")
    assert metrics_of(shift, 4) == ("consistency",)
    assert measure_shift(shift, top1, top1)["consistency"].tolist() == [0.625]


def test_no_predictions_have_no_metrics() -> None:
    nothing = np.empty((0, 9), int)
    with pytest.raises(ValueError, match="no predictions to compare"):
        measure_shift(Distortion("shift", "neighbours"), nothing, nothing, nothing)


def test_every_metric_belongs_to_some_protocol() -> None:
    found = {
        metric
        for protocol, frames in FRAMES.items()
        for metric in metrics_of(Distortion("shift", protocol), frames)
    }
    assert found == set(METRICS_OF_SHIFTS)
