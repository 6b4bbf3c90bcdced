"""Short names of models: `SHORT=SOURCE:NAME[@WEIGHTS]`."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import robustbench_aa as rb
from robustbench_aa.cli.main import commands
from robustbench_aa.errors import RunError, SuiteError, UsageError
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.metrics.shifts import METRICS_OF_SHIFTS
from robustbench_aa.models import expand, load_all, split_name
from robustbench_aa.suite import Suite, read_suite
from tests.conftest import make_classifier

LPF2, LPF3 = "digits:resnet@lpf2-seed0", "digits:resnet@lpf3-seed0"


def prepared(folder: Path, *models: str | rb.Classifier, **options: str) -> Session:
    return prepare(Suite(models, ["digits"], limit=2, **options), folder, "cpu")  # type: ignore[arg-type]


def entries(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return the names and the specifications in a `run.json`."""
    content = json.loads((folder / "run.json").read_text())
    return [*content["models"]], content["specifications"]


@pytest.mark.parametrize(
    ("text", "short", "specification"),
    [
        ("mine=digits:resnet", "mine", "digits:resnet"),
        ("my model=digits:resnet", "my model", "digits:resnet"),
        ("a/b@c=digits:resnet", "a/b@c", "digits:resnet"),
        ("digits:resnet", None, "digits:resnet"),
        ("file:resnet50@/runs/lr=0.1/best.pth", None, "file:resnet50@/runs/lr=0.1/best.pth"),
        ("onnx:model.onnx?x=1", None, "onnx:model.onnx?x=1"),
        ("python:models:make=3", None, "python:models:make=3"),
        ("timm:hf-hub:me/model?a=b", None, "timm:hf-hub:me/model?a=b"),
        ("mine=file:resnet50@lr=0.1:x.pth", "mine", "file:resnet50@lr=0.1:x.pth"),
        ("resnet50", None, "resnet50"),
    ],
)
def test_a_short_name_ends_at_the_first_equals_sign_before_any_colon(
    text: str, short: str | None, specification: str
) -> None:
    assert split_name(text) == (short, specification)


@pytest.mark.parametrize("text", ["=digits:resnet", " mine=digits:resnet", "mine =digits:resnet"])
def test_an_empty_or_padded_short_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs a name without outer spaces before the =; write"):
        rb.load(text)


def test_a_short_name_changes_nothing_else() -> None:
    plain, short = rb.load(LPF3), rb.load(f"mine={LPF3}")
    assert (plain.name, short.name) == (LPF3, "mine")
    assert short.weights_sha256 == plain.weights_sha256
    x = torch.rand(1, 3, 32, 32)
    assert torch.equal(short.module(x), plain.module(x))


def test_training_seeds_continue_a_short_name() -> None:
    seeds = [f"digits:resnet@lpf3-seed{seed}" for seed in range(3)]
    assert expand("mine=digits:resnet@lpf3") == [
        f"mine-seed{seed}={one}" for seed, one in enumerate(seeds)
    ]
    assert expand(f"mine={LPF3}") == [f"mine={LPF3}"]
    classifiers, specifications = load_all(["mine=digits:resnet@lpf3", LPF2])
    assert [*classifiers] == ["mine-seed0", "mine-seed1", "mine-seed2", LPF2]
    assert specifications == dict(zip([*classifiers][:3], seeds, strict=True))


