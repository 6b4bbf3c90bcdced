"""The public functions that distort images, and the identity of distortions."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustbench_aa.distortions import (
    corruptions_at,
    distort,
    perturbations_at,
    severities,
    shifts_by,
)
from robustbench_aa.distortions.corruptions import CORRUPTIONS, Corruption, corrupt
from robustbench_aa.distortions.perturbations import TABLES, Perturbation, perturb
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.errors import RunError, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import CLEAN, Distortion
from tests.conftest import make_classifier, threads

EVERY = [CLEAN, *corruptions_at(32)[::5], *perturbations_at(32), *shifts_by("circular")]


@pytest.mark.parametrize("cell", EVERY, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_images_that_are_not_bytes_are_refused_and_stay(
    cell: Distortion, dtype: torch.dtype
) -> None:
    images = torch.full((1, 3, 32, 32), 0.5).mul(255).to(dtype)
    before = images.clone()
    with pytest.raises(UsageError, match=r"images are \w+, not uint8; give the 8-bit pixels"):
        distort(images, cell, [0], 0, 32)
    assert torch.equal(images, before)
    draws = Draws(0, cell, [0])
    if cell.severity:
        with pytest.raises(UsageError, match="not uint8"):
            corrupt(images, cell.name, cell.severity, draws)
    if cell.kind == "perturbation":
        with pytest.raises(UsageError, match="not uint8"):
            perturb(images, cell.name, 32, draws)
    assert torch.equal(images, before)


@pytest.mark.parametrize("cell", EVERY, ids=str)
def test_the_result_shares_no_memory_with_the_images(cell: Distortion) -> None:
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    before = images.clone()
    distort(images, cell, [0, 1], 0, 32).fill_(7)
    assert torch.equal(images, before)


@pytest.mark.parametrize("cell", EVERY, ids=str)
def test_every_number_of_cores_gives_the_same_frames(cell: Distortion) -> None:
    images = torch.randint(256, (4, 3, 32, 32), dtype=torch.uint8)
    index = (7, 0, 3, 12)
    found = []
    for cores in (1, 3, 8):
        with threads(cores):
            found.append(distort(images, cell, index, 5, 32, stored_jpeg=True))
            assert torch.get_num_threads() == cores
    alone = [
        distort(images[[place]], cell, [index[place]], 5, 32, stored_jpeg=True)
        for place in range(4)
    ]
    assert all(torch.equal(frames, torch.cat(alone)) for frames in found)


def test_pictures_of_several_sizes_are_distributed_over_cores() -> None:
    pictures = [torch.randint(256, (3, 240 + 8 * n, 300), dtype=torch.uint8) for n in range(3)]
    (tilt,) = [cell for cell in perturbations_at(224) if cell.name == "tilt"]
    with threads(2):
        found = distort(pictures, tilt, [4, 5, 6], 0, 224)
    for place, picture in enumerate(pictures):
        assert torch.equal(found[[place]], distort([picture], tilt, [4 + place], 0, 224))


def test_code_that_is_not_ours_is_called_once_in_the_calling_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = []

    def mine(images: Tensor, _draws: object, _amount: int) -> Tensor:
        calls.append((threading.current_thread(), len(images)))
        return images

    theirs = Corruption("mine", "extra", mine, source="hash")
    monkeypatch.setitem(CORRUPTIONS._objects, "mine", theirs)
    monkeypatch.setitem(severities.TABLES[32], "mine", ((0,),) * 5)
    (cell, *_) = [cell for cell in corruptions_at(32) if cell.name == "mine"]
    images = torch.randint(256, (6, 3, 32, 32), dtype=torch.uint8)
    with threads(2):
        distort(images, cell, range(6), 0, 32)
    assert calls == [(threading.current_thread(), 6)]


def test_noise_in_a_name_does_not_decide_how_frames_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    denoise = Perturbation(3, whole=lambda image, size: image[None].expand(3, -1, -1, -1))
    monkeypatch.setitem(TABLES[32], "denoise", denoise)
    compared = {cell.name: cell.compared_with for cell in perturbations_at(32)}
    assert compared["denoise"] == "previous"
    assert {name for name, frame in compared.items() if frame == "first"} == {
        *("gaussian_noise", "gaussian_noise_2", "gaussian_noise_3"),
        *("shot_noise", "shot_noise_2", "shot_noise_3"),
        *("speckle_noise", "speckle_noise_2", "speckle_noise_3"),
    }


SCRIPT = '''
import sys

import torch

from robustbench_aa.distortions.corruptions.corruption import corruption
from robustbench_aa.distortions.severities import TABLES


@corruption("noise")
def dots(images, draws, every):
    """Black dots."""
    images = images.clone()
    images[..., :: int(every), :: int(every)] = {level}
    return images


TABLES[32]["dots"] = tuple(({every} + severity,) for severity in range(5))

import robustbench_aa as rb

run = rb.benchmark(["digits:resnet@lpf3-seed0"], ["digits-c"], "run", limit=20)
table = run.tables().corruptions
print(table[table["corruption"] == "dots"]["error"].mean(), run.leaderboard()["mean_error"].item())
'''


def ran(folder: Path, level: float = 0.0, every: int = 2) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(SCRIPT.format(level=level, every=every))
    command = [sys.executable, "mine.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_users_corruption_is_part_of_the_identity(tmp_path: Path) -> None:
    first = ran(tmp_path)
    assert first.returncode == 0, first.stderr
    again = ran(tmp_path)
    assert again.stdout == first.stdout
    for changed in (ran(tmp_path, level=1.0), ran(tmp_path, every=3)):
        assert changed.returncode != 0
        assert "another definition of dots" in changed.stderr


@pytest.fixture
def _next_fog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fog of the version after this one."""
    things = CORRUPTIONS._objects
    fog = things["fog"]
    monkeypatch.setitem(things, "fog", replace(fog, version=fog.version + 1))


def test_a_run_is_not_continued_with_another_version(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    suite = Suite([make_classifier("a")], ["digits-c"], limit=2, corruptions=["fog", "snow"])
    prepare(suite, tmp_path, "cpu").run()
    assert not prepare(suite, tmp_path, "cpu").work
    request.getfixturevalue("_next_fog")
    with pytest.raises(RunError, match=r"digits-c with another version of fog \(1, not 2\)"):
        prepare(suite, tmp_path, "cpu")


def test_versions_are_of_what_this_package_makes() -> None:
    for cell in EVERY[1:]:
        assert (cell.version, cell.source) == (1, "") or cell.version > 1, cell
    assert set(asdict(CLEAN)) == {
        *("kind", "name", "severity", "group", "role", "compared_with", "version", "source")
    }
