"""Identities of models and data, and the provenance that a run records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.evaluation.identity import decoded_sha256, model_identity
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier


def test_a_models_identity_changes_with_everything_its_predictions_depend_on() -> None:
    other = Preprocessing(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    identities = [
        model_identity(make_classifier("a")),
        model_identity(make_classifier("a", seed=1)),
        model_identity(make_classifier("a", preprocessing=other)),
    ]
    assert len({str(identity) for identity in identities}) == 3
    assert model_identity(make_classifier("a")) == identities[0]


def photographs(folder: Path, *levels: int) -> Path:
    (folder / "0").mkdir(parents=True)
    for place, level in enumerate(levels):
        picture = Image.fromarray(np.full((260, 260, 3), level, np.uint8))
        picture.save(folder / "0" / f"{place}.png")
    return folder


def decoded(folder: Path) -> str:
    return decoded_sha256(open_dataset("image-folder", Request(data_dir=str(folder))))


def test_decoded_pictures_are_identified_by_their_pixels(tmp_path: Path) -> None:
    one = decoded(photographs(tmp_path / "one", 1, 2, 3, 4))
    assert one == decoded(photographs(tmp_path / "same", 1, 2, 3, 4))
    # the first, the middle and the last of four
    assert one == decoded(photographs(tmp_path / "second", 1, 9, 3, 4))
    for place, levels in enumerate([(9, 2, 3, 4), (1, 2, 9, 4), (1, 2, 3, 9)]):
        assert one != decoded(photographs(tmp_path / str(place), *levels))


def test_a_picture_that_cannot_be_read_is_left_to_the_evaluation(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "val", 1, 2, 3)
    (folder / "0" / "1.png").write_text("no picture")
    model = make_classifier("a", input_size=224, classes=1)
    suite = Suite([model], ["image-folder"], data_dir=str(folder))
    (failure,) = prepare(suite, tmp_path / "run", "cpu").run().failures
    assert "1.png cannot be read" in failure.cause
    manifest = Manifest.read(tmp_path / "run")
    assert manifest is not None
    assert manifest.decoded == {"image-folder": ""}


def test_run_json_records_the_command_and_the_environment(tmp_path: Path) -> None:
    suite = Suite([make_classifier("a")], ["digits"], limit=3)
    torch.backends.cudnn.allow_tf32 = True
    prepare(suite, tmp_path, "cpu", "robustbench-aa evaluate").run()
    manifest = Manifest.read(tmp_path)
    assert manifest is not None
    assert manifest.command == "robustbench-aa evaluate"
    assert manifest.environment["cudnn_tf32"] == "False"
    assert manifest.decoded == {"digits": decoded_sha256(open_dataset("digits", Request(limit=3)))}
    prepare(suite, tmp_path, "cpu").run()
    manifest = Manifest.read(tmp_path)
    assert manifest is not None
    assert manifest.command is None
