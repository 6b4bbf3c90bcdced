"""Lists of images: exactly these are evaluated."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

import robustbench_aa as rb
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets.image_lists import PUBLISHED, read_image_list
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.errors import RunError, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.evaluation.sources import compare_sources
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.datasets.test_natural_shifts import make_model

FOG = {"corruptions": ["fog"], "severities": [3]}
CLASSES = (wnids()[0], wnids()[7])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs each of two classes, and one corruption of them, as other files."""
    root = tmp_path_factory.mktemp("photographs")
    for place, wnid in enumerate(CLASSES):
        for number in range(3):
            pixels = np.random.default_rng(10 * place + number).integers(
                256, size=(9, 9, 3), dtype=np.uint8
            )
            (root / "imagenet" / "val" / wnid).mkdir(parents=True, exist_ok=True)
            small = Image.fromarray(pixels)
            small.save(root / "imagenet" / "val" / wnid / f"{number}.JPEG", "PNG")
            stored = root / "imagenet-c" / "fog" / "3" / wnid
            stored.mkdir(parents=True, exist_ok=True)
            small.resize((224, 224)).save(stored / f"{number}.png")
    return root


def listed(path: Path, *names: str) -> str:
    path.write_text("\n".join(names))
    return str(path)


def measure(folder: Path, output: Path, *datasets: Any, **options: Any) -> Run:
    suite = Suite([make_model("a")], datasets, data_dir=str(folder), **options)
    return prepare(suite, output, "cpu").run()


def predictions(output: Path, dataset: str) -> pd.DataFrame:
    return pd.read_parquet(output / "predictions" / "a" / dataset).set_index("image")


def test_exactly_the_listed_images_are_measured_with_the_same_pixels(
    folder: Path, tmp_path: Path
) -> None:
    images = listed(tmp_path / "list.txt", f"val/{CLASSES[1]}/0.JPEG", "", f"{CLASSES[0]}/2.JPEG ")
    live = {"name": "imagenet-c-live", **FOG}
    run = measure(folder, tmp_path / "part", live, images=images)
    measure(folder, tmp_path / "whole", live)
    assert run.leaderboard()["images"].tolist() == [2]
    part = predictions(tmp_path / "part", "imagenet-c-live")
    assert sorted(part.index) == [2, 3]
    everything = predictions(tmp_path / "whole", "imagenet-c-live")
    pd.testing.assert_frame_equal(part.sort_index(), everything.loc[[2, 3]])
    assert sorted(set(everything.index)) == list(range(6))
    names = sorted([f"{CLASSES[1]}/0.JPEG", f"{CLASSES[0]}/2.JPEG"])
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    described = json.loads((tmp_path / "part" / "run.json").read_text())["datasets"]
    assert described["imagenet-c-live"]["image_list_sha256"] == digest
    note = f"image lists: 2 images of imagenet-c-live by the list {digest[:12]}"
    assert note in run.tables().notes


def test_the_order_of_a_list_does_not_matter_and_another_list_is_another_data_set(
    folder: Path, tmp_path: Path
) -> None:
    names = [f"{wnid}/1.JPEG" for wnid in CLASSES]
    measure(folder, tmp_path / "run", "image-folder", images=listed(tmp_path / "a", *names))
    again = listed(tmp_path / "b", *reversed(names))
    suite = Suite([make_model("a")], ["image-folder"], data_dir=str(folder), images=again)
    assert prepare(suite, tmp_path / "run", "cpu").work == []
    other = listed(tmp_path / "c", names[0])
    with pytest.raises(RunError, match="image-folder"):
        measure(folder, tmp_path / "run", "image-folder", images=other)


def test_stored_files_may_have_another_suffix_and_a_data_set_a_list_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    images = listed(tmp_path / "list.txt", f"{CLASSES[0]}/1.JPEG")
    measure(
        folder,
        tmp_path / "run",
        {"name": "imagenet-c", "images": images, **FOG},
        "image-folder",
    )
    assert predictions(tmp_path / "run", "imagenet-c").index.tolist() == [1]
    assert len(predictions(tmp_path / "run", "image-folder")) == 6


