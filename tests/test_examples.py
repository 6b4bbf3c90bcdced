"""The examples and the notebook run on data that the packages contain."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
import yaml
from PIL import Image
from skimage import data

from robustbench_aa.run import Run

EXAMPLES = Path(__file__).parents[1] / "examples"
ARGUMENTS = {
    "torchvision_model.py": ["photographs", "--model", "torchvision:mobilenet_v2@random"],
    "timm_model.py": [],
    "onnx_model.py": [],
    "fine_tuned_checkpoint.py": ["--epochs", "2"],
}
RUNS = {
    "torchvision_model.py": "runs/torchvision",
    "timm_model.py": "runs/timm",
    "onnx_model.py": "runs/onnx",
    "fine_tuned_checkpoint.py": "runs/fine_tuned/run",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with two photographs in class folders."""
    monkeypatch.chdir(tmp_path)
    for wnid, picture in (("n02123045", data.chelsea()), ("n07920052", data.coffee())):
        folder = tmp_path / "photographs" / wnid
        folder.mkdir(parents=True)
        Image.fromarray(picture).save(folder / "1.png")
    return tmp_path


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.filterwarnings("ignore")  # the export to ONNX warns of itself and of the network
@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(sys, "argv", [name, *ARGUMENTS[name]])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out
    run = Run(place / RUNS[name])
    assert not run.failures
    assert run.leaderboard()["complete"].all()


def test_the_notebook_shows_its_results() -> None:
    path = EXAMPLES / "quickstart.ipynb"
    assert path.stat().st_size < 2**20
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == [*range(1, len(cells) + 1)]
    shown = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in shown} == {"execute_result"}
    for part in ("image/png", "mine+lpf3", "leaderboard.csv"):
        assert part in json.dumps(shown)


def test_the_notebook_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("agg")
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in json.loads((EXAMPLES / "quickstart.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    board = Run(place / "runs" / "quickstart").leaderboard().set_index("model")
    assert set(board.index) == {"mine", "mine+lpf3", "digits:resnet@lpf3-seed0"}
    # the first network was trained, and the conversion has not been fine-tuned
    assert board.loc["mine", "clean_error"] < 0.3


def test_the_commands_of_the_workflow_run(tmp_path: Path) -> None:
    jobs = yaml.safe_load((EXAMPLES / "github_actions.yml").read_text())["jobs"]
    commands = [step["run"] for step in jobs["gate"]["steps"] if "run" in step]
    assert commands.pop(0) == "pip install robustbench-aa"
    program = f"robustbench-aa() {{ '{sys.executable}' -m robustbench_aa \"$@\"; }}"
    script = "\n".join(["set -e", program, *commands])
    summary = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "OMP_NUM_THREADS": "1"}
    paths = {"PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), *sys.path])}
    environment = os.environ | summary | paths
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert (tmp_path / "summary.md").read_text().startswith("### ✅ Robustness gate: pass")
    assert (tmp_path / "gate.xml").exists()
