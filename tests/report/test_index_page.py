"""The page of a folder of runs."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from click.testing import CliRunner

from robustbench_aa.cli.report import report
from robustbench_aa.errors import UsageError
from robustbench_aa.report.index_page import write_index
from robustbench_aa.run import Run
from tests.forged import forge

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runs")
    Run(forge(made / "first #1", ["a", HOSTILE], ["image-folder"])).report()
    forge(made / "below" / "second", ["b-seed0", "b-seed1"], ["image-folder"])
    (made / "broken").mkdir()
    (made / "broken" / "run.json").write_text("{}")
    return made


def links(html: str) -> list[str]:
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert tag not in ("script", "img", "link")
            found.extend(value or "" for name, value in attributes if name == "href")

    Links().feed(html)
    return found


def test_every_run_is_listed_with_the_values_of_its_leaderboard(folder: Path) -> None:
    html = write_index(folder).read_text(encoding="utf-8")
    assert [unquote(link) for link in links(html)] == ["first #1/report/index.html"]
    assert (folder / unquote(links(html)[0])).is_file()
    board = pd.read_csv(folder / "first #1" / "report" / "leaderboard.csv")
    best = board["clean_error"].min()
    assert f"<dt>clean error</dt><dd>{best:.4f}</dd>" in html
    assert HOSTILE not in html
    assert "2 models on image-folder" in html
    # training seeds are one model
    assert "1 model on image-folder" in html
    assert f"no report yet: robustbench-aa report {folder / 'below' / 'second'}" in html
    assert re.search(r"broken</h2>.*?is not readable", html, re.DOTALL)


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="contains no run"):
        write_index(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_command_writes_an_index_instead_of_a_report(folder: Path) -> None:
    result = CliRunner().invoke(report, ["--index", str(folder)], standalone_mode=False)
    assert result.output.strip() == str(folder / "index.html")
    assert result.exit_code == 0
