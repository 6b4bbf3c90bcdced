from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import robustbench_aa as rb
from robustbench_aa.datasets import open_dataset
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import UnknownName, UsageError
from tests.conftest import make_classifier, threads

GREY = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)


def fading(images: Tensor, _draws: Any) -> Iterator[Tensor]:
    for frame in range(4):
        yield images * (1 - frame / 4)


def grainy(images: Tensor, draws: Any) -> list[Tensor]:
    return [images, *(images + 0.1 * draws.normal(*images.shape[1:]) for _ in range(2))]


def test_a_registered_perturbation_is_used_like_another(tmp_path: Path) -> None:
    rb.register_perturbation(4)(fading)
    sequences = rb.perturb(GREY, "fading")
    assert sequences.shape == (2, 4, 3, 32, 32)
    assert sequences[1, :, 0, 0, 0].tolist() == [200, 150, 100, 50]
    assert rb.perturb(torch.full((3, 224, 224), 200, dtype=torch.uint8), "fading").shape[0] == 4
    (cell,) = [cell for cell in open_dataset("digits-p").distortions if cell.name == "fading"]
    assert (cell.role, cell.compared_with, cell.version) == ("holdout", "previous", 1)
    run = rb.benchmark(
        [make_classifier("a")], ["digits-p"], tmp_path, limit=5, perturbations=["fading"]
    )
    rows = run.table("perturbations").dropna(subset="flip_probability")
    assert set(rows["perturbation"]) == {"fading"}
    assert "mean_flip_probability" not in run.leaderboard()


def test_nothing_measures_it_unless_it_is_named(tmp_path: Path) -> None:
    rb.register_perturbation(4)(fading)
    rb.benchmark([make_classifier("a")], ["digits-p"], tmp_path, limit=1)
    assert not [*tmp_path.rglob("*fading*")]


def test_frames_of_noise_are_compared_with_the_first_and_depend_on_the_image() -> None:
    rb.register_perturbation(3, compared_with="first")(grainy)
    (cell,) = [cell for cell in perturbations_at(224) if cell.name == "grainy"]
    assert cell.compared_with == "first"
    both = rb.perturb(GREY, "grainy")
    assert torch.equal(both[:, 0], GREY)
    assert torch.equal(rb.perturb(GREY[1], "grainy", index=1), both[1])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0, 1], both[0, 2])
    assert not torch.equal(rb.perturb(GREY, "grainy", seed=1), both)


def test_another_definition_is_another_perturbation() -> None:
    def source(**options: Any) -> str:
        rb.register_perturbation(**{"frames": 4} | options)(fading)
        return next(cell.source for cell in perturbations_at(32) if cell.name == "fading")

    assert source() == source()
    assert len({source(), source(frames=5), source(compared_with="first")}) == 3


def test_the_packages_own_cannot_be_replaced() -> None:
    def tilt(images: Tensor, _draws: Any) -> list[Tensor]:
        return [images, images]

    before = rb.perturb(GREY, "tilt")
    with pytest.raises(UsageError, match="the package has a perturbation tilt; give yours another"):
        rb.register_perturbation(2)(tilt)
    assert torch.equal(rb.perturb(GREY, "tilt"), before)
    with pytest.raises(UsageError, match="a perturbation is named by its function"):
        rb.register_perturbation(2)(lambda images, _draws: [images, images])


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(UsageError, match="frames"):
        rb.register_perturbation(1)
    with pytest.raises(UnknownName, match="frame to compare with 'next'"):
        rb.register_perturbation(2, compared_with="next")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (lambda images: [images], "made 1 frames instead of 2"),
        (lambda images: [images] * 3, "made more frames instead of 2"),
        (lambda images: None, "wrong returned NoneType; yield or return 2 frames"),
        (lambda images: [images, images[:, :1]], r"wrong returned \(2, 1, 32, 32\) for images"),
        (lambda images: [images, images / 0 * 0], "wrong returned values that are not finite"),
    ],
)
def test_a_wrong_result_is_named(frames: Any, message: str) -> None:
    def wrong(images: Tensor, _draws: Any) -> Any:
        return frames(images)

    rb.register_perturbation(2)(wrong)
    with pytest.raises(UsageError, match=message):
        rb.perturb(GREY, "wrong")


def test_one_thread_at_a_time_calls_a_users_function() -> None:
    seen = []

    def counting(images: Tensor, _draws: Any) -> list[Tensor]:
        seen.append(len(images))
        return [images, images]

    rb.register_perturbation(2)(counting)
    with threads(2):
        rb.perturb(GREY, "counting")
    assert seen == [len(GREY)]  # a batch that is divided among threads would arrive in parts
