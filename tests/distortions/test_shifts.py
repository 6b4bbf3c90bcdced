from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from robustbench_aa.distortions import shifts_by
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.shifts import (
    AROUND,
    PROTOCOLS,
    circular_shifts,
    crops,
    diagonal_crops,
    enlarged,
    margin,
    shift,
    shift_frames,
)
from robustbench_aa.errors import UnknownName
from robustbench_aa.metrics.shifts import PROTOCOLS as MEASURED
from robustbench_aa.types import UNSHIFTED, Distortion, unshifted
from tests.conftest import threads


def test_every_shift_occurs_once_in_reading_order() -> None:
    image = torch.arange(2 * 3 * 8 * 8).view(2, 3, 8, 8)
    frames = circular_shifts(image, reach=2)
    assert frames.shape == (2, 25, 3, 8, 8)
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            expected = np.roll(image.numpy(), (dy, dx), axis=(2, 3))
            assert np.array_equal(frames[:, (dy + 2) * 5 + dx + 2].numpy(), expected)


def photographs(count: int) -> torch.Tensor:
    """256 × 256 px whose values tell their row and column."""
    rows, columns = torch.meshgrid(torch.arange(256), torch.arange(256), indexing="ij")
    image = torch.stack((rows, columns, torch.zeros(256, 256, dtype=torch.int64)))
    return image.byte().expand(count, 3, 256, 256)


def draws(first: int, count: int, protocol: str = "crops") -> Draws:
    return Draws(0, Distortion("shift", protocol), range(first, first + count))


def noise(count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def shifted(images: torch.Tensor, protocol: str, size: int, first: int = 0) -> torch.Tensor:
    return shift(images, protocol, size, draws(first, len(images), protocol))


def test_crops_are_of_the_size_and_placed_evenly() -> None:
    frames = crops(photographs(200), 224, draws(0, 200))
    assert frames.shape == (200, 10, 3, 224, 224)
    corners = frames[:, :, :2, 0, 0].int().reshape(-1, 2)
    assert corners.min() == 0
    assert corners.max() == 31
    for axis in range(2):
        counts = torch.bincount(corners[:, axis], minlength=32)
        expected = len(corners) / 32
        assert ((counts - expected) ** 2 / expected).sum() < 62  # χ² of 31 degrees, p = 0.001
    assert abs(np.corrcoef(corners.numpy().T)[0, 1]) < 0.08
    assert (frames[..., 0, 0, 0].int() + 223 == frames[..., 0, 223, 223].int()).all()


def test_crops_depend_on_the_image_alone() -> None:
    together = crops(photographs(4), 224, draws(0, 4))
    assert torch.equal(crops(photographs(2), 224, draws(2, 2)), together[2:])
    assert not torch.equal(together[0], together[1])


def test_the_diagonal_goes_from_corner_to_corner() -> None:
    frames = diagonal_crops(photographs(2), 224)
    assert frames.shape == (2, 33, 3, 224, 224)
    assert frames[0, :, 0, 0, 0].tolist() == frames[0, :, 1, 0, 0].tolist() == list(range(33))


def test_circular_shifts_move_the_centre_crop() -> None:
    frames = shift(photographs(1), "circular", 224, draws(0, 1))
    assert frames.shape == (1, 81, 3, 224, 224)
    assert frames[0, 40, :2, 0, 0].tolist() == [16, 16]
    assert shift_frames("circular", 224) == 81
    with pytest.raises(UnknownName, match="unknown shift protocol 'crop'; did you mean crops"):
        shift_frames("crop", 224)


# every protocol


def test_the_tables_of_protocols_agree() -> None:
    assert PROTOCOLS.keys() == MEASURED.keys()
    assert UNSHIFTED.keys() < PROTOCOLS.keys()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("size", "larger"), [(32, 0), (64, 0), (64, 8), (224, 32)])
