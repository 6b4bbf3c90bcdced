from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from robustbench_aa.cli.data import make_imagenet_c
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.types import Distortion, Shard

FOG = Distortion("corruption", "fog", 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "val"
    random = np.random.default_rng(0)
    for place, name in enumerate(("a.JPEG", "b.png", "c.jpg")):
        folder = root / wnids()[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        small = random.integers(256, size=(6, 6, 3), dtype=np.uint8)
        Image.fromarray(small).resize((280, 260), Image.Resampling.BICUBIC).save(folder / name)
    return root


def make(source: Path, to: Path, *arguments: str) -> Result:
    how = ["--source", str(source), "--output-dir", str(to), "--batch-size", "2", *arguments]
    return CliRunner().invoke(make_imagenet_c, how, catch_exceptions=False)


def test_written_pictures_equal_live_pictures(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "c"
    for corruption in ("fog", "gaussian_noise"):
        make(source, to, "--corruption", corruption, "--severity", "3", "--severity", "5")
    assert sorted(file.relative_to(to).as_posix() for file in to.glob("fog/3/*/*")) == [
        *(f"fog/3/{wnids()[0]}/a.JPEG", f"fog/3/{wnids()[0]}/c.jpg"),
        f"fog/3/{wnids()[1]}/b.png.JPEG",
    ]
    stored = open_dataset("imagenet-c", Request(data_dir=str(to)))
    live = open_dataset("imagenet-c-live", Request(data_dir=str(source)))
    assert len(stored.distortions) - len(stored.missing) == 4
    for cell in stored.distortions:
        if cell not in stored.missing:
            (one,) = stored.read(cell, Shard(0, 3), 4, torch.device("cpu"))
            (other,) = live.read(cell, Shard(0, 3), 4, torch.device("cpu"))
            assert torch.equal(one.frames, other.frames)
            assert one.label.tolist() == other.label.tolist() == [0, 0, 1]


def test_missing_pictures_are_written_again(source: Path, tmp_path: Path) -> None:
    to = tmp_path / "c"
    assert "15 pictures written" in make(source, to, "--corruption", "contrast").output
    before = {file: file.stat().st_mtime_ns for file in to.glob("contrast/*/*/*")}
    lost = to / "contrast" / "2" / wnids()[0] / "c.jpg"
    content = lost.read_bytes()
    lost.unlink()
    make(source, to, "--corruption", "contrast")
    assert lost.read_bytes() == content
    assert {file: file.stat().st_mtime_ns for file in before if file != lost} == {
        file: time for file, time in before.items() if file != lost
    }
    assert "0 pictures written" in make(source, to, "--corruption", "contrast").output


def test_a_whole_set_is_complete(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "c")
    table, problems = verify_dataset("imagenet-c", tmp_path / "c")
    assert problems == []
    assert len(table) == 95
    assert not open_dataset("imagenet-c", Request(data_dir=str(tmp_path / "c"))).missing


def test_a_folder_is_not_mixed(source: Path, tmp_path: Path) -> None:
    make(source, tmp_path / "c", "--corruption", "fog", "--severity", "1")
    with pytest.raises(UsageError, match="made of other photographs, with another seed"):
        make(source, tmp_path / "c", "--corruption", "fog", "--seed", "1")


def test_bad_names_are_refused_before_anything_is_written(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="did you mean fog"):
        make(source, tmp_path / "c", "--corruption", "fogg")
    with pytest.raises(UsageError, match="severity 6 does not exist"):
        make(source, tmp_path / "c", "--severity", "6")
    with pytest.raises(UsageError, match=r"no folder .*nowhere"):
        make(tmp_path / "nowhere", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_photograph_is_decoded_once_for_all_cells(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Image.open
    files: list[str] = []

    def counted(file: object, *rest: object, **more: object) -> Image.Image:
        files.append(str(getattr(file, "name", file)))
        return opened(file, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Image, "open", counted)
    numbers = []
    for severities in (1, 3):
        files.clear()
        chosen = [word for level in range(severities) for word in ("--severity", str(level + 1))]
        make(source, tmp_path / str(severities), "--corruption", "contrast", *chosen)
        numbers.append(len(files))
    assert numbers[0] == numbers[1] > 0


@pytest.mark.parametrize("size", ["0", "-5"])
def test_a_batch_size_that_is_not_positive_is_refused(
    source: Path, tmp_path: Path, size: str
) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        make(source, tmp_path / "c", "--batch-size", size)
    assert not (tmp_path / "c").exists()
