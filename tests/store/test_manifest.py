from __future__ import annotations

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest

from robustbench_aa.errors import RunError
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.types import Distortion

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


SHIFT = {
    "severity": None,
    "group": "",
    "compared_with": "previous",
    "version": 1,
    "source": "",
    "frames": 10,
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


def test_a_manifest_is_the_same_after_writing_and_reading(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(manifest().to_json())
    assert Manifest.read(tmp_path) == manifest()
    assert Manifest.read(tmp_path / "nowhere") is None


def test_specifications_are_kept_and_never_compared(tmp_path: Path) -> None:
    named = manifest(specifications={"a": "file:resnet50@a=1.pth"})
    (tmp_path / "run.json").write_text(named.to_json())
    assert Manifest.read(tmp_path) == named
    assert (named.specification("a"), manifest().specification("a")) == (
        "file:resnet50@a=1.pth",
        "a",
    )
    assert named.contradiction(manifest()) is None
    assert manifest().joined(named, HERE) == named
    earlier = json.loads(manifest().to_json())
    del earlier["specifications"]  # as earlier versions wrote it
    (tmp_path / "run.json").write_text(json.dumps(earlier))
    assert Manifest.read(tmp_path) == manifest()


@pytest.mark.parametrize(
    ("specifications", "message"),
    [
        ({"b": "digits:resnet"}, "specifications: 'b' is no model of the run"),
        ({"a": 3}, r"specifications\.a is 3, but"),
        ({"a": "x\x1b[2J"}, "it has characters that cannot be printed"),
        ([], r"specifications is \[\], but"),
    ],
)
def test_wrong_specifications_are_refused(
    tmp_path: Path, specifications: object, message: str
) -> None:
    (tmp_path / "run.json").write_text(manifest(specifications=specifications).to_json())
    with pytest.raises(RunError, match=message):
        Manifest.read(tmp_path)


def test_a_corruption_cannot_claim_a_role_in_published_means(tmp_path: Path) -> None:
    mine = asdict(Distortion("corruption", "mine", 1, role="counted")) | {"frames": 1}
    datasets = {"digits": {**DIGITS, "distortions": [mine]}}
    (tmp_path / "run.json").write_text(manifest(datasets=datasets).to_json())
    with pytest.raises(RunError, match="mine/1 with the role 'counted'"):
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
    ("changes", "message"),
    [
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
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RunError, match=f"runs/x {message}; choose another --output-dir"):
        manifest(**changes).joined(manifest(), HERE)


@pytest.mark.parametrize(
    ("earlier", "later", "joined"),
    [
        (["fog/1"], ["snow/1", "fog/1"], ["fog/1", "snow/1"]),
        (["fog/1"], None, None),
        (None, ["fog/1"], None),
        (None, None, None),
    ],
)
def test_a_run_is_of_everything_that_any_session_asked_for(
    earlier: list[str] | None, later: list[str] | None, joined: list[str] | None
) -> None:
    one, two = (manifest(selected={"digits": cells} if cells else {}) for cells in (earlier, later))
    both = two.joined(one, HERE)
    assert both.selected == ({"digits": joined} if joined else {})
    # the run lacks what this session did not ask for
    assert both.subset == (earlier is None and later is not None)
    assert both.joined(both, HERE) == both


def test_a_data_set_keeps_its_part_beside_a_new_one() -> None:
    one = manifest(selected={"digits": ["clean"]}, limits={"digits": 5})
    two = manifest(datasets={"digits-c": {}}, selected={"digits-c": ["fog/1"]}, limits={})
    both = two.joined(one, HERE)
    assert both.selected == {"digits": ["clean"], "digits-c": ["fog/1"]}
    assert both.limits == {"digits": 5}


def test_a_run_of_several_suites_has_the_names_of_all() -> None:
    both = manifest(suite="other").joined(manifest(), HERE)
    assert both.suite == "digits + other"
    assert both.joined(both, HERE).suite == "digits + other"
    assert manifest().joined(both, HERE).suite == "digits + other"
    assert manifest(suite=None).joined(manifest(suite=None), HERE).suite is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selected": {"digits": ["fog/1"]}}, "selected.digits has 'fog/1', which data set digits"),
        ({"selected": {"digits": []}}, "selected.digits"),
        ({"selected": {"x": ["clean"]}}, "'x' is selected or limited, but not in datasets"),
        ({"limits": {"x": 5}}, "'x' is selected or limited, but not in datasets"),
        ({"limits": {"digits": 0}}, "limits.digits is 0"),
    ],
)
def test_a_selection_of_nothing_in_the_run_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    (tmp_path / "run.json").write_text(manifest(**changes).to_json())
    with pytest.raises(RunError, match=message):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 2}', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is not readable"):
        Manifest.read(tmp_path)


def test_another_version_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="has schema 99, but this version needs 2"):
        Manifest.read(tmp_path)


def test_a_file_without_a_command_is_read(tmp_path: Path) -> None:
    content = json.loads(manifest().to_json())
    for key in ("decoded", "command"):
        del content[key]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert Manifest.read(tmp_path) == manifest()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ETIMEDOUT])
def test_a_temporary_read_error_of_run_json_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "run.json").write_text(manifest().to_json())

    def refuse(*_: object, **__: object) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(
        RunError, match=r"cannot be read now .* run the same command again"
    ) as message:
        Manifest.read(tmp_path)
    assert "delete" not in str(message.value)


def test_a_data_set_without_predictions_leaves_nothing_behind(tmp_path: Path) -> None:
    earlier = manifest(selected={"digits": []}, limits={"digits": 2}, decoded={"digits": "0" * 64})
    rest = earlier.restricted([])
    assert (rest.datasets, rest.selected, rest.limits, rest.decoded) == ({}, {}, {}, {})
    assert rest.models == earlier.models
    assert earlier.restricted(["digits"]) == earlier


def test_hold_outs_that_a_session_named_stay_beside_a_session_without_a_choice() -> None:
    protocols = {"circular": "counted", "neighbours": "holdout", "crops": "holdout"}
    entries = [
        {"kind": "shift", "name": name, "role": role} | SHIFT for name, role in protocols.items()
    ]
    datasets = {"digits": DIGITS | {"distortions": entries}}
    one = manifest(datasets=datasets, selected={"digits": ["shift/neighbours"]})
    two = manifest(datasets=datasets)
    for both in (one.joined(two, HERE), two.joined(one, HERE)):
        assert both.selected == {"digits": ["shift/circular", "shift/neighbours"]}
