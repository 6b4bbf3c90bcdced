from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import robustbench_aa as rb
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.severities import TABLES
from robustbench_aa.errors import UsageError
from robustbench_aa.preview import contact_sheet
from robustbench_aa.support.code import source_of
from tests.conftest import make_classifier

GREY = torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)


def dimmed(images: Tensor, _draws: Any, factor: float) -> Tensor:
    return images * factor


def speckled(images: Tensor, draws: Any, share: float, level: float) -> Tensor:
    hit = draws.uniform(1, *images.shape[2:]) < share
    return torch.where(hit, torch.full_like(images, level), images)


def test_a_registered_corruption_is_used_like_another(tmp_path: Path) -> None:
    rb.register_corruption([0.9, 0.8, 0.7, 0.6, 0.5])(dimmed)
    assert rb.corrupt(GREY, "dimmed", 5).unique().tolist() == [100]
    for size in TABLES:
        assert [str(cell) for cell in corruptions_at(size)][-5] == "dimmed/1"
    cells = [cell for cell in open_dataset("digits-c").distortions if cell.name == "dimmed"]
    assert {(cell.role, cell.group, cell.version) for cell in cells} == {("other", "other", 1)}
    assert len({cell.source for cell in cells}) == 5
    run = rb.benchmark(
        [make_classifier("a")], ["digits-c"], tmp_path, limit=5, corruptions=["dimmed"]
    )
    rows = run.table("corruptions").dropna(subset="error")
    assert set(rows["corruption"]) == {"dimmed"}
    assert len(rows) == 5


def test_it_is_in_the_preview(tmp_path: Path, photographs: Tensor) -> None:
    from PIL import Image

    picture = Image.fromarray(photographs[0].permute(1, 2, 0).numpy())
    picture.save(tmp_path / "a.png")
    before = contact_sheet(tmp_path / "a.png").size
    rb.register_corruption([0.9, 0.8, 0.7, 0.6, 0.5])(dimmed)
    after = contact_sheet(tmp_path / "a.png").size
    assert after == (before[0], before[1] + 224)


def test_several_parameters_and_randomness_of_each_image() -> None:
    rb.register_corruption([(0.1, 0.0)] * 4 + [(0.5, 1.0)])(speckled)
    both = rb.corrupt(GREY, "speckled", 5)
    assert set(both.unique().tolist()) == {200, 255}
    assert torch.equal(rb.corrupt(GREY[1], "speckled", 5, index=1), both[1])
    assert not torch.equal(both[0], both[1])


def test_a_size_may_have_severities_of_its_own() -> None:
    rb.register_corruption({32: [0.5] * 5, 64: [0.25] * 5})(dimmed)
    assert rb.corrupt(GREY, "dimmed", 1).unique().tolist() == [100]
    large = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8)
    assert rb.corrupt(large, "dimmed", 1).unique().tolist() == [50]
    assert "dimmed" not in [cell.name for cell in corruptions_at(224)]


def test_a_cell_of_a_notebook_can_run_again() -> None:
    for factor in (0.5, 0.25):
        rb.register_corruption([factor] * 5)(dimmed)
    assert rb.corrupt(GREY, "dimmed", 1).unique().tolist() == [50]
    assert [*CORRUPTIONS].count("dimmed") == 1


def defined(code: str) -> str:
    names: dict[str, Any] = {}
    exec(code, names)  # without a file, like a cell of a notebook
    return source_of(names["f"])


def test_code_without_a_file_is_identified_by_what_it_does() -> None:
    code = "def f(images, draws, s):\n    return (lambda x: x * s + 1)(images)\n"
    assert defined(code) == defined(code)
    for changed in ("x * s + 2", "x / s + 1", "x * s + len(x)"):
        assert defined(code.replace("x * s + 1", changed)) != defined(code)
    assert defined(code.replace("draws, s", "draws, s=1")) != defined(code)


@pytest.mark.parametrize(
    ("severities", "message"),
    [
        ([1, 2, 3, 4], r"severities are \[1, 2, 3, 4\]; give a number, or a tuple of numbers, for"),
        (3, "severities are 3; give a number"),
        (["a"] * 5, "severities are .*; give a number"),
        ({33: [1] * 5}, r"severities are given for \[33\]; the image sizes are 32, 64, 224, 299"),
    ],
)
def test_severities_are_five(severities: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rb.register_corruption(severities)


def test_the_packages_own_cannot_be_replaced() -> None:
    def fog(images: Tensor, _draws: Any, _factor: float) -> Tensor:
        return images

    with pytest.raises(UsageError, match="the package has a corruption fog; give yours another"):
        rb.register_corruption([1] * 5)(fog)
    with pytest.raises(UsageError, match="a corruption is named by its function"):
        rb.register_corruption([1] * 5)(lambda images, _draws, _factor: images)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            lambda images: images[:, :1],
            r"dimmed returned \(2, 1, 32, 32\) for images \(2, 3, 32, 32",
        ),
        (lambda images: None, "dimmed returned NoneType"),
        (lambda images: images / 0 * 0, "dimmed returned values that are not finite floats"),
        (lambda images: images > 0, "dimmed returned values that are not finite floats"),
    ],
)
def test_a_wrong_result_is_named(result: Any, message: str) -> None:
    def dimmed(images: Tensor, _draws: Any, _factor: float) -> Any:
        return result(images)

    rb.register_corruption([1] * 5)(dimmed)
    with pytest.raises(UsageError, match=message):
        rb.corrupt(GREY, "dimmed")


def test_stored_pictures_need_no_file_for_it(tmp_path: Path) -> None:
    for name in dict.fromkeys(cell.name for cell in corruptions_at(32) if cell.role == "counted"):
        np.save(tmp_path / f"{name}.npy", np.zeros((10, 32, 32, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.tile([3, 8], 5))
    rb.register_corruption([0.9, 0.8, 0.7, 0.6, 0.5])(dimmed)
    cells = open_dataset("cifar10-c", Request(data_dir=str(tmp_path))).distortions
    assert len(cells) == 75
    assert verify_dataset("cifar10-c", tmp_path)[1] == []
