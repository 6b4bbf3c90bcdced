from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError
from robustbench_aa.models import expand, load
from robustbench_aa.models.crop_selected import CropSelection, select_crop
from robustbench_aa.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SIZE, CROP = 56, 52
PLACES = SIZE - CROP + 1


def selection(circular: bool = False) -> CropSelection:
    return CropSelection(nn.Identity(), SIZE, PREPROCESSING, circular)


def noise(count: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def windows(pictures: Tensor, top: int, left: int) -> Tensor:
    return PREPROCESSING.normalised(pictures[..., top : top + SIZE, left : left + SIZE])


def determinant(picture: np.ndarray, row: int, column: int) -> float:
    """The determinant of the Hessian at a pixel, written out term by term."""
    b = 2.0 * picture[0] + 5.0 * picture[1] + picture[2]
    weights = {-1: 1, 0: 2, 1: 1}

    def second(values: list[float]) -> float:
        return values[0] - 2 * values[1] + values[2]

    across = sum(
        weights[d] * second([b[row + d, column + e] for e in (-1, 0, 1)]) for d in (-1, 0, 1)
    )
    down = sum(
        weights[d] * second([b[row + e, column + d] for e in (-1, 0, 1)]) for d in (-1, 0, 1)
    )
    mixed = b[row - 1, column - 1] - b[row - 1, column + 1]
    mixed += b[row + 1, column + 1] - b[row + 1, column - 1]
    return float(abs(across * down - mixed**2))


def test_the_pixel_with_the_largest_determinant_selects_the_crop() -> None:
    pictures = noise(5, SIZE)
    inputs = PREPROCESSING.normalised(pictures)
    module = selection()
    found = module.corners(inputs)
    for picture, corner in zip(pictures.numpy().astype(float), found.tolist(), strict=True):
        inside = [(row, column) for row in range(1, SIZE - 1) for column in range(1, SIZE - 1)]
        best = max(inside, key=lambda place: determinant(picture, *place))
        assert tuple(corner) == ((best[0] - 1) % PLACES, (best[1] - 1) % PLACES)
    for crop, original, (row, column) in zip(
        module.select(inputs), inputs, found.tolist(), strict=True
    ):
        alone = original[None, :, row : row + CROP, column : column + CROP]
        expected = nn.functional.pad(alone, (2, 2, 2, 2), mode="reflect")[0]
        assert torch.equal(crop, expected)


@pytest.mark.parametrize(("down", "right"), [(0, 1), (1, 1), (3, -2)])
def test_the_bound_holds_where_every_anchor_is_equally_likely(down: int, right: int) -> None:
    count = 3000
    pictures = noise(count, SIZE + 8)
    one, other = windows(pictures, 4, 4), windows(pictures, 4 + down, 4 + right)
    module = selection()
    first, second = module.corners(one), module.corners(other)
    differ = (first != second + torch.tensor([down, right])).any(dim=1)
    anchors = SIZE - 2

    def shared(step: int) -> tuple[int, int]:
        """Places along an axis that both pictures have, and those on one side of every line."""
        both = [place for place in range(anchors) if 0 <= place - step < anchors]
        same = [place for place in both if place // PLACES == (place - step) // PLACES]
        return len(both), len(same)

    (both_down, same_down), (both_right, same_right) = shared(down), shared(right)
    expected = 1 - same_down * same_right / (2 * anchors**2 - both_down * both_right)
    deviation = math.sqrt(expected * (1 - expected) / count)
    # random pictures are all but exchangeable: neighbouring determinants share pixels
    assert abs(float(differ.float().mean()) - expected) < 4 * deviation + 0.01
    same = ~differ
    assert torch.equal(module.select(one[same]), module.select(other[same]))


def test_a_circular_selection_is_exactly_invariant_to_circular_shifts() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    module = CropSelection(network, SIZE, PREPROCESSING, circular=True).eval()
    pictures = PREPROCESSING.normalised(noise(6, SIZE))
    with torch.inference_mode():
        logits = module(pictures)
        for shift in ((1, 0), (-1, 5), (17, 31)):
            assert torch.equal(module(pictures.roll(shift, dims=(-2, -1))), logits)


def test_a_uniform_picture_takes_the_first_crop() -> None:
    black = torch.zeros(2, 3, SIZE, SIZE)
    assert selection().corners(black).tolist() == [[0, 0], [0, 0]]


def test_a_choice_does_not_depend_on_the_batch_or_on_autocast() -> None:
    pictures = PREPROCESSING.normalised(noise(9, SIZE))
    module = selection()
    together = module.corners(pictures)
    assert torch.equal(torch.cat([module.corners(part) for part in pictures.split(2)]), together)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.corners(pictures), together)


def test_the_network_sees_pictures_of_its_own_size() -> None:
    assert selection()(torch.rand(2, 3, SIZE, SIZE)).shape == (2, 3, SIZE, SIZE)


def test_the_command_line_can_select_for_any_model() -> None:
    specification = "crop-selected:digits:resnet@lpf3"
    assert expand(specification) == [f"{specification}-seed{seed}" for seed in range(3)]
    model, plain = load(f"{specification}-seed1"), load("digits:resnet@lpf3-seed1")
    assert model.name == f"{specification}-seed1"
    assert (model.input_size, model.classes) == (plain.input_size, plain.classes)
    assert not model.module.training
    ours = {name.removeprefix("network."): t for name, t in model.module.state_dict().items()}
    for name, tensor in plain.module.state_dict().items():
        assert torch.equal(ours[name], tensor)
    assert set(ours) == set(plain.module.state_dict())


def test_a_conversion_inside_is_that_of_the_network() -> None:
    model = load("crop-selected:digits:resnet@baseline+lpf3-seed1")
    assert model.name == "crop-selected:digits:resnet@baseline+lpf3-seed1"
    converted = load("digits:resnet@baseline+lpf3-seed1")
    assert isinstance(model.module, CropSelection)
    assert str(model.module.network) == str(converted.module)


def test_pictures_too_small_for_a_selection_are_refused() -> None:
    tiny = Classifier(
        nn.Flatten(), name="tiny", input_size=8, classes=192, preprocessing=PREPROCESSING
    )
    with pytest.raises(UsageError, match="tiny takes images of 8 px, which leave no crop"):
        select_crop(tiny)


def test_the_identity_is_the_same_from_a_name_and_from_an_object() -> None:
    named = load("crop-selected:digits:resnet@lpf3-seed0")
    made = select_crop(load("digits:resnet@lpf3-seed0"))
    assert named.weights_sha256 == made.weights_sha256 == made.current().weights_sha256
