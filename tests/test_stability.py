from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets.video_file import read_clip
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.errors import DatasetError, UnknownName, UsageError
from robustbench_aa.stability import class_names, measure_stability
from tests.conftest import make_classifier

LOSSLESS = {"qp": "0", "preset": "ultrafast"}


class Brightness(nn.Module):
    """Predicts class 1 for bright pictures, and 2 for dark ones with a bright left column."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = images.mean(dim=(1, 2, 3)) - 0.5
        left = (images[..., 0].mean(dim=(1, 2)) > 0.7) & (bright < -0.2)
        return torch.stack([-bright, bright, 10.0 * left - 5], dim=1)


def video(path: Path, values: list[int], size: tuple[int, int] = (34, 34)) -> Path:
    frames = torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    encode_video(frames.expand(-1, 3, *size).contiguous(), path, LOSSLESS)
    return path


def brightness() -> Classifier:
    return dataclasses.replace(make_classifier("bright"), module=Brightness(), classes=3)


def test_flips_along_a_video_are_counted(tmp_path: Path) -> None:
    file = video(tmp_path / "a.mp4", [10, 20, 240, 240, 10, 10])
    found = measure_stability([brightness()], file)
    assert found.frames["top1"].tolist() == [0, 0, 1, 1, 0, 0]
    assert found.frames["changed"].tolist()[1:] == [0, 1, 0, 1, 0]
    assert pd.isna(found.frames["changed"][0])
    assert found.frames["seconds"].tolist() == [0, 1, 2, 3, 4, 5]
    row = found.summary.iloc[0]
    assert (row["frames"], row["classes"], row["flip_probability"]) == (6, 2, 2 / 5)
    assert row["shift_flip_probability"] == 0
    assert not found.cut
    # as in a forward pass of the frames without a shift
    dark = torch.full((1, 3, 32, 32), 10 / 255)
    expected = Brightness()(dark).softmax(1).max()
    assert found.frames["probability"][0] == pytest.approx(float(expected), abs=0.01)


def test_shifts_of_one_pixel_are_compared_with_the_frame(tmp_path: Path) -> None:
    # column 2 is bright: it is the left column only after a shift of one pixel to the right
    frames = torch.zeros(2, 3, 34, 34, dtype=torch.uint8)
    frames[0, ..., 2] = 255
    encode_video(frames, tmp_path / "a.mp4", LOSSLESS)
    found = measure_stability([brightness()], tmp_path / "a.mp4")
    assert found.frames["shifts_changed"].tolist() == [1 / 4, 0]
    assert found.summary["shift_flip_probability"].tolist() == [1 / 8]


def test_frames_are_resized_cropped_and_chosen(tmp_path: Path) -> None:
    frames = torch.zeros(5, 3, 40, 80, dtype=torch.uint8)
    frames[..., 20:60] = 200
    frames[3] = 90
    encode_video(frames, tmp_path / "a.mp4", LOSSLESS)
    clip = read_clip(tmp_path / "a.mp4", 20, 20, limit=2, every=3)
    assert clip.frames.shape == (2, 3, 20, 20)
    assert clip.seconds == [0, 3]
    assert not clip.cut
    middle = clip.frames[0, :, 3:-3, 3:-3].float()
    assert (middle - 200).abs().max() < 4
    assert (clip.frames[1].float() - 90).abs().max() < 4
    assert read_clip(tmp_path / "a.mp4", 20, 20, limit=4).cut
    assert not read_clip(tmp_path / "a.mp4", 20, 20, limit=5).cut


def test_the_command_writes_tables_and_strips(tmp_path: Path) -> None:
    file = video(tmp_path / "a.mp4", [10, 240, 10], (50, 40))
    arguments = ["stability", str(file), "-m", "digits:resnet@lpf3-seed0", "-o", f"{tmp_path}/out"]
    arguments += ["-m", "digits:resnet@baseline-seed0", "--limit", "2"]
    result = CliRunner().invoke(commands, arguments, catch_exceptions=False, standalone_mode=False)
    assert "has more frames; these are the first 2 of those chosen" in result.output
    frames = pd.read_csv(tmp_path / "out" / "frames.csv")
    assert frames.groupby("model")["frame"].agg(list).tolist() == [[0, 1], [0, 1]]
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert summary["flip_probability"].isin([0, 1]).all()
    for name in ("strips.png", "strips.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 1000


def test_a_bad_video_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no video .*none\.mp4; check the path"):
        read_clip(tmp_path / "none.mp4", 8, 8, 1)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UnknownName, match=r"unknown suffix of the video .*'\.txt'"):
        read_clip(tmp_path / "a.txt", 8, 8, 1)
    (tmp_path / "a.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(DatasetError, match=r"a\.mp4 cannot be decoded"):
        read_clip(tmp_path / "a.mp4", 8, 8, 1)
    with pytest.raises(UsageError, match="every"):
        measure_stability(["digits:resnet"], tmp_path / "a.mp4", every=0)


def test_classes_of_imagenet_have_names() -> None:
    assert class_names(1000)[281] == "tabby"
    assert class_names(3) == ["0", "1", "2"]
