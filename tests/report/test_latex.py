from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_aa.report.latex import latex_table
from robustbench_aa.run import Run
from tests.forged import forge

BOARD = pd.DataFrame(
    {
        "rank": pd.array([1, 2, None], dtype="Int64"),
        "model": ["a_b & 50%", "[c]\\{d}", "e~f^g#h$i<j|k>"],
        "params_m": [1.0, 2.0, 3.0],
        "mean_error": [0.12345, 0.2, np.nan],
        "mean_error_low": [0.1, 0.2, np.nan],
        "mean_error_high": [0.13, 0.3, np.nan],
        "relative_mce_a_b": [100.0, 99.96, 120.06],
        "consistency_circular": [0.5, 0.9, 0.8],
        "complete": [True, True, False],
        "seeds": [2, 1, 1],
        "mean_error_std": [0.0123, np.nan, np.nan],
    }
)


def test_a_table_has_percents_with_one_decimal_spreads_and_the_best_in_bold() -> None:
    assert latex_table(BOARD).splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"model & mean error [\%] & relative mCE (a\_b) [\%] & consistency circular [\%] \\",
        r"\midrule",
        r"a\_b \& 50\% & \textbf{12.3} $\pm$ 1.2 & \textbf{100.0} & 50.0 \\",
        r"{[}c{]}\textbackslash{}\{d\} & 20.0 & \textbf{100.0} & \textbf{90.0} \\",
        r"e\textasciitilde{}f\textasciicircum{}g\#h\$i\textless{}j\textbar{}k\textgreater{}"
        r" & -- & 120.1 & 80.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "imagenet"
    return Run(forge(folder, ["a_1-seed0", "a_1-seed1", "b&c"]))


def test_every_row_has_as_many_cells_as_the_header(run: Run) -> None:
    written = run.report("resnet50", with_published=True, latex=True)
    document = run.directory / "report" / "leaderboard.tex"
    assert document in written
    text = document.read_text(encoding="utf-8")
    begin, top, *rows, bottom, end = text.splitlines()
    assert (top, bottom, end) == (r"\toprule", r"\bottomrule", r"\end{tabular}")
    form = re.fullmatch(r"\\begin\{tabular\}\{(l[r]+l)\}", begin)
    assert form
    header, rule, *body = rows
    assert rule == r"\midrule"
    board = run.tables("resnet50", with_published=True).leaderboard
    assert len(body) == len(board)
    for row in (header, *body):
        assert row.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", row)) == len(form[1]) - 1
        assert row.count("{") == row.count("}")
        assert not re.search(r"(?<!\\)[%#_]", row)
    assert r"mFR (resnet50) [\%]" in header
    assert body[0].count(r"$\pm$") + body[1].count(r"$\pm$") == len(form[1]) - 2
    run.report()
    assert not document.exists()


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
def test_a_bare_article_compiles(run: Run, tmp_path: Path) -> None:
    wide = latex_table(run.tables(with_published=True).leaderboard)
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\begin{document}"]
    for table in (latex_table(BOARD), wide):
        lines += ["\n", table]
    (tmp_path / "a.tex").write_text("\n".join([*lines, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