def test_a_limit_is_spread_over_the_list(folder: Path, tmp_path: Path) -> None:
    names = [f"{wnid}/{number}.JPEG" for wnid in CLASSES for number in (0, 2)]
    images = listed(tmp_path / "list.txt", *names)
    measure(folder, tmp_path / "run", "image-folder", images=images, limit=2)
    assert predictions(tmp_path / "run", "image-folder").index.tolist() == [0, 3]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "lists no images; write one CLASS/NAME a line"),
        (["0.JPEG"], r"line 1: '0\.JPEG' is not CLASS/NAME, such as n01440764/"),
        (["../0.JPEG"], r"line 1: '\.\./0\.JPEG' is not CLASS/NAME"),
        (["a/0.png", "", "x/a/0.png"], r"line 3: a/0\.png is also on line 1"),
    ],
)
def test_a_wrong_list_is_refused_by_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_image_list(listed(tmp_path / "list.txt", *lines))


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the list .*gone.*; check --images"):
        read_image_list(tmp_path / "gone")


def test_images_that_a_data_set_lacks_are_named_before_anything_is_written(
    folder: Path, tmp_path: Path
) -> None:
    images = listed(tmp_path / "list.txt", f"{CLASSES[0]}/1.JPEG", "n0/7.JPEG", "n0/8.JPEG")
    with pytest.raises(UsageError, match=r"n0/7\.JPEG and 1 more, which image-folder does not"):
        measure(folder, tmp_path / "run", "image-folder", images=images)
    with pytest.raises(UsageError, match="data set digits-c has no images by name"):
        measure(folder, tmp_path / "run", "digits-c", images=images)
    with pytest.raises(UsageError, match="data set digits has no images by name"):
        rb.benchmark(["digits:resnet@lpf3"], ["digits"], tmp_path / "run", images=Path(images))
    assert not (tmp_path / "run").exists()


def test_names_that_are_not_one_image_each_are_refused(tmp_path: Path) -> None:
    files = [Path("n0/a.png"), Path("n0/b.png"), Path("n0/b.JPEG")]
    one = read_image_list(listed(tmp_path / "one", "n0/a.png", "n0/a.JPEG"))
    with pytest.raises(UsageError, match=r"n0/a\.JPEG and n0/a\.png in .* the same image of mine"):
        one.positions("mine", files)
    two = read_image_list(listed(tmp_path / "two", "n0/b.bmp"))
    with pytest.raises(UsageError, match=r"n0/b\.bmp in .* stands for 2 images of mine"):
        two.positions("mine", files)
    exact = read_image_list(listed(tmp_path / "exact", "n0/b.JPEG"))
    assert exact.positions("mine", files).tolist() == [2]


def test_pictures_without_a_label_may_be_listed(folder: Path, tmp_path: Path) -> None:
    val = tmp_path / "val" / CLASSES[0]
    val.mkdir(parents=True)
    names = [f"ILSVRC2012_val_0000000{number}.JPEG" for number in (1, 2, 3)]
    for name in names:
        Image.new("RGB", (9, 9)).save(val / name, "PNG")
    (tmp_path / "real.json").write_text(json.dumps([[], [5], []] + [[0]] * 49_997))
    images = listed(tmp_path / "list.txt", *(f"{CLASSES[0]}/{name}" for name in names[:2]))
    run = measure(tmp_path / "val", tmp_path / "run", "imagenet-real", images=images)
    row = run.table("natural_shifts").loc[0]
    assert (row["images"], row["images_left_out"]) == (1, 1)


def test_a_deep_check_needs_the_list_of_the_run(folder: Path, tmp_path: Path) -> None:
    images = listed(tmp_path / "list.txt", f"{CLASSES[1]}/0.JPEG", f"{CLASSES[0]}/2.JPEG")
    measure(folder, tmp_path / "run", "image-folder", images=images)
    _, problems = compare_sources(tmp_path / "run", "image-folder", str(folder), images=images)
    assert problems == []
    with pytest.raises(
        UsageError, match=r"measured the images of .* give the same list by --images"
    ):
        compare_sources(tmp_path / "run", "image-folder", str(folder))


def test_the_option_of_the_command_line(tmp_path: Path) -> None:
    images = listed(tmp_path / "list.txt", "a/b.png")
    words = ["evaluate", "-m", "digits:resnet@lpf3", "-d", "digits", "--images", images]
    found = CliRunner().invoke(commands, [*words, "--output-dir", str(tmp_path / "run")])
    assert isinstance(found.exception, UsageError)
    assert "digits has no images by name" in str(found.exception)


def test_the_published_list_is_pinned() -> None:
    (download,) = PUBLISHED.values()
    assert len(download.digest) == 64
    assert "/main/" not in download.url
    assert "/master/" not in download.url
