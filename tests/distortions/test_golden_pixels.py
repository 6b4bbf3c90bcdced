"""A version of a distortion always makes the same pixels.

At most one level off on at most 0.1% of the values: another processor or another version of torch
may round a value to its neighbour.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from robustbench_aa.distortions import golden as golden_module
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.golden import HASHES, golden_cells, golden_picture, key
from robustbench_aa.distortions.perturbations import TABLES
from tests.distortions.make_golden_pixels import PIXELS, golden, kept_pixels

ROOT = Path(__file__).parents[2]
GOLDEN = list(golden())
BY_NAME = sorted({cell.name for _, cell, _ in GOLDEN})


@pytest.mark.parametrize("name", BY_NAME)
def test_a_version_makes_the_same_pixels(name: str) -> None:
    differences = []
    with np.load(PIXELS) as pixels:
        for title, cell, size in GOLDEN:
            if cell.name != name:
                continue
            assert title in pixels, (
                f"there are no golden pixels of {title}; if its version is new, write them by "
                "python -m tests.distortions.make_golden_pixels"
            )
            found = kept_pixels(cell, size).astype(int)
            differences.append(np.abs(found - pixels[title]).ravel())
    difference = np.concatenate(differences)
    share = (difference > 0).mean()
    assert difference.max() <= 1, f"the pixels of {name} changed: give it a new version"
    assert share <= 0.001, f"{share:.2%} of the pixels of {name} changed: give it a new version"


def test_every_corruption_at_every_severity_has_golden_pixels() -> None:
    at_32 = [cell for _, cell, size in GOLDEN if size == 32]
    assert {(cell.name, cell.severity) for cell in at_32 if cell.severity} == {
        (name, severity) for name in CORRUPTIONS for severity in range(1, 6)
    }
    assert {cell.name for cell in at_32 if cell.severity is None} == set(TABLES[32])
    for size in (64, 224, 299):
        assert {cell.name for _, cell, golden_size in GOLDEN if golden_size == size} == set(
            CORRUPTIONS
        )


def test_the_picture_has_what_distortions_act_on() -> None:
    for size in (32, 224):
        picture = golden_picture(size)
        assert (picture == 0).any()
        assert (picture == 255).any()
        assert len(picture.unique()) > 150
        assert picture.float().std() > 50


def test_a_change_that_moves_pixels_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_module, "golden_picture", lambda size: golden_picture(size) // 2)
    with pytest.raises(AssertionError, match="the pixels of contrast changed: give it a new"):
        test_a_version_makes_the_same_pixels("contrast")


def test_a_new_version_has_an_entry_in_the_changelog() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for cell in golden_cells():
        assert cell.version is not None
        for version in range(2, cell.version + 1):
            assert re.search(rf"`{cell.name}`.* version {version}\b", changelog), key(cell)


def test_hashes_are_of_the_same_distortions() -> None:
    assert set(json.loads(HASHES.read_text())) == {key(cell) for cell in golden_cells()}
