"""Sequences in video files."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.cli.data import make_imagenet_p
from robustbench_aa.datasets import Request, open_dataset, verify_dataset
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.make_imagenet_p import encoder_options
from robustbench_aa.datasets.videos import decode_video, encode_video
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import DatasetError, UnknownName, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.store.environment import environment
from robustbench_aa.suite import Suite
from robustbench_aa.types import Distortion, Shard
from tests.conftest import PLAIN

CPU = torch.device("cpu")
TILT = Distortion("perturbation", "tilt")
COUNTED = [
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness"),
    *("translate", "rotate", "tilt", "scale"),
]


def sequence(seed: int, frames: int = 4, size: int = 224) -> torch.Tensor:
    """A smooth picture that grows darker."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    picture = torch.nn.functional.interpolate(small, (size, size), mode="bicubic").clamp(0, 255)
    return torch.cat([picture * (1 - 0.1 * frame) for frame in range(frames)]).byte()


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """ImageNet-P of four sequences of four frames; translate has six."""
    root = tmp_path / "p"
    for name in COUNTED:
        for place in range(4):
            video = root / name / wnids()[place // 2] / f"{place}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            encode_video(sequence(place, 6 if name == "translate" else 4), video, {"crf": "10"})
    return root


def test_sequences_are_read_as_opencv_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    frames = sequence(0, 31)
    encode_video(frames, path, {"preset": "veryslow", "crf": "20"})
    found = decode_video(path, 224).permute(0, 2, 3, 1).numpy().astype(int)
    capture = cv2.VideoCapture(str(path))
    theirs = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB) for _ in range(31)]
    assert np.abs(found - np.stack(theirs)).mean() <= 1
    assert np.abs(found - frames.permute(0, 2, 3, 1).numpy()).mean() < 4


def test_the_released_layout_is_found_by_listing(released: Path) -> None:
    (released / "family").mkdir()
    (released / "tilt").rename(released / "family" / "tilt")
    dataset = open_dataset("imagenet-p", Request(data_dir=str(released)))
    assert [cell.name for cell in dataset.distortions] == COUNTED
    assert not dataset.missing
    assert (dataset.images, dataset.classes, dataset.size) == (4, 1000, 224)
    assert dataset.frames(TILT) == 4
    assert dataset.frames(Distortion("perturbation", "translate")) == 6
    batches = list(dataset.read(TILT, Shard(0, 4), 9, CPU))
    assert [len(batch.index) for batch in batches] == [2, 2]
    assert np.concatenate([batch.label for batch in batches]).tolist() == [0, 0, 1, 1]
    found = torch.cat([batch.frames for batch in batches])
    expected = torch.stack([sequence(place) for place in range(4)])
    assert (found.float() - expected.float()).abs().mean() < 3


def test_absent_perturbations_are_missing(released: Path) -> None:
    (released / "tilt").rename(released / "shear")
    dataset = open_dataset("imagenet-p", Request(data_dir=str(released)))
    assert list(dataset.missing) == [TILT]
    assert {cell.name for cell in dataset.distortions if cell.held_out} == {"shear"}


def linear() -> Classifier:
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 1000))
    return Classifier(module, name="a", input_size=224, classes=1000, preprocessing=PLAIN)


def test_existing_perturbations_are_evaluated(released: Path, tmp_path: Path) -> None:
    (released / "tilt").rename(tmp_path / "tilt")
    names = ["snow", "translate"]
    suite = Suite([linear()], ["imagenet-p"], data_dir=str(released), perturbations=names)
    run = prepare(suite, tmp_path / "run", "cpu").run()
    assert not run.failures
    table = run.tables().perturbations.set_index("perturbation")["flip_probability"]
    assert table.notna().sum() == 2
    assert table[names].notna().all()


