from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_aa import types
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.errors import RunError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.store.manifest import Manifest, decoded_sha256, environment
from robustbench_aa.store.schema import with_kinds
from robustbench_aa.suite import Suite
from robustbench_aa.types import Distortion
from tests.conftest import make_classifier

HERE = Path("runs/x")


CLEAN = {"kind": "clean", "name": "clean", "severity": None, "frames": 1} | {
    "group": "clean",
    "role": "counted",
    "compared_with": "previous",
    "version": None,
    "source": "",
}
DIGITS = {"sha256": "2", "images": 10, "classes": 10, "size": 32, "geometry": "as they are"} | {
    "collection": "digits",
    "pixels": "torch",
    "labels": {"rule": "stored", "present": 10},
    "distortions": [CLEAN],
}


def manifest(**changes: object) -> Manifest:
    given = {
        "suite": "digits",
        "baseline": "a",
        "seed": 0,
        "shard_size": 10,
        "models": {"a": {"weights_sha256": "1", "classes": 10, "parameters": 5}},
        "datasets": {"digits": DIGITS},
        "environment": {"torch": "2"},
    }
    return Manifest(**(given | changes))  # type: ignore[arg-type]


def test_it_survives_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(manifest().to_json())
    assert Manifest.read(tmp_path) == manifest()
    assert Manifest.read(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("family", "cell"),
    [
        ("clean", types.CLEAN),
        ("noise", Distortion("corruption", "shot_noise", 1, group="noise", role="counted")),
        ("extra", Distortion("corruption", "spatter", 2, group="extra", role="holdout")),
        ("extra", Distortion("corruption", "mine", 2, group="extra", role="other")),
        ("perturbation", Distortion("perturbation", "tilt", group="perturbation")),
        (
            "perturbation_extra",
            Distortion("perturbation", "shear", group="perturbation_extra", role="holdout"),
        ),
        ("shift", Distortion("shift", "crops")),
    ],
    ids=str,
)
def test_a_run_json_with_families_is_read_as_one_of_today(family: str, cell: Distortion) -> None:
    today = asdict(cell) | {"frames": 2}
    earlier = {key: today[key] for key in today if key not in ("kind", "group", "role")}
    content = {"datasets": {"a": {"distortions": [earlier | {"family": family}]}}}
    assert with_kinds(content) == {"datasets": {"a": {"distortions": [today]}}}


def test_a_run_json_with_families_can_be_continued(tmp_path: Path) -> None:
    content = json.loads(manifest().to_json())
    for entry in content["datasets"]["digits"]["distortions"]:
        entry["family"] = entry.pop("kind")
        del entry["group"], entry["role"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    earlier = Manifest.read(tmp_path)
    assert earlier == manifest()
    assert manifest().joined(earlier, HERE) == manifest()


def test_a_corruption_cannot_claim_a_role_in_published_means(tmp_path: Path) -> None:
    mine = asdict(Distortion("corruption", "mine", 1, role="counted")) | {"frames": 1}
    datasets = {"digits": {**DIGITS, "distortions": [mine]}}
    (tmp_path / "run.json").write_text(manifest(datasets=datasets).to_json())
    with pytest.raises(RunError, match="mine/1 with the role counted, which cannot be"):
        Manifest.read(tmp_path)


def test_a_continued_run_keeps_what_was_there() -> None:
    more = manifest(
        suite=None,
        baseline=None,
        models={"b": {}},
        datasets={"digits-c": {}},
        environment={"torch": "3"},
        decoded={"digits-c": "4"},
        command="robustbench-aa evaluate",
    ).joined(manifest(decoded={"digits": "3"}, command="robustbench-aa benchmark"), HERE)
    assert list(more.models) == ["a", "b"]
    assert list(more.datasets) == ["digits", "digits-c"]
    assert (more.suite, more.baseline, more.environment) == ("digits", "a", {"torch": "3"})
    assert more.decoded == {"digits": "3", "digits-c": "4"}
    assert more.command == "robustbench-aa evaluate"
    assert manifest().joined(more, HERE).command is None


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"suite": "other"}, "belongs to suite 'digits', not 'other'"),
        ({"seed": 1}, "was made with seed 0, not 1"),
        ({"keep_ranking": True}, "was made without --keep-ranking"),
        ({"shard_size": 20}, "was made with shards of 10 images, not 20"),
        (
            {"models": {"a": {"weights_sha256": "9", "classes": 10, "parameters": 5}}},
            "holds predictions of a with another weights_sha256",
        ),
        (
            {"datasets": {"digits": DIGITS | {"sha256": "9"}}},
            "holds predictions of digits with another sha256",
        ),
        (
            {"models": {"a": {"classes": 10, "parameters": 5}}},
            "holds predictions of a with another weights_sha256",
        ),
    ],
)
def test_a_run_that_contradicts_is_refused_with_the_way_out(
    changes: dict[str, object], told: str
) -> None:
    with pytest.raises(RunError, match=f"runs/x {told}; choose another --output-dir"):
        manifest(**changes).joined(manifest(), HERE)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 2}', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is not readable"):
        Manifest.read(tmp_path)


