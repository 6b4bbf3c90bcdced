"""Internal feature distance, against theory and a slow transcription of its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import robustbench_aa as rb
from robustbench_aa import load
from robustbench_aa.antialiasing import MaxBlurPool
from robustbench_aa.classifier import Classifier
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import Request
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.features import feature_distance, measure_features, write_features
from robustbench_aa.metrics.consistency import circular_consistency
from robustbench_aa.store.feature_maps import features_folder
from robustbench_aa.support.progress import Advance
from robustbench_aa.types import CLEAN, Batch
from tests.conftest import PLAIN, tree
from tests.forged import forge

IMAGES = load_split("test")[0][:3]


def classifier(*layers: nn.Module, outputs: int = 4) -> Classifier:
    torch.manual_seed(0)
    for layer in layers:
        for convolution in layer.modules():
            if isinstance(convolution, nn.Conv2d):
                convolution.reset_parameters()
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(outputs, 10))
    return Classifier(
        nn.Sequential(*layers, *head).eval(),
        name="toy",
        input_size=32,
        classes=10,
        preprocessing=PLAIN,
    )


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="circular")


def square(maps: pd.DataFrame, layer: str) -> np.ndarray:
    chosen = maps[maps["layer"] == layer]
    return chosen.pivot_table(index="down", columns="right", values="distance").to_numpy()


def test_an_equivariant_network_has_no_distance_and_is_consistent() -> None:
    toy = classifier(conv(3, 4), nn.ReLU(), conv(4, 4), nn.ReLU())
    maps = feature_distance(toy, IMAGES, max_shift=8)
    assert list(dict.fromkeys(maps["layer"])) == ["1", "3"]
    assert maps["distance"].max() < 1e-10
    frames = torch.stack([torch.roll(IMAGES, (0, dx), (-2, -1)) for dx in range(8)], dim=1)
    batch = Batch(CLEAN, np.arange(3), np.zeros(3, int), frames)
    top1 = Predictor(toy, Inference(24)).predict(batch)["top1"].reshape(3, 8)
    assert circular_consistency(top1).tolist() == [1.0] * 3


@pytest.mark.parametrize("stride", [2, 4])
def test_subsampling_is_equivariant_to_its_multiples_only(stride: int) -> None:
    toy = classifier(conv(3, 4, stride), nn.ReLU())
    found = square(feature_distance(toy, IMAGES, max_shift=9), "1")
    multiples = np.arange(10) % stride == 0
    even = multiples[:, None] & multiples
    assert found[even].max() < 1e-10
    assert found[~even].min() > 1e-4


def test_the_definition_by_hand() -> None:
    toy = classifier(conv(3, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))
    normalised = PLAIN.normalised

    def features(images: Tensor) -> Tensor:
        with torch.inference_mode():
            maps = toy.module[:3](normalised(images))
        return maps.repeat_interleave(4, 2).repeat_interleave(4, 3)

    found = square(feature_distance(toy, IMAGES, max_shift=5, batch_size=7), "2")
    for down, right in ((0, 0), (0, 3), (2, 1), (5, 5), (4, 4)):
        moved = torch.roll(features(IMAGES), (down, right), (-2, -1))
        other = features(torch.roll(IMAGES, (down, right), (-2, -1)))
        cosine = nn.functional.cosine_similarity(moved, other, dim=1)
        both_silent = (moved == 0).all(1) & (other == 0).all(1)
        expected = (1 - cosine).masked_fill(both_silent, 0).mean().item()
        assert found[down, right] == pytest.approx(expected, abs=1e-5)


def test_a_map_that_does_not_divide_the_image() -> None:
    toy = classifier(nn.Conv2d(3, 4, 4, 3))  # 10 × 10 of 32 × 32
    maps = feature_distance(toy, IMAGES, max_shift=3)
    assert square(maps, "0")[0, 0] == 0.0
    assert maps["distance"].between(0, 2).all()


def test_a_pooling_is_shown_in_its_two_halves() -> None:
    for pool in (nn.MaxPool2d(2), MaxBlurPool(4, 2, 3)):
        toy = classifier(nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), nn.ReLU()), pool)
        maps = feature_distance(toy, IMAGES, max_shift=1)
        assert list(dict.fromkeys(maps["layer"])) == ["0", "1 dense", "1"]
        # the border is the dense maxima's only loss, subsampling adds to it
        assert square(maps, "1 dense").mean() < square(maps, "1").mean() / 5


def test_layers_can_be_named(tmp_path: Path) -> None:
    model = load("digits:resnet@lpf3")
    maps = feature_distance(model, IMAGES, layers=["*.residual"], max_shift=2)
    assert set(maps["layer"]) == {"5.residual", "6.residual", "4.residual"}
    with pytest.raises(UnknownName, match="unknown layer 'conv9'"):
        feature_distance(model, IMAGES, layers=["conv9"])
    with pytest.raises(UsageError, match=r"no layer of .* gives a feature map"):
        feature_distance(model, IMAGES, layers=["9"], max_shift=1)
    with pytest.raises(UsageError, match="max shift 32 is not between 0 and 31"):
        feature_distance(model, IMAGES, max_shift=32)


def test_batches_and_groups_of_images_do_not_matter() -> None:
    model, images = load("digits:vgg@lpf3"), load_split("test")[0][:9]
    one = feature_distance(model, images, max_shift=3)
    other = feature_distance(model, images, max_shift=3, batch_size=5)
    pd.testing.assert_frame_equal(one, other, atol=1e-6)
    parts = [feature_distance(model, part, max_shift=3) for part in images.split(3)]
    mean = np.mean([part["distance"] for part in parts], axis=0)
    np.testing.assert_allclose(one["distance"], mean, atol=1e-6)


def test_anti_aliasing_lowers_the_feature_distance_of_the_embedded_networks(tmp_path: Path) -> None:
    counts: list[int] = []

    class Show:
        def __enter__(self) -> Advance:
            return lambda model, count: counts.append(count)

        def __exit__(self, *_error: object) -> None:
            pass

    models = ["digits:vgg@baseline", "digits:vgg@lpf3", "digits:vgg@lpf5"]
    totals: list[int] = []
    maps = measure_features(
        models,
        "digits",
        Request(limit=4),
        show=lambda total: totals.append(total) or Show(),
        max_shift=5,
    )
    assert sum(counts) == totals[0] == 3 * 4 * 36
    paths = write_features(maps, tmp_path)
    assert [path.name for path in paths] == [
        *("features.csv", "feature_maps.parquet", "feature_maps.png", "feature_maps.svg")
    ]
    table = pd.read_csv(tmp_path / "features.csv").pivot_table(
        index="layer", columns="model", values="distance"
    )
    pools = table.loc[["pool2", "pool3", "pool4"]]
    for filtered in ("digits:vgg@lpf3-seed0", "digits:vgg@lpf5-seed0"):
        assert (pools[filtered] < pools["digits:vgg@baseline-seed0"]).all()
    pd.testing.assert_frame_equal(pd.read_parquet(paths[1]), maps)


def test_unmeasurable_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="data set digits-p has no clean images"):
        measure_features(["digits:vgg"], "digits-p", Request(limit=1), show=lambda total: None)
    with pytest.raises(UsageError, match="is for images of 224 px, data set digits has images of"):
        measure_features(
            ["torchvision:resnet18@random"], "digits", Request(limit=1), show=lambda total: None
        )


def test_feature_maps_of_a_run_are_shown_by_its_report(tmp_path: Path) -> None:
    run = rb.Run(forge(tmp_path / "run", ["a"], ["image-folder"]))
    assert "Internal feature distance" not in page_of(run)
    maps = feature_distance(classifier(conv(3, 4), nn.ReLU()), IMAGES, max_shift=1)
    maps.insert(0, "model", "toy")
    folder = features_folder(run.directory)
    assert folder == run.directory / "features"
    write_features(maps, folder)
    before = tree(folder)
    page = page_of(run)
    assert "Internal feature distance" in page
    assert ">toy</h3>" in page
    assert tree(folder) == before
    # a report reads nothing from its own folder
    folder.rename(run.directory / "report" / "features")
    assert "Internal feature distance" not in page_of(run)


def page_of(run: rb.Run) -> str:
    run.report()
    return (run.directory / "report" / "index.html").read_text()


def test_feature_maps_can_be_written_to_any_folder(tmp_path: Path) -> None:
    assert features_folder(tmp_path / "new") == tmp_path / "new"
    command = ["features", "-m", "digits:vgg@lpf3", "-d", "digits", "--limit", "1"]
    command += ["--max-shift", "1", "-o", str(tmp_path / "new")]
    result = CliRunner().invoke(commands, command)
    assert result.exit_code == 0, result.output
    names = ("features.csv", "feature_maps.parquet", "feature_maps.png", "feature_maps.svg")
    assert result.output.splitlines()[-4:] == [str(tmp_path / "new" / name) for name in names]
    assert sorted(tree(tmp_path / "new")) == sorted(names)