def spoiled(kind: str, video: Path) -> None:
    content = video.read_bytes()
    if kind == "cut":
        video.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        video.write_text("no video")
    elif kind == "gone":
        video.unlink()
    elif kind == "sound":
        import av

        with av.open(video, "w") as container:
            stream = container.add_stream("aac", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate = 8000
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
    elif kind == "empty":
        video.write_bytes(b"")
    elif kind == "small":
        encode_video(sequence(0, 4, 64), video, {})
    else:
        encode_video(sequence(0, int(kind)), video, {})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", r"2\.mp4 (cannot be read|has \d frames)"),
        ("text", r"2\.mp4 cannot be read \(.*Invalid data"),
        ("gone", r"2\.mp4 cannot be read \(.*No such file"),
        ("empty", r"2\.mp4 cannot be read \("),
        ("sound", r"2\.mp4 has no video in it; fetch it again"),
        ("small", r"2\.mp4 is 64×64 px, smaller than 224×224; robustbench-aa verify"),
        ("3", r"2\.mp4 has 3 frames, not 4; fetch it again"),
        ("5", r"2\.mp4 has more than 4 frames, not 4; fetch it again"),
    ],
)
def test_an_unreadable_video_is_named_and_empties_its_aggregates(
    released: Path, tmp_path: Path, kind: str, message: str
) -> None:
    spoiled(kind, released / "tilt" / wnids()[1] / "2.mp4")
    dataset = open_dataset("imagenet-p", Request(data_dir=str(released)))
    with pytest.raises(DatasetError, match=message):
        list(dataset.read(TILT, Shard(0, 4), 9, CPU))
    if kind in ("3", "text"):
        suite = Suite([linear()], ["imagenet-p"], data_dir=str(released))
        run = prepare(suite, tmp_path / "run", "cpu").run()
        (failure,) = run.failures
        assert "a failed on imagenet-p tilt, images 0-4: " in str(failure)
        board = run.leaderboard()
        assert not board["complete"].item()
        assert board["mean_flip_probability"].isna().all()
        table = run.tables().perturbations.set_index("perturbation")["flip_probability"]
        assert table.isna().sum() == 1
        assert np.isnan(table["tilt"])


@pytest.mark.parametrize("batch_size", [1, 99])
def test_all_bad_videos_are_named(released: Path, batch_size: int) -> None:
    for place in (0, 1):
        spoiled("text", released / "tilt" / wnids()[0] / f"{place}.mp4")
    with pytest.raises(DatasetError, match=r"0\.mp4 cannot be read"):
        open_dataset("imagenet-p", Request(data_dir=str(released)))
    for place in (0, 1):
        encode_video(sequence(place), released / "tilt" / wnids()[0] / f"{place}.mp4", {})
    for place in (2, 3):
        spoiled("text", released / "tilt" / wnids()[1] / f"{place}.mp4")
    dataset = open_dataset("imagenet-p", Request(data_dir=str(released)))
    with pytest.raises(DatasetError, match=r"2 files .*2\.mp4 cannot.*3\.mp4 cannot.*verify"):
        list(dataset.read(TILT, Shard(0, 4), batch_size, CPU))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no <perturbation> folders in .*; check --data-dir"):
        open_dataset("imagenet-p", Request(data_dir=str(tmp_path)))


def photographs(folder: Path) -> Path:
    for place in range(3):
        picture = sequence(place, 1, 260)[0].permute(1, 2, 0).numpy()
        (folder / wnids()[place]).mkdir(parents=True)
        Image.fromarray(picture).save(folder / wnids()[place] / f"{place}.JPEG", quality=95)
    return folder


def make(source: Path, to: Path, *arguments: str) -> Result:
    how = ["--source", str(source), "--output-dir", str(to), *arguments]
    return CliRunner().invoke(make_imagenet_p, how, catch_exceptions=False)


def test_written_videos_can_be_read(tmp_path: Path) -> None:
    source, to = photographs(tmp_path / "val"), tmp_path / "p"
    names = ("--perturbation", "brightness", "--perturbation", "translate")
    assert "6 sequences written" in make(source, to, *names).output
    assert "0 sequences written" in make(source, to, *names).output
    lost = to / "brightness" / wnids()[1] / "1.mp4"
    content = decode_video(lost, 224).float()
    lost.unlink()
    assert "1 sequences written" in make(source, to, *names).output
    assert (decode_video(lost, 224, 31) - content).abs().mean() < 2
    stored = open_dataset("imagenet-p", Request(data_dir=str(to)))
    live = open_dataset("imagenet-p-live", Request(data_dir=str(source)))
    for name, frames in (("brightness", 31), ("translate", 41)):
        cell = Distortion("perturbation", name)
        assert stored.frames(cell) == live.frames(cell) == frames
        (one,) = stored.read(cell, Shard(0, 3), 200, CPU)
        (other,) = live.read(cell, Shard(0, 3), 200, CPU)
        assert one.label.tolist() == other.label.tolist() == [0, 1, 2]
        assert (one.frames.float() - other.frames.float()).abs().mean() < 3
    with pytest.raises(UsageError, match="made of other photographs, with another seed"):
        make(source, to, "--seed", "1")
    with pytest.raises(UnknownName, match="unknown perturbation 'tild'; did you mean tilt"):
        make(source, to, "--perturbation", "tild")


