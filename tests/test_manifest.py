from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_aa.errors import RunError
from robustbench_aa.manifest import Manifest
from tests.conftest import make_classifier

HERE = Path("runs/x")


def manifest(**changes: object) -> Manifest:
    given = {
        "suite": "digits",
        "baseline": "a",
        "seed": 0,
        "shard_size": 10,
        "models": {"a": {"weights_sha256": "1", "classes": 10}},
        "datasets": {"digits": {"sha256": "2"}},
        "environment": {"torch": "2"},
    }
    return Manifest(**(given | changes))  # type: ignore[arg-type]


def test_it_survives_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(manifest().to_json())
    assert Manifest.read(tmp_path) == manifest()
    assert Manifest.read(tmp_path / "nowhere") is None


def test_a_continued_run_keeps_what_was_there() -> None:
    more = manifest(
        suite=None,
        baseline=None,
        models={"b": {}},
        datasets={"digits-c": {}},
        environment={"torch": "3"},
    ).joined(manifest(), HERE)
    assert list(more.models) == ["a", "b"]
    assert list(more.datasets) == ["digits", "digits-c"]
    assert (more.suite, more.baseline, more.environment) == ("digits", "a", {"torch": "3"})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"suite": "other"}, "belongs to suite 'digits', not 'other'"),
        ({"seed": 1}, "was made with seed 0, not 1"),
        ({"shard_size": 20}, "was made with shards of 10 images, not 20"),
        (
            {"models": {"a": {"weights_sha256": "9", "classes": 10}}},
            "holds predictions of a with another weights_sha256",
        ),
        (
            {"datasets": {"digits": {"sha256": "9"}}},
            "holds predictions of digits with another sha256",
        ),
    ],
)
def test_a_run_that_contradicts_is_refused_with_the_way_out(
    changes: dict[str, object], told: str
) -> None:
    with pytest.raises(RunError, match=f"runs/x {told}; choose another --output-dir"):
        manifest(**changes).joined(manifest(), HERE)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1}', "\x00"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"run\.json is not readable"):
        Manifest.read(tmp_path)


def test_another_version_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema": 99}')
    with pytest.raises(RunError, match="has schema 99 and this version writes 1"):
        Manifest.read(tmp_path)


def test_a_models_identity_changes_with_whatever_moves_its_predictions() -> None:
    from robustbench_aa.manifest import model_identity
    from robustbench_aa.types import Preprocessing

    other = Preprocessing(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    identities = [
        model_identity(make_classifier("a")),
        model_identity(make_classifier("a", seed=1)),
        model_identity(make_classifier("a", preprocessing=other)),
    ]
    assert len({str(identity) for identity in identities}) == 3
    assert model_identity(make_classifier("a")) == identities[0]
