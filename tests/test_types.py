from __future__ import annotations

import torch
from torch import nn

from robustbench_aa.types import CLEAN, Classifier, Distortion, groups, kind, shards
from tests.conftest import PLAIN, make_classifier


def test_distortions_are_written_as_their_paths() -> None:
    assert str(CLEAN) == "clean"
    assert str(Distortion("corruption", "gaussian_noise", 3)) == "gaussian_noise/3"
    assert str(Distortion("shift", "circular")) == "shift/circular"


def test_shards_cover_every_image_once() -> None:
    for images, size in ((10, 3), (9, 3), (1, 1000), (0, 5)):
        covered = [i for shard in shards(images, size) for i in range(*shard)]
        assert covered == list(range(images))


def test_the_kind_of_a_data_set_is_what_it_measures() -> None:
    assert kind([CLEAN]) == "clean"
    assert kind([CLEAN, Distortion("corruption", "defocus_blur", 1)]) == "corruption"
    assert kind([Distortion("shift", "circular")]) == "shift"


def test_training_seeds_are_members_of_their_model() -> None:
    names = ["a-seed0", "b", "a-seed12", "c-seedling"]
    assert groups(names) == {
        "a": ["a-seed0", "a-seed12"],
        "b": ["b"],
        "c-seedling": ["c-seedling"],
    }
    # one network alone keeps its full name, and a namesake of the model is not its seed
    assert groups(["a-seed0"]) == {"a-seed0": ["a-seed0"]}
    assert groups(["a", "a-seed0", "a-seed1"]) == {n: [n] for n in ("a", "a-seed0", "a-seed1")}


def classifier(module: nn.Module) -> Classifier:
    return Classifier(module, name="a", input_size=1, classes=2, preprocessing=PLAIN)


def test_the_hash_of_weights_changes_with_each_of_them() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).bfloat16()
    hashes = {classifier(module).weights_sha256}
    for tensor in module.state_dict().values():
        tensor.view(-1)[0] += 1
        hashes.add(classifier(module).weights_sha256)
    assert len(hashes) == 1 + len(module.state_dict())


def test_the_architecture_contains_no_memory_addresses() -> None:
    class Printed(nn.Linear):
        def extra_repr(self) -> str:
            return f"activation={object()}"

    assert len({classifier(Printed(3, 2)).architecture() for _ in range(3)}) == 1


def test_parameters_are_counted() -> None:
    assert make_classifier("a").parameters == 3 * 32 * 32 * 10
    assert isinstance(make_classifier("a").module(torch.zeros(1, 3, 32, 32)), torch.Tensor)
