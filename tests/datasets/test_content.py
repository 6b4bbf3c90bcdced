"""Predictions of other pictures than a table names are refused or marked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.content import Digest, of_frames
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.errors import RunError, UnknownName, UsageError
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.evaluation.sources import compare_sources
from robustbench_aa.run import Run
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from robustbench_aa.types import Shard
from tests.conftest import PLAIN, made_elsewhere, make_classifier

CPU = torch.device("cpu")
FOG = ["fog"]


def network(name: str, seed: int = 0, classes: int = 1000) -> Classifier:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, classes))
    return Classifier(module, name=name, input_size=224, classes=classes, preprocessing=PLAIN)


@pytest.fixture
def corrupted(tmp_path: Path) -> Path:
    """Fog at all severities, in files that are all of the same size."""
    root = tmp_path / "c"
    for severity in range(1, 6):
        for place in range(4):
            path = root / "fog" / str(severity) / wnids()[place] / "a.bmp"
            path.parent.mkdir(parents=True)
            level = 10 * severity + place
            Image.new("RGB", (224, 224), (level, 99, level)).save(path)
    return root


def planned(root: Path, run: Path, model: Classifier, **suite: object) -> Session:
    given = {"data_dir": str(root), "corruptions": FOG} | suite
    return prepare(Suite([model], ["imagenet-c"], **given), run, "cpu")  # type: ignore[arg-type]


def evaluated(root: Path, run: Path, model: Classifier, **suite: object) -> Run:
    return planned(root, run, model, **suite).run()


def swap_severities(root: Path, keep_times: bool) -> None:
    """Exchange the pictures of severities 1 and 2."""
    for first in (root / "fog" / "1").rglob("*.bmp"):
        pair = first, root / "fog" / "2" / first.relative_to(root / "fog" / "1")
        contents = [path.read_bytes() for path in pair]
        times = [path.stat().st_mtime_ns for path in pair]
        for path, content, time in zip(pair, reversed(contents), times, strict=True):
            path.write_bytes(content)
            if keep_times:
                os.utime(path, ns=(time, time))


def test_pictures_that_were_swapped_between_two_commands_are_refused(
    corrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"))
    swap_severities(corrupted, keep_times=False)
    for _ in range(2):  # a refusal changes nothing
        with pytest.raises(
            RunError, match=r"the pictures of imagenet-c fog/1, images 0-4, have ch"
        ):
            evaluated(corrupted, run, network("a"))


def test_models_are_not_put_side_by_side_on_different_pictures(
    corrupted: Path, tmp_path: Path
) -> None:
    """The sizes and times of the files stay the same."""
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"))
    swap_severities(corrupted, keep_times=True)
    opened = evaluated(corrupted, run, network("b"))
    with pytest.raises(RunError, match=r"a and b were evaluated on different pictures .* fog/1"):
        opened.tables()


def test_a_deep_verification_finds_pictures_that_changed_unnoticed(
    corrupted: Path, tmp_path: Path
) -> None:
    """The sizes and times of the files stay the same, so that nothing else detects the change."""
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"), shard_size=2)
    table, problems = compare_sources(run, "imagenet-c", str(corrupted))
    assert problems == []
    assert table["cell"].tolist() == [f"fog/{severity}" for severity in range(1, 6)]
    assert (table[["prediction_files", "differ"]] == [2, 0]).all(axis=None)
    swap_severities(corrupted, keep_times=True)
    assert not planned(corrupted, run, network("a"), shard_size=2).work
    table, problems = compare_sources(run, "imagenet-c", str(corrupted))
    assert table["differ"].tolist() == [2, 2, 0, 0, 0]
    file = run / "predictions" / "a" / "imagenet-c" / "fog" / "1" / "0-2.parquet"
    assert problems[0] == (
        f"the images 0-2 of imagenet-c fog/1 are not those that {file} was made from"
    )
    assert len(problems) == 4
    swap_severities(corrupted, keep_times=True)
    assert compare_sources(run, "imagenet-c", str(corrupted))[1] == []


def test_a_deep_verification_compares_the_images_of_a_limit(
    corrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"), limit=2)
    assert compare_sources(run, "imagenet-c", str(corrupted))[1] == []
    next((corrupted / "fog" / "5" / wnids()[2]).iterdir()).write_bytes(b"damaged")
    (problem,) = compare_sources(run, "imagenet-c", str(corrupted))[1]
    assert "images 0-2 of imagenet-c fog/5 cannot be compared with" in problem
    assert "a.bmp cannot be read" in problem
    shutil.rmtree(corrupted / "fog" / "4")
    problems = compare_sources(run, "imagenet-c", str(corrupted))[1]
    assert len(problems) == 2
    assert "there is no" in problems[0]


def test_a_deep_verification_reads_clean_pictures_once(tmp_path: Path) -> None:
    """Folders are numbers that begin at 1; distorted frames come from the same clean files."""
    for place in (1, 2):
        path = tmp_path / "val" / str(place) / "a.bmp"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (224, 224), (place, 2, 3)).save(path)
    model = network("a", classes=2)
    given = {"data_dir": str(tmp_path / "val"), "corruptions": FOG}
    suite = Suite([model], ["imagenet-c-live"], **given)  # type: ignore[arg-type]
    prepare(suite, tmp_path / "run", "cpu").run()
    table, problems = compare_sources(tmp_path / "run", "imagenet-c-live", str(tmp_path / "val"))
    assert (len(table), problems) == (5, [])
    Image.new("RGB", (224, 224), (9, 9, 9)).save(tmp_path / "val" / "2" / "a.bmp")
    table, problems = compare_sources(tmp_path / "run", "imagenet-c-live", str(tmp_path / "val"))
    assert (table["differ"].tolist(), len(problems)) == ([1] * 5, 5)


def test_predictions_without_a_digest_are_named(corrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"), severities=[1])
    made_elsewhere(run / "predictions", sources_sha256="")
    (problem,) = compare_sources(run, "imagenet-c", str(corrupted))[1]
    assert problem.endswith("0-4.parquet does not say which pictures it was made from")


def test_a_deep_verification_of_other_data_is_refused(corrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"))
    with pytest.raises(RunError, match="no run in"):
        compare_sources(tmp_path, "imagenet-c", str(corrupted))
    with pytest.raises(UnknownName, match="data set of the run 'imagenet-p'"):
        compare_sources(run, "imagenet-p", str(corrupted))
    for severity in range(1, 6):
        shutil.rmtree(corrupted / "fog" / str(severity) / wnids()[0])
    with pytest.raises(UsageError, match=r"has 3 images, and .*run measured 4; check --data-dir"):
        compare_sources(run, "imagenet-c", str(corrupted))


def test_files_that_were_only_copied_are_the_same_pictures(corrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"))
    for path in corrupted.rglob("*.bmp"):
        os.utime(path, ns=(1, 1))
    assert not prepare(
        Suite([network("a")], ["imagenet-c"], data_dir=str(corrupted), corruptions=FOG), run, "cpu"
    ).work
    assert not evaluated(corrupted, run, network("b", seed=1)).tables().warnings[1:]


def test_an_array_that_changed_is_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(4), 5))
    np.save(tmp_path / "contrast.npy", random.integers(256, size=(20, 32, 32, 3), dtype=np.uint8))
    suite = Suite(
        [make_classifier("a")], ["cifar10-c"], data_dir=str(tmp_path), corruptions=["contrast"]
    )
    prepare(suite, tmp_path / "run", "cpu").run()
    assert not prepare(suite, tmp_path / "run", "cpu").work
    np.save(tmp_path / "contrast.npy", 255 - np.load(tmp_path / "contrast.npy"))
    with pytest.raises(RunError, match="the pictures of cifar10-c contrast/1, images 0-4, have"):
        prepare(suite, tmp_path / "run", "cpu")


def test_clean_pictures_that_changed_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "val" / wnids()[0] / "a.bmp"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (224, 224), (1, 2, 3)).save(path)
    suite = Suite([network("a")], ["image-folder"], data_dir=str(tmp_path / "val"))
    prepare(suite, tmp_path / "run", "cpu").run()
    Image.new("RGB", (224, 224), (3, 2, 1)).save(path)
    with pytest.raises(RunError, match="the pictures of image-folder clean, images 0-1, have"):
        prepare(suite, tmp_path / "run", "cpu")


def test_a_picture_that_changes_while_it_is_read_is_not_trusted_later(
    corrupted: Path, tmp_path: Path
) -> None:
    """The recorded sizes and times are those from before the reading."""
    model, run = network("a"), tmp_path / "run"
    path = next((corrupted / "fog" / "1").rglob("*.bmp"))
    forward = model.module.forward

    def changing(images: torch.Tensor) -> torch.Tensor:
        Image.new("RGB", (224, 224), (7, 7, 7)).save(path)
        return forward(images)

    model.module.forward = changing
    evaluated(corrupted, run, model, severities=[1])
    with pytest.raises(RunError, match="the pictures of imagenet-c fog/1, images 0-4, have"):
        evaluated(corrupted, run, network("a"), severities=[1])


def test_another_subset_of_a_stored_set_has_another_identity(
    corrupted: Path, tmp_path: Path
) -> None:
    """The shards of the two subsets have the same numbers."""
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"), shard_size=2)
    with pytest.raises(RunError, match="holds predictions of imagenet-c with another"):
        evaluated(corrupted, run, network("a"), shard_size=2, limit=2)
    (run / "run.json").unlink()
    asked = Suite(
        [network("a")],
        ["imagenet-c"],
        data_dir=str(corrupted),
        corruptions=FOG,
        shard_size=2,
        limit=2,
    )
    assert len(prepare(asked, run, "cpu").work) == 5


def test_a_number_of_images_that_was_edited_makes_no_report(
    corrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"), shard_size=2)
    text = (run / "run.json").read_text()
    assert text.count('"images": 4') == 1
    (run / "run.json").write_text(text.replace('"images": 4', '"images": 2'))
    assert Run(run).tables().corruptions["error"].isna().all()


def test_frames_that_differ_by_rounding_cause_a_warning(corrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    evaluated(corrupted, run, network("a"))
    opened = evaluated(corrupted, run, network("b"))
    assert not any("differ by rounding" in warning for warning in opened.tables().warnings)
    made_elsewhere(run / "predictions" / "b", frames_sha256="0" * 64)
    warnings = Run(run).tables().warnings
    assert any("that differ by rounding" in warning for warning in warnings)


@pytest.mark.parametrize("change", [{"batch_size": 1}, {"batch_size": 3}])
def test_the_content_does_not_depend_on_how_it_is_read(
    corrupted: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    def contents(folder: Path, inference: Inference) -> list[object]:
        suite = Suite([network("a")], ["imagenet-c"], data_dir=str(corrupted), corruptions=FOG)
        session = prepare(suite, folder, "cpu")
        session.run(inference)
        store = Store.of_run(folder)
        return [store.content("a", cell, Shard(0, 4)) for cell in session.cells]

    first = contents(tmp_path / "one", Inference())
    assert len({str(digests) for digests in first}) == 5
    assert contents(tmp_path / "two", Inference(**change)) == first


@pytest.mark.parametrize("name", ["digits-c", "digits-p", "digits-shift"])
def test_reading_again_gives_the_digest_of_the_evaluation(name: str) -> None:
    opened = open_dataset(name, Request(limit=7))
    cell, shard = opened.distortions[-1], Shard(2, 7)
    found = Digest()
    for batch in opened.read(cell, shard, 3, CPU):
        found.add_batch(batch)
    assert found.sources == opened.sources(cell, shard)


def changed_frames(frames: torch.Tensor, place: int, level: int) -> torch.Tensor:
    other = frames.clone()
    other.view(-1)[place] = level
    return other


@given(
    st.integers(1, 3),
    st.sampled_from([8, 9, 13]),
    st.integers(0, 10**6),
    st.integers(1, 255),
)
def test_one_pixel_changes_the_digest_of_its_frames(
    count: int, size: int, place: int, by: int
) -> None:
    frames = torch.randint(256, (2, count, 3, size, size), dtype=torch.uint8)
    place %= frames.numel()
    other = changed_frames(frames, place, (int(frames.view(-1)[place]) + by) % 256)
    same = of_frames(frames) == of_frames(other)
    image = place // (frames.numel() // 2)
    assert not same[image]
    assert same[1 - image]


Changed = Callable[[torch.Tensor], torch.Tensor]


@pytest.mark.parametrize(
    "change",
    [lambda image: image.flip(-1), lambda image: image.flip(1), lambda image: image.roll(8, -1)],
)
def test_the_order_of_pixels_is_part_of_the_digest(change: Changed) -> None:
    frames = torch.randint(256, (1, 3, 3, 32, 32), dtype=torch.uint8)
    assert of_frames(frames) != of_frames(change(frames))
