"""Contracts of every registered corruption, data set and model; new ones are tested as well."""

from __future__ import annotations

import pytest
import torch

from robustbench_aa.datasets import DATASETS, Request, open_dataset
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.corruptions.corruption import to_bytes
from robustbench_aa.distortions.perturbations import TABLES as PERTURBATIONS
from robustbench_aa.distortions.perturbations import perturb
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, parameters
from robustbench_aa.models import known_models, load
from robustbench_aa.support.training_seeds import training_seed
from robustbench_aa.types import Distortion, Shard
from tests.conftest import threads

# their tables trade one parameter against another, or one draw decides how much one image changes
NOT_MONOTONE = {
    *("saturate", "elastic_transform", "glass_blur", "motion_blur"),
    *("snow", "frost", "fog", "spatter"),
}

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)
every_perturbation = pytest.mark.parametrize(
    ("name", "size"),
    # each at the smallest size that it was published for
    {
        name: size for size in sorted(PERTURBATIONS, reverse=True) for name in PERTURBATIONS[size]
    }.items(),
)
every_dataset = pytest.mark.parametrize(
    "name", [n for n, entry in DATASETS.items() if entry.embedded]
)


@pytest.fixture(params=TABLES, ids=lambda size: f"{size}px")
def images(request: pytest.FixtureRequest, photographs: torch.Tensor) -> torch.Tensor:
    size = request.param
    scaled = torch.nn.functional.interpolate(photographs.float(), (size, size), mode="area")
    return scaled.round().byte()


def corrupted(images: torch.Tensor, name: str, severity: int, first: int = 0) -> torch.Tensor:
    return corrupt(images, name, severity, drawn(images, name, severity, first))


def drawn(images: torch.Tensor, name: str, severity: int, first: int = 0) -> Draws:
    index = range(first, first + len(images))
    return Draws(0, Distortion("corruption", name, severity), index)


@every_corruption
def test_a_corruption_keeps_shape_and_input(images: torch.Tensor, name: str) -> None:
    before = images.clone()
    for severity in SEVERITIES:
        result = corrupted(images, name, severity)
        assert result.shape == images.shape
        assert result.dtype == torch.uint8
        assert torch.equal(images, before)


@every_corruption
@pytest.mark.parametrize("severity", SEVERITIES)
def test_a_corruption_is_a_function_of_seed_and_image(
    images: torch.Tensor, name: str, severity: int
) -> None:
    whole = corrupted(images, name, severity)
    assert torch.equal(corrupted(images, name, severity), whole)
    with threads(1 if torch.get_num_threads() > 1 else 2):
        assert torch.equal(corrupted(images, name, severity), whole)
        singles = [corrupted(images[i : i + 1], name, severity, i) for i in range(len(images))]
        assert torch.equal(torch.cat(singles), whole)


@every_corruption
def test_a_corruption_grows_with_its_severity(images: torch.Tensor, name: str) -> None:
    sizes = [
        (corrupted(images, name, severity).float() - images.float()).abs().mean().item()
        for severity in SEVERITIES
    ]
    assert sizes[0] > 0
    if name not in NOT_MONOTONE:
        assert sizes == sorted(sizes)


@every_corruption
def test_a_corruption_of_extreme_images_is_finite(name: str) -> None:
    """NaN would become an arbitrary byte; tests of each corruption say which byte is right."""
    corruption = CORRUPTIONS[name]
    for size in TABLES:
        extremes = torch.zeros(5, 3, size, size, dtype=torch.uint8)
        extremes[1] = 255
        extremes[2] = 128
        extremes[3, 0] = 255  # red
        extremes[4, :, size // 2, size // 2] = 255  # black but for one pixel
        for severity in SEVERITIES:
            result = corrupted(extremes, name, severity)
            assert result.dtype == torch.uint8
            if not corruption.in_bytes:
                draws = drawn(extremes, name, severity)
                how = parameters(name, severity, size)
                values = corruption.function(extremes.float() / 255, draws, *how)
                assert values.isfinite().all()
                assert torch.equal(to_bytes(values), result)


@every_perturbation
def test_a_perturbation_is_a_function_of_seed_and_image(
    photographs: torch.Tensor, name: str, size: int
) -> None:
    images = photographs[..., : size + 8, : size + 16]
    before = images.clone()

    def perturbed(first: int, last: int) -> torch.Tensor:
        draws = Draws(0, Distortion("perturbation", name), range(first, last))
        return perturb(images[first:last], name, size, draws)

    whole = perturbed(0, 2)
    assert whole.shape == (2, PERTURBATIONS[size][name].frames, 3, size, size)
    assert whole.dtype == torch.uint8
    assert torch.equal(images, before)
    with threads(1 if torch.get_num_threads() > 1 else 2):
        assert torch.equal(torch.cat([perturbed(0, 1), perturbed(1, 2)]), whole)


@every_dataset
def test_a_data_set_gives_each_image_once_with_a_stable_index(name: str) -> None:
    dataset = open_dataset(name, Request(limit=30))
    assert dataset.name == name
    assert dataset.images == 30
    for distortion in dataset.distortions[:3]:
        batches = list(dataset.read(distortion, Shard(0, 30), 64, torch.device("cpu")))
        index = [i for batch in batches for i in batch.index]
        assert len(set(index)) == 30
        for batch in batches:
            images, frames, *rest = batch.frames.shape
            assert frames == dataset.frames(distortion)
            assert rest == [3, dataset.size, dataset.size]
            assert batch.frames.dtype == torch.uint8
            assert len(batch.index) == len(batch.label) == images
            assert ((batch.label >= 0) & (batch.label < dataset.classes)).all()


# the other sources list hundreds of networks whose weights would have to be downloaded
@pytest.mark.parametrize("name", known_models("digits"))
def test_a_model_has_its_promised_properties(name: str) -> None:
    classifier = load(name)
    assert classifier.name == name
    assert not classifier.module.training
    size = classifier.input_size
    assert classifier.module(torch.zeros(2, 3, size, size)).shape == (2, classifier.classes)
    assert load(training_seed(name)[0]).name.startswith(training_seed(name)[0])
