from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import robustbench_aa as rb
from robustbench_aa.datasets import Request
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import RunError, UnknownName, UsageError
from robustbench_aa.types import Shard
from tests.conftest import make_classifier

IMAGES, LABELS = (part[:20] for part in load_split("test"))


@pytest.mark.parametrize("distortions", [None, "imagenet-c", "imagenet-p", "shift"])
def test_images_in_memory_are_measured_as_those_of_a_named_data_set(
    tmp_path: Path, distortions: str | None
) -> None:
    name = {
        None: "digits",
        "imagenet-c": "digits-c",
        "imagenet-p": "digits-p",
        "shift": "digits-shift",
    }
    data = rb.ImageArrays(
        IMAGES.permute(0, 2, 3, 1).numpy(), LABELS.tolist(), "mine", distortions, classes=10
    )
    opened, named = data.open(Request(limit=20)), rb.load_dataset(name[distortions]).open(Request())
    assert opened.name == "mine"
    assert opened.distortions == named.distortions
    assert (opened.classes, opened.size, opened.images) == (10, 32, 20)
    (batch,) = opened.read(opened.distortions[-1], Shard(0, 1), 1, torch.device("cpu"))
    first = next(iter(named.read(named.distortions[-1], Shard(0, 1), 1, torch.device("cpu"))))
    assert torch.equal(batch.frames, first.frames)
    assert batch.label.tolist() == LABELS[:1].tolist()


def test_other_images_or_labels_are_another_data_set(tmp_path: Path) -> None:
    def measure(images: torch.Tensor, labels: torch.Tensor) -> rb.Run:
        data = rb.ImageArrays(images, labels, "mine", classes=10)
        return rb.benchmark([make_classifier("a")], [data], tmp_path)

    first = measure(IMAGES, LABELS)
    assert measure(IMAGES.clone(), LABELS.clone()).leaderboard().equals(first.leaderboard())
    changed = IMAGES.clone()
    changed[3, 0, 5, 5] += 1
    for images, labels in ((changed, LABELS), (IMAGES, LABELS.flip(0))):
        with pytest.raises(RunError, match="holds predictions of mine with another sha256"):
            measure(images, labels)


def test_two_kinds_of_the_same_images_share_a_leaderboard_and_other_images_do_not(
    tmp_path: Path,
) -> None:
    clean = rb.ImageArrays(IMAGES, LABELS, "clean", classes=10)
    shifted = rb.ImageArrays(IMAGES, LABELS, "shifted", "shift", classes=10)
    run = rb.benchmark([make_classifier("a")], [clean, shifted], tmp_path / "a")
    assert {"clean_error", "consistency_circular"} <= set(run.leaderboard())
    other = rb.ImageArrays(IMAGES.flip(0), LABELS, "other", "shift", classes=10)
    with pytest.raises(UsageError, match="cannot share a leaderboard"):
        rb.benchmark([make_classifier("a")], [clean, other], tmp_path / "b")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"labels": [0] * 19},
            r"labels of mine are int64 of the shape \(19,\); give a whole number",
        ),
        ({"labels": [0.5] * 20}, "labels of mine are float64"),
        ({"labels": [-1] * 20}, "mine has a label -1; labels start at 0"),
        (
            {"labels": [3] * 20, "classes": 3},
            "mine has a label 3, and the largest of 3 classes is 2",
        ),
        ({"classes": 0}, "classes of mine is 0; give a whole number from 1"),
        ({"images": IMAGES.float()}, "images are float32, not uint8"),
        ({"images": IMAGES[..., :30]}, "images of mine are 32 × 30 px; crop them to squares"),
        ({"name": " "}, "the name of a data set is ' '"),
        ({"images": IMAGES[..., :8, :8], "distortions": "imagenet-c"}, "for 8-px images"),
        ({"images": IMAGES[..., :30, :30], "distortions": "imagenet-p"}, "for 30-px images"),
    ],
)
def test_invalid_arrays_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        rb.ImageArrays(**({"images": IMAGES, "labels": LABELS, "name": "mine"} | given))
    assert "\n" not in str(error.value)


def test_unknown_distortions_get_a_near_match() -> None:
    with pytest.raises(UnknownName, match=r"unknown distortions 'shifts'; did you mean shift\?"):
        rb.ImageArrays(IMAGES, LABELS, "mine", "shifts")


def test_the_number_of_classes_follows_from_the_labels() -> None:
    assert rb.ImageArrays(IMAGES, np.arange(20), "mine").classes == 20
