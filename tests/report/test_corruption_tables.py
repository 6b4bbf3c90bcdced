"""Tables and plots of errors by corruption, for unusual data sets."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from PIL import Image

import robustbench_aa as rb
from robustbench_aa.report.cell_tables import one_clean
from tests.conftest import Linear, make_classifier


def test_curves_begin_with_the_clean_images_of_their_own_data_set(tmp_path: Path) -> None:
    model, chosen = make_classifier("a"), {"corruptions": ["clean", "fog"], "limit": 20}
    run = rb.benchmark([model], ["digits"], tmp_path, limit=5)
    run = rb.benchmark([model], ["digits-c"], tmp_path, **chosen)  # type: ignore[arg-type]
    run.report()
    table = run.table("corruptions")
    clean = table.query("severity == 0").set_index("dataset")["error"]
    assert clean["digits"] != clean["digits-c"]
    found = one_clean(table)
    assert found.query("severity == 0")["error"].tolist() == [clean["digits-c"]]
    assert len(found) == len(table) - 1
    alone = one_clean(table.query("dataset == 'digits' or severity > 0"))
    assert alone.query("severity == 0")["error"].tolist() == [clean["digits"]]


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
