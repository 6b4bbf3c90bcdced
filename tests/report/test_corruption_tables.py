"""Tables and plots of errors by corruption, for unusual data sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PIL import Image

import robustbench_aa as rb
from tests.conftest import Linear, make_classifier


def test_clean_images_of_two_data_sets_are_reported(tmp_path: Path) -> None:
    models, datasets = [make_classifier("a")], ["digits", "digits-c"]
    run = rb.benchmark(models, datasets, tmp_path, limit=3, corruptions=["clean", "fog"])
    run.report()
    clean = run.table("corruptions").query("severity == 0")
    assert clean["dataset"].tolist() == datasets


def test_a_corruption_may_have_spaces_in_its_name(tmp_path: Path) -> None:
    for severity in range(1, 6):
        for label in "12":  # like severities
            folder = tmp_path / "own" / "salt and pepper" / str(severity) / label
            folder.mkdir(parents=True)
            Image.effect_noise((224, 224), 50).convert("RGB").save(folder / "a.png")
    model = dataclasses.replace(
        make_classifier("a"), module=Linear(0, 224, 2), input_size=224, classes=2
    )
    run = rb.benchmark([model], ["imagenet-c"], tmp_path / "run", data_dir=str(tmp_path / "own"))
    assert run.table("corruption_means")["corruption"].tolist() == ["salt and pepper"]