# as make_imagenet_p.py and make_cifar_p.py of github hendrycks/robustness call FFmpeg
GRAIN = {"preset": "veryslow", "tune": "grain"}
QUALITY = {"preset": "veryslow", "crf": "20"}
AS_THE_SCRIPT = {
    **dict.fromkeys(["gaussian_noise", "gaussian_noise_2", "gaussian_noise_3"], GRAIN),
    **dict.fromkeys(["shot_noise", "shot_noise_2", "shot_noise_3"], GRAIN),
    **dict.fromkeys(["speckle_noise", "speckle_noise_2", "speckle_noise_3"], GRAIN),
    **dict.fromkeys(["motion_blur", "zoom_blur", "snow", "brightness"], QUALITY),
    **dict.fromkeys(["translate", "rotate", "tilt", "scale"], QUALITY),
    **dict.fromkeys(["gaussian_blur", "spatter", "shear"], QUALITY),
}


def test_videos_are_encoded_as_the_script_does(tmp_path: Path) -> None:
    cells = {cell.name: cell for cell in perturbations_at(224)}
    assert {name: encoder_options(cell) for name, cell in cells.items()} == AS_THE_SCRIPT
    source = photographs(tmp_path / "val")
    make(source, tmp_path / "p", "--perturbation", "brightness")
    video = tmp_path / "p" / "brightness" / wnids()[0] / "0.mp4"
    with av.open(video) as container:
        stream = container.streams.video[0]
        # FFmpeg keeps whole chroma of RGB pictures, for which the script names no format
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv444p")
        assert (stream.average_rate, stream.frames) == (1, 31)
        assert (stream.width, stream.height) == (224, 224)


def test_both_kinds_of_chroma_are_read(tmp_path: Path) -> None:
    frames = sequence(0, 4)
    errors = {}
    for kind in ("yuv444p", "yuv420p"):
        encode_video(frames, tmp_path / f"{kind}.mp4", {"crf": "1"}, kind)
        found = decode_video(tmp_path / f"{kind}.mp4", 224, 4)
        assert found.shape == frames.shape
        errors[kind] = (found.float() - frames.float()).abs().mean().item()
    assert errors["yuv444p"] < 3
    assert errors["yuv420p"] < 15


def test_faint_noise_survives_a_video(tmp_path: Path) -> None:
    """Colour noise is mostly lost if the chroma has half the resolution."""
    clean = torch.full((3, 224, 224), 128.0)
    noise = torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(0)) * 8
    frames = (clean + noise).clamp(0, 255).byte()

    def colour(pictures: torch.Tensor) -> float:
        return (pictures - pictures.mean(1, keepdim=True)).std().item()

    left = {}
    for kind in ("yuv444p", "yuv420p"):
        encode_video(frames, tmp_path / f"{kind}.mp4", GRAIN, kind)
        found = decode_video(tmp_path / f"{kind}.mp4", 224, 5)
        left[kind] = colour(found.float()) / colour(clean + noise)
    assert left["yuv444p"] > 0.85
    assert left["yuv420p"] < 0.45


def test_without_pyav_the_extra_is_named_before_anything_is_read(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    named = r"video needs av \(.*\); pip install 'robustbench-aa\[video\]'"
    with pytest.raises(UsageError, match=named):
        open_dataset("imagenet-p", Request(data_dir=str(released)))
    with pytest.raises(UsageError, match=named):
        verify_dataset("imagenet-p", released)
    with pytest.raises(UsageError, match=named):
        make(tmp_path / "nowhere", tmp_path / "made")
    assert not (tmp_path / "made").exists()
    assert environment("cpu")["libavcodec"] == "not installed"
    assert open_dataset("digits-p").distortions
