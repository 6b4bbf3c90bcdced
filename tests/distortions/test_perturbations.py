"""Our perturbations compared with the published scripts, restated in original_frames.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from skimage.data import astronaut, chelsea

from robustbench_aa.distortions import frames, perturbations_at
from robustbench_aa.distortions.perturbations import COUNTED, TABLES, perturb
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.types import Distortion
from tests.distortions.drawn import Recorder, Replay
from tests.distortions.original_frames import MOVING, STILL, original_frames

SIZE = 224
WHOLE = Image.fromarray(astronaut()).resize((341, 256), Resampling.BILINEAR)
TALL = Image.fromarray(astronaut()[:, 100:451]).resize((256, 373), Resampling.BILINEAR)
SMALL = WHOLE.resize((32, 32), Resampling.BOX)
SMALL_OTHER = Image.fromarray(chelsea()[:300, 100:400]).resize((32, 32), Resampling.BOX)
SIXTY_FOUR = WHOLE.resize((85, 64), Resampling.BILINEAR)
SIXTY_FOUR_TALL = TALL.resize((64, 93), Resampling.BILINEAR)


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def ours(name: str, picture: Image.Image, size: int = SIZE) -> np.ndarray:
    draws = Draws(0, Distortion("perturbation", name), [0])
    return perturb([tensor(picture)], name, size, draws)[0].permute(0, 2, 3, 1).numpy().astype(int)


def assert_faithful(found: np.ndarray, expected: np.ndarray) -> None:
    """Compare sequences [F, size, size, 3]; a single frame of 32 px has few values."""
    assert found.shape == expected.shape
    difference = np.abs(found.astype(int) - expected)
    assert (difference <= 1).mean() >= 0.999
    assert (difference <= 1).mean(axis=(1, 2, 3)).min() >= 0.98
    assert difference.mean() < 0.1


@pytest.mark.parametrize("name", sorted(STILL[32] | MOVING[32]))
@pytest.mark.parametrize(
    ("size", "picture"),
    [
        *((32, SMALL), (32, SMALL_OTHER), (64, SIXTY_FOUR), (64, SIXTY_FOUR_TALL)),
        *((224, WHOLE), (224, TALL)),
    ],
    ids=["32px", "32px-other", "64px-wide", "64px-tall", "224px-wide", "224px-tall"],
)
def test_perturbations_agree_with_the_scripts(name: str, size: int, picture: Image.Image) -> None:
    recorder = Recorder(0)
    expected = original_frames(name, picture, size, recorder)
    replay = Replay([recorder])
    found = perturb([tensor(picture)], name, size, replay)[0].permute(0, 2, 3, 1).numpy()
    replay.assert_spent()
    assert_faithful(found, expected)


def test_motion_blurs_the_photograph_before_it_shrinks_to_64_px() -> None:
    expected = original_frames("motion_blur", WHOLE, 64, None)
    assert_faithful(ours("motion_blur", WHOLE, 64), expected)
    assert np.abs(ours("motion_blur", SIXTY_FOUR, 64) - expected).mean() > 5


@pytest.mark.parametrize("size", TABLES)
@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "speckle_noise"])
def test_noise_has_its_size_and_is_independent(kind: str, size: int) -> None:
    grey = Image.new("RGB", (size, size), (128, 128, 128))
    sigma = {
        "gaussian_noise": {
            224: (0.03, 0.05, 0.08),
            64: (0.025, 0.05, 0.075),
            32: (0.02, 0.04, 0.06),
        },
        "shot_noise": {224: (300, 120, 60), 64: (500, 250, 125), 32: (700, 400, 200)},
        "speckle_noise": {
            224: (0.05, 0.10, 0.15),
            64: (0.05, 0.10, 0.15),
            32: (0.05, 0.07, 0.10),
        },
    }[kind][size]
    for suffix, parameter in zip(("", "_2", "_3"), sigma, strict=True):
        found = ours(kind + suffix, grey, size)
        assert (found[0] == 128).all()
        level = 128 / 255
        deviation = {
            "gaussian_noise": parameter,
            "shot_noise": (level / parameter) ** 0.5,
            "speckle_noise": level * parameter,
        }[kind]
        noise = found[1:] / 255 - level + 0.5 / 255  # the mean loss by truncation
        assert noise.std() == pytest.approx(deviation, rel=0.02)
        assert abs(noise.mean()) < 0.02 * deviation + 0.001
        assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.07


def test_snow_falls_as_one_layer_that_turns() -> None:
    black = Image.new("RGB", (SIZE, SIZE))
    found = ours("snow", black)
    pale = int(0.15 * 0.5 * 255)  # black after whitening
    assert found.min() == pale
    assert 0.01 < (found > pale + 50).mean() < 0.3
    assert len({frame.tobytes() for frame in found}) == 31
    assert (found[:, :, :, 0] == found[:, :, :, 2]).all()


def test_drops_flow_down() -> None:
    grey = Image.new("RGB", (SIZE, SIZE), (60, 60, 60))
    wet = ours("spatter", grey)[..., 1] > 60
    assert 0.001 < wet[0].mean() < 0.5
    rows = np.arange(SIZE)[:, None]
    heights = [(rows * frame).sum() / frame.sum() for frame in wet[:10]]
    assert (np.diff(heights) != 0).any()
    down = np.convolve(np.eye(9)[4], (0.05, 0.1, 0.15, 0.7), mode="same")
    layer = torch.zeros(1, 1, 9, 3)
    layer[0, 0, 4] = 1.0
    from robustbench_aa.distortions.perturbations import _flowed

    np.testing.assert_allclose(_flowed(layer, (0.05, 0.1, 0.15, 0.7))[0, 0, :, 1], down, atol=1e-7)


@pytest.mark.parametrize("size", TABLES)
def test_sequences_depend_on_seed_and_image_alone(size: int) -> None:
    square = (90, 90, 90 + size, 90 + size)
    pictures = [tensor(p if size == 224 else p.crop(square)) for p in (WHOLE, TALL)]
    for cell in perturbations_at(size):
        together = perturb(pictures, cell.name, size, Draws(3, cell, [5, 9]))
        alone = perturb(pictures[1:], cell.name, size, Draws(3, cell, [9]))
        assert torch.equal(together[1:], alone), cell
        assert together.shape == (2, frames(cell, size), 3, size, size)
        assert together.dtype == torch.uint8


def test_the_tables_are_complete() -> None:
    for size, table in TABLES.items():
        assert len(table) == 20
        assert set(table) == set(STILL[size] | MOVING[size])
        assert len(set(COUNTED[size])) == 10
        assert set(COUNTED[size]) <= set(table)
    assert set(COUNTED[224]) - set(COUNTED[32]) == {"snow"}
    assert COUNTED[64] == COUNTED[224]
    assert [p.name for p in perturbations_at(224) if not p.held_out] == list(COUNTED[224])
    lengths = {cell.name: frames(cell, 224) for cell in perturbations_at(224)}
    assert lengths.pop("translate") == 41
    assert set(lengths.values()) == {31}
    assert {frames(cell, 64) for cell in perturbations_at(64)} == {31}


def test_an_unpublished_size_is_refused() -> None:
    draws = Draws(0, Distortion("perturbation", "x"), [0])
    with pytest.raises(UsageError, match="no perturbations were published for 96-px images"):
        perturb([tensor(WHOLE)], "tilt", 96, draws)
    with pytest.raises(UnknownName, match="unknown perturbation 'tild'; did you mean tilt"):
        perturb([tensor(WHOLE)], "tild", 224, draws)