def test_own_training_seeds_share_a_row(tmp_path: Path) -> None:
    models = [f"mine-seed{seed}=digits:resnet@lpf{size}-seed0" for seed, size in enumerate((2, 3))]
    run = prepared(tmp_path / "run", *models).run()
    (row,) = run.leaderboard().to_dict("records")
    assert (row["model"], row["seeds"]) == ("mine", 2)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([f"a={LPF2}", f"a={LPF3}"], "model a is named twice; leave one out"),
        ([f"a={LPF2}", f"b={LPF2}"], f"model {LPF2} has two names, a and b; leave one out"),
        ([LPF2, f"b={LPF2}"], f"model {LPF2} has two names, {LPF2} and b; leave one out"),
        (["a=digits:resnet@lpf3", f"b={LPF3}"], f"{LPF3} has two names, a-seed0 and b"),
    ],
)
def test_a_name_belongs_to_one_model(models: list[str], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        load_all(models)


def test_a_run_shows_short_names_and_keeps_specifications(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        f'models = ["aa={LPF3}", "plain=digits:resnet@baseline-seed0"]\n'
        'datasets = ["digits-shift"]\nbaseline = "plain"\nlimit = 2\n'
    )
    folder = tmp_path / "run"
    run = prepare(read_suite(str(suite)), folder, "cpu").run()
    run.report(latex=True)
    known = {"aa": LPF3, "plain": "digits:resnet@baseline-seed0"}
    assert entries(folder) == (["aa", "plain"], known)
    assert {*run.leaderboard()["model"]} == {*known}
    assert run.tables().baseline == "plain"
    compared = run.compare("aa", "plain")["metric"].tolist()
    assert compared == [f"{metric}_circular" for metric in METRICS_OF_SHIFTS]
    written = [file for file in (folder / "report").rglob("*") if file.suffix in (".csv", ".tex")]
    for file in written:
        if file.name != "provenance.csv":
            assert "digits:resnet" not in file.read_text(), file
    provenance = pd.read_csv(folder / "report" / "provenance.csv")
    specifications = provenance[provenance["property"] == "specification"]
    assert dict(zip(specifications["subject"], specifications["value"], strict=True)) == known
    assert ">aa<" in (folder / "report" / "index.html").read_text()
    (folders,) = [{p.name for p in (folder / "predictions").iterdir()}]
    assert folders == {*known}


def test_the_command_line_takes_short_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["-m", f"aa={LPF3}", "-m", f"plain={LPF2}", "-d", "digits", "--limit", "2"]
    for command in (
        ["evaluate", *words, "--baseline", "plain"],
        ["report", "runs/evaluate", "--baseline", "plain"],
        ["compare", "runs/evaluate", "aa", "plain"],
    ):
        result = CliRunner().invoke(commands, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert {"aa", "plain"} <= {*result.output.replace(",", " ").split()}
        assert "digits:resnet" not in result.stdout
    assert entries(Path("runs/evaluate"))[1] == {"aa": LPF3, "plain": LPF2}


def test_a_model_keeps_its_name_within_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    prepared(folder, f"a={LPF3}").run()
    before = (folder / "run.json").read_bytes()
    for other in (f"b={LPF3}", LPF3):
        with pytest.raises(RunError, match=f"holds {LPF3} as 'a', not '.*'; name it 'a', or"):
            prepared(folder, other)
    with pytest.raises(RunError, match="holds predictions of a with another weights_sha256"):
        prepared(folder, f"a={LPF2}")
    assert (folder / "run.json").read_bytes() == before
    assert not prepared(folder, f"a={LPF3}").pending()
    prepared(folder, f"b={LPF2}", f"a={LPF3}").run()
    assert entries(folder) == (["a", "b"], {"a": LPF3, "b": LPF2})


def test_a_model_without_a_short_name_does_not_get_one_later(tmp_path: Path) -> None:
    prepared(tmp_path / "run", LPF3).run()
    assert entries(tmp_path / "run") == ([LPF3], {})
    with pytest.raises(RunError, match=f"holds {LPF3} as '{LPF3}', not 'a'; name it"):
        prepared(tmp_path / "run", f"a={LPF3}")


def test_a_file_that_changed_is_another_model(tmp_path: Path) -> None:
    weights = tmp_path / "last.pth"
    torch.save(rb.load(LPF2).module.state_dict(), weights)
    prepared(tmp_path / "run", f"epoch1=digits:resnet@{weights}").run()
    torch.save(rb.load("digits:resnet@lpf2-seed1").module.state_dict(), weights)
    prepared(tmp_path / "run", f"epoch2=digits:resnet@{weights}").run()
    names, specifications = entries(tmp_path / "run")
    assert names == ["epoch1", "epoch2"]
    assert {*specifications.values()} == {f"digits:resnet@{weights}"}


def test_the_same_weights_from_another_place_continue_a_run(tmp_path: Path) -> None:
    for name in ("one.pth", "two.pth"):
        torch.save(rb.load(LPF2).module.state_dict(), tmp_path / name)
    for name in ("one.pth", "two.pth"):
        session = prepared(tmp_path / "run", f"a=digits:resnet@{tmp_path / name}")
        assert bool(session.pending()) == (name == "one.pth")
        session.run()
    assert entries(tmp_path / "run")[1] == {"a": f"digits:resnet@{tmp_path / 'two.pth'}"}


def test_classifiers_keep_their_own_names(tmp_path: Path) -> None:
    run = prepared(tmp_path / "run", make_classifier("mine"), f"aa={LPF3}").run()
    assert {*run.leaderboard()["model"]} == {"mine", "aa"}
    assert entries(tmp_path / "run") == (["mine", "aa"], {"aa": LPF3})


def test_runs_with_short_names_are_merged(tmp_path: Path) -> None:
    for folder, model in (("one", f"a={LPF2}"), ("two", f"b={LPF3}")):
        prepared(tmp_path / folder, model).run()
    rb.merge_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "both")
    assert entries(tmp_path / "both") == (["a", "b"], {"a": LPF2, "b": LPF3})
