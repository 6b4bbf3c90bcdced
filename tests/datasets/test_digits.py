from __future__ import annotations

import numpy as np
import pytest
import torch

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.types import CLEAN, Distortion, Shard

CPU = torch.device("cpu")


def test_the_split_is_the_first_thousand_and_the_other_797() -> None:
    from sklearn.datasets import load_digits

    target = load_digits().target
    (train, train_labels), (test, test_labels) = load_split("train"), load_split("test")
    assert train.shape == (1000, 3, 32, 32)
    assert test.shape == (797, 3, 32, 32)
    assert train.dtype == test.dtype == torch.uint8
    assert train_labels.tolist() == target[:1000].tolist()
    assert test_labels.tolist() == target[1000:].tolist()


def test_no_scan_is_in_both_splits() -> None:
    train, test = (
        {image.numpy().tobytes() for image in load_split(s)[0]} for s in ("train", "test")
    )
    assert not train & test


def test_the_embedded_pixels_are_scikit_learns_scans_enlarged() -> None:
    from data_prep.make_digits import enlarged_digits

    images, _ = enlarged_digits()
    embedded = torch.cat([load_split("train")[0], load_split("test")[0]])
    assert np.array_equal(embedded[:, 0].numpy(), images)
    assert torch.equal(embedded[:, 0], embedded[:, 2])


def test_digits_c_has_every_corruption_at_every_severity_and_clean() -> None:
    dataset = open_dataset("digits-c")
    names = dict.fromkeys(d.name for d in dataset.distortions if d.severity)
    assert list(names) == [
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
        *("speckle_noise", "gaussian_blur", "spatter", "saturate"),
    ]
    assert dataset.distortions[0] == CLEAN
    assert len(dataset.distortions) == 1 + 5 * len(names)
    assert [d.name for d in dataset.distortions if d.group == "extra"][::5] == [
        *("speckle_noise", "gaussian_blur", "spatter", "saturate")
    ]


def test_digits_shift_shows_every_shift_of_four_pixels() -> None:
    dataset = open_dataset("digits-shift", Request(limit=2))
    shifts, *others = dataset.distortions
    assert all(one.held_out for one in others)
    (batch,) = dataset.read(shifts, Shard(0, 2), 1000, CPU)
    assert batch.frames.shape == (2, 81, 3, 32, 32)
    assert torch.equal(batch.frames[0, 40], load_split("test")[0][0])


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_frames_do_not_depend_on_batches_or_shards(batch_size: int) -> None:
    dataset = open_dataset("digits-c", Request(limit=20))
    noise = Distortion("corruption", "shot_noise", 3)
    whole = torch.cat([b.frames for b in dataset.read(noise, Shard(0, 20), 100, CPU)])
    parts = [
        b for s in (Shard(0, 9), Shard(9, 20)) for b in dataset.read(noise, s, batch_size, CPU)
    ]
    assert torch.equal(torch.cat([batch.frames for batch in parts]), whole)


def test_a_limited_data_set_shows_the_same_frames_of_fewer_images() -> None:
    noise = Distortion("corruption", "gaussian_noise", 5)
    (few,) = open_dataset("digits-c", Request(limit=10)).read(noise, Shard(0, 10), 100, CPU)
    (whole,) = open_dataset("digits-c").read(noise, Shard(0, 797), 1000, CPU)
    assert few.index.tolist() == [0, 79, 159, 239, 318, 398, 478, 557, 637, 717]
    assert torch.equal(few.frames, whole.frames[few.index])
    assert few.label.tolist() == whole.label[few.index].tolist()


def test_another_seed_makes_other_noise() -> None:
    noise = Distortion("corruption", "gaussian_noise", 5)
    frames = [
        next(
            iter(open_dataset("digits-c", Request(5, seed)).read(noise, Shard(0, 5), 9, CPU))
        ).frames
        for seed in (0, 1)
    ]
    assert not torch.equal(*frames)


def test_the_hash_depends_on_the_measured_images() -> None:
    hashes = [open_dataset("digits-c", Request(limit)).sha256 for limit in (None, None, 10, 11)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