def test_another_version_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="has schema 99 and this version writes 2"):
        Manifest.read(tmp_path)


def test_a_models_identity_changes_with_whatever_moves_its_predictions() -> None:
    from robustbench_aa.store.manifest import model_identity
    from robustbench_aa.types import Preprocessing

    other = Preprocessing(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    identities = [
        model_identity(make_classifier("a")),
        model_identity(make_classifier("a", seed=1)),
        model_identity(make_classifier("a", preprocessing=other)),
    ]
    assert len({str(identity) for identity in identities}) == 3
    assert model_identity(make_classifier("a")) == identities[0]


def test_a_file_of_before_there_were_commands_is_read(tmp_path: Path) -> None:
    content = json.loads(manifest().to_json())
    for key in ("decoded", "command"):
        del content[key]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert Manifest.read(tmp_path) == manifest()


def test_the_environment_names_versions_decoders_hardware_and_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import av
    import PIL
    import torchvision

    told = environment("cpu")
    assert all(isinstance(value, str) for value in told.values())
    assert told["pillow"] == PIL.__version__
    assert told["av"] == av.__version__
    assert torchvision.__version__.startswith(told["torchvision"])
    assert told["imagecorruptions"]
    assert told["libjpeg"].startswith(("libjpeg-turbo ", "libjpeg "))
    assert told["libavcodec"].count(".") == 2
    assert (told["device"], told["gpu"]) == ("cpu", "")
    assert told["cpu"]
    precision = ("float32_matmul_precision", "matmul_tf32", "cudnn_tf32")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        told = environment("cpu")
    finally:
        torch.set_float32_matmul_precision(before)
    assert [told[flag] for flag in precision] == ["high", "True", "True"]


def test_precision_that_torch_does_not_tell_is_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("you have used mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    assert environment("cpu")["float32_matmul_precision"] == "unclear"


def photographs(folder: Path, *levels: int) -> Path:
    (folder / "0").mkdir(parents=True)
    for place, level in enumerate(levels):
        picture = Image.fromarray(np.full((260, 260, 3), level, np.uint8))
        picture.save(folder / "0" / f"{place}.png")
    return folder


def decoded(folder: Path) -> str:
    return decoded_sha256(open_dataset("image-folder", Request(data_dir=str(folder))))


def test_decoded_pictures_are_told_by_their_pixels(tmp_path: Path) -> None:
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
    told = Manifest.read(tmp_path / "run")
    assert told is not None
    assert told.decoded == {"image-folder": ""}


def test_run_json_tells_how_the_session_was_started_and_carried_out(tmp_path: Path) -> None:
    suite = Suite([make_classifier("a")], ["digits"], limit=3)
    torch.backends.cudnn.allow_tf32 = True
    prepare(suite, tmp_path, "cpu", "robustbench-aa evaluate").run()
    told = Manifest.read(tmp_path)
    assert told is not None
    assert told.command == "robustbench-aa evaluate"
    assert told.environment["cudnn_tf32"] == "False"
    assert told.decoded == {"digits": decoded_sha256(open_dataset("digits", Request(limit=3)))}
    prepare(suite, tmp_path, "cpu").run()
    told = Manifest.read(tmp_path)
    assert told is not None
    assert told.command is None


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ETIMEDOUT])
def test_a_file_that_cannot_be_read_now_is_not_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "run.json").write_text(manifest().to_json())

    def refuse(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(RunError, match=r"cannot be read now .* the same command continues") as told:
        Manifest.read(tmp_path)
    assert "delete" not in str(told.value)