def test_the_frame_without_a_shift_is_the_picture(protocol: str, size: int, larger: int) -> None:
    images = noise(2, size + larger)
    frames = shifted(images, protocol, size)
    assert frames.shape == (2, shift_frames(protocol, size), 3, size, size)
    assert frames.dtype == torch.uint8
    if PROTOCOLS[protocol].moves_camera and not larger:
        images = enlarged(images, size + margin(size))
    border = (images.shape[-1] - size) // 2
    clean = images[..., border : border + size, border : border + size]
    place = unshifted(Distortion("shift", protocol), frames.shape[1])
    if place is not None:
        assert torch.equal(frames[:, place], clean)
    assert (place is None) == (protocol in ("crops", "circular32"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_frames_depend_on_the_image_alone(protocol: str) -> None:
    images = noise(5, 32)
    before = images.clone()
    together = shifted(images, protocol, 32)
    with threads(1 if torch.get_num_threads() > 1 else 2):
        one_by_one = [shifted(images[i : i + 1], protocol, 32, i) for i in range(5)]
    assert torch.equal(torch.cat(one_by_one), together)
    assert torch.equal(images, before)
    assert torch.equal(shifted(images.flip(0)[:1], protocol, 32, 4), together[4:])


def test_those_that_are_not_always_evaluated_are_holdouts() -> None:
    found = shifts_by("circular")
    assert found[0] == Distortion("shift", "circular")
    assert {one.name for one in found[1:]} == PROTOCOLS.keys() - {"circular"}
    assert all(one.held_out for one in found[1:])


# circular32


def offsets(size: int, count: int) -> torch.Tensor:
    """Return the drawn offsets, [count, 10, 2], found from pictures of one bright pixel."""
    images = torch.zeros(count, 3, size, size, dtype=torch.uint8)
    images[..., 0, 0] = 255
    frames = shifted(images, "circular32", size)[:, :, 0].flatten(2)
    assert (frames.sum(dim=-1) == 255).all()
    places = frames.argmax(dim=-1)
    return torch.stack((places // size, places % size), dim=-1)


def test_circular32_rolls_by_the_drawn_offsets() -> None:
    images = noise(3, 40)
    frames = shifted(images, "circular32", 40)
    for image, of_image, drawn in zip(images, frames, offsets(40, 3), strict=True):
        for frame, offset in zip(of_image, drawn.tolist(), strict=True):
            assert torch.equal(frame, image.roll(offset, dims=(1, 2)))


def test_offsets_of_circular32_are_uniform_and_independent() -> None:
    drawn = (offsets(96, 300) + 32) % 96  # of 96 px, since 32 px cannot tell −32 from 0
    assert drawn.min() == 0
    assert drawn.max() == 63
    for axis in range(2):
        counts = torch.bincount(drawn[..., axis].flatten(), minlength=64)
        expected = drawn[..., axis].numel() / 64
        assert ((counts - expected) ** 2 / expected).sum() < 103  # χ² of 63 degrees, p = 0.001
    # images, the frames of a pair and the axes: no two sets of offsets are alike
    assert len({tuple(of_image.flatten().tolist()) for of_image in drawn}) == 300
    pairs = drawn.reshape(1500, 4).double()
    others = torch.cat([pairs, pairs.roll(5, dims=0)], dim=1)
    correlated = torch.corrcoef(others.T) - torch.eye(8)
    assert correlated.abs().max() < 0.1  # 4 standard errors of 1,500 pairs


def test_on_a_picture_of_32_px_circular32_is_any_circular_shift() -> None:
    drawn = offsets(32, 1000).reshape(-1, 2)
    counts = torch.bincount(drawn[:, 0] * 32 + drawn[:, 1], minlength=1024)
    expected = len(drawn) / 1024
    assert ((counts - expected) ** 2 / expected).sum() < 1168  # χ² of 1,023 degrees, p = 0.001


# halfpixel


def doubled(plane: np.ndarray) -> np.ndarray:
    """Enlarge a plane twofold by zeros in its spectrum, the highest frequency split in halves."""
    size = len(plane)
    padding = np.zeros((2 * size, size))
    for frequency in range(-(size // 2), (size - 1) // 2 + 1):
        split = 2 * frequency == -size
        for place in {frequency, -frequency} if split else {frequency}:
            padding[place, frequency] = 0.5 if split else 1.0
    large = np.fft.ifft2(padding @ np.fft.fft2(plane) @ padding.T) * 4
    assert np.abs(large.imag).max() < 1e-9
    return large.real


@pytest.mark.parametrize("size", [8, 9, 31, 32])
def test_half_a_pixel_is_one_pixel_of_the_picture_enlarged_twofold(size: int) -> None:
    image = noise(1, size)
    frames = shifted(image, "halfpixel", size)[0]
    for frame, (dy, dx) in zip(frames, AROUND, strict=True):
        for channel in range(3):
            large = doubled(image[0, channel].numpy().astype(float))
            np.testing.assert_allclose(large[::2, ::2], image[0, channel].numpy(), atol=1e-9)
            expected = np.roll(large, (dy, dx), axis=(0, 1))[::2, ::2].clip(0, 255)
            found = frame[channel].numpy()
            assert np.abs(found - expected).max() <= 0.5 + 1e-5


def test_half_a_pixel_of_a_band_limited_picture_is_its_sample_there() -> None:
    def waves(dy: float, dx: float) -> np.ndarray:
        y, x = np.mgrid[:32, :32] * (2 * np.pi / 32)
        y, x = y - dy * np.pi / 32, x - dx * np.pi / 32
        return 128 + 60 * np.cos(3 * y + 1) * np.sin(5 * x) + 40 * np.sin(7 * x + 2 * y)

    # the pixels are rounded, which the shift spreads a little
    image = torch.from_numpy(waves(0, 0).round().astype(np.uint8)).expand(1, 3, 32, 32)
    frames = shifted(image, "halfpixel", 32)[0, :, 0]
    for frame, step in zip(frames, AROUND, strict=True):
        assert np.abs(frame.numpy() - waves(*step)).mean() < 0.6


def test_halves_are_rounded_up_wherever_they_are_computed() -> None:
    stripes = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    stripes[..., ::2] = 255  # the highest frequency, which half a pixel turns into grey
    frames = shifted(stripes, "halfpixel", 32)
    for frame, (_, dx) in zip(frames.unbind(1), AROUND, strict=True):
        assert torch.equal(frame, torch.full_like(stripes, 128) if dx else stripes)


# crops


@pytest.mark.parametrize(("size", "count"), [(32, 5), (64, 9), (224, 33)])
def test_crops_of_any_size_are_where_they_should_be(size: int, count: int) -> None:
    assert shift_frames("diagonal", size) == count
    images = noise(1, size + count - 1)
    diagonal = shifted(images, "diagonal", size)[0]
    for place, frame in enumerate(diagonal):
        assert torch.equal(frame, images[0, :, place : place + size, place : place + size])
    neighbours = shifted(images, "neighbours", size)[0]
    assert len(neighbours) == 9
    corner = (count - 1) // 2
    seen = {
        (dy, dx)
        for frame in neighbours
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
        if torch.equal(
            frame,
            images[0, :, corner + dy : corner + dy + size, corner + dx : corner + dx + size],
        )
    }
    assert len(seen) == 9


@pytest.mark.parametrize(("old", "new"), [(32, 36), (64, 72), (96, 108), (31, 34), (7, 20)])
def test_enlarged_is_bilinear_interpolation_rounded(old: int, new: int) -> None:
    images = noise(3, old)
    found = enlarged(images, new)
    interpolate = partial(torch.nn.functional.interpolate, mode="bilinear", align_corners=False)
    exact = interpolate(images.double(), size=(new, new))
    assert (found.double() - exact).abs().max() <= 0.5 + 1e-9
    assert torch.equal(enlarged(images[1:2], new), found[1:2])
    white = torch.full((1, 3, old, old), 255, dtype=torch.uint8)
    assert torch.equal(enlarged(white, new), torch.full((1, 3, new, new), 255, dtype=torch.uint8))


def test_enlarged_does_not_overflow() -> None:
    white = torch.full((1, 1, 1300, 1300), 255, dtype=torch.uint8)
    assert (enlarged(white, 1448) == 255).all()
