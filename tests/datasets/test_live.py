from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.labels import Labels
from robustbench_aa.datasets.live import Clean, LiveDataset
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.errors import DatasetError
from robustbench_aa.types import CLEAN, Shard

CPU = torch.device("cpu")
CELLS = [CLEAN, *corruptions_at(32)[:3]]


class Decoder:
    """A decoder that counts how often each image is read."""

    def __init__(self) -> None:
        self.reads: Counter[int] = Counter()

    def __call__(self, index: np.ndarray) -> Clean:
        self.reads.update(index.tolist())
        pixels = (torch.from_numpy(index) % 256).to(torch.uint8).view(-1, 1, 1, 1)
        label = torch.from_numpy(index) % 10
        return pixels.expand(-1, 3, 32, 32).contiguous(), label, index.astype(np.uint64)


def dataset(decoder: Decoder, images: int, keep: int) -> LiveDataset:
    return LiveDataset(
        name="counted",
        classes=10,
        size=32,
        distortions=tuple(CELLS),
        index=np.arange(images),
        clean=decoder,
        clean_sha256="",
        labels=Labels("stored", 10),
        collection="counted",
        seed=0,
        keep=keep,
    )


def test_a_large_shard_is_decoded_once_for_all_of_its_cells() -> None:
    decoder = Decoder()
    counted = dataset(decoder, 3000, 2**24)
    for shard in (Shard(0, 1500), Shard(1500, 3000)):
        for cell in CELLS:
            batches = list(counted.read(cell, shard, 64, CPU))
            index = np.concatenate([batch.index for batch in batches])
            assert index.tolist() == list(range(*shard))
            label = np.concatenate([batch.label for batch in batches])
            assert label.tolist() == [place % 10 for place in index]
            if cell == CLEAN:
                level = torch.cat([batch.frames[:, 0, 0, 0, 0] for batch in batches])
                assert level.tolist() == [place % 256 for place in index]
    assert set(decoder.reads.values()) == {1}


def test_the_cache_stays_within_its_limit() -> None:
    decoder = Decoder()
    counted = dataset(decoder, 100, keep=60 * 3 * 32 * 32)
    for _ in range(3):
        assert sum(len(batch.index) for batch in counted.read(CLEAN, Shard(0, 100), 7, CPU)) == 100
    assert sorted(set(decoder.reads.values())) == [1, 3]
    assert sum(count == 1 for count in decoder.reads.values()) == 60


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """Twelve pictures of one class, of which three cannot be read."""
    (tmp_path / "cat").mkdir()
    for place in range(12):
        path = tmp_path / "cat" / f"{place:02}.png"
        if place in (1, 5, 10):
            path.write_text("no picture")
        else:
            Image.new("RGB", (260, 260), (place, 0, 0)).save(path)
    return tmp_path


@pytest.mark.parametrize("batch_size", [1, 4, 99])
def test_all_bad_pictures_of_a_shard_are_named_at_once(spoiled: Path, batch_size: int) -> None:
    opened = open_dataset("image-folder", Request(data_dir=str(spoiled)))
    with pytest.raises(
        DatasetError, match=r"3 files cannot be used: .*robustbench-aa verify"
    ) as raised:
        list(opened.read(CLEAN, Shard(0, 12), batch_size, CPU))
    assert all(f"{place:02}.png cannot be read" in str(raised.value) for place in (1, 5, 10))
    assert len(raised.value.faults) == 3


def test_whole_photographs_and_their_squares_are_kept_apart(spoiled: Path) -> None:
    for place in (1, 5, 10):
        Image.new("RGB", (300, 260), (place, 0, 0)).save(spoiled / "cat" / f"{place:02}.png")
    request = Request(data_dir=str(spoiled))
    squares = open_dataset("image-folder", request)
    whole = open_dataset("imagenet-p-live", request)
    tilt = next(cell for cell in whole.distortions if cell.name == "tilt")
    for _ in range(2):
        (batch,) = squares.read(CLEAN, Shard(0, 2), 2, CPU)
        assert batch.frames.shape == (2, 1, 3, 224, 224)
        (batch,) = whole.read(tilt, Shard(0, 2), 99, CPU)
        assert batch.frames.shape == (2, 31, 3, 224, 224)
