"""A report replaces an earlier one completely or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from robustbench_aa.errors import StoreError
from robustbench_aa.report import page, tables
from robustbench_aa.run import Run
from robustbench_aa.store import storage
from tests.conftest import tree
from tests.forged import forge


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(forge(tmp_path / "run", ["a"], ["image-folder"]))
    made.report()
    notes = made.directory / "report" / "notes"
    notes.mkdir()
    (notes / "note.txt").write_text("kept")
    return made


def full(*_: object, **__: object) -> str:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "index.html")


def test_other_files_stay_and_old_tables_are_deleted(run: Run) -> None:
    report = run.directory / "report"
    (report / "seeds.csv").write_text("old")
    (report / "figures" / "old.png").write_text("old")
    before = tree(report)
    written = run.report()
    after = tree(report)
    assert set(before) - set(after) == {"seeds.csv", "figures/old.png"}
    assert after["notes/note.txt"] == b"kept"
    assert {path.relative_to(report).as_posix() for path in written} == {
        *after.keys() - {"notes/note.txt"}
    }
    assert sorted(path.name for path in run.directory.iterdir()) == [
        *("predictions", "report", "run.json")
    ]


def test_plots_can_be_written_as_pdf_files_too(run: Run) -> None:
    folder = run.directory / "report" / "figures"
    written = run.report(figures=["pdf"])
    pdf = folder / "ranking.pdf"
    assert pdf in written
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/Type3" not in content
    run.report(figures=["pdf"])
    assert pdf.read_bytes() == content  # no date in it
    run.report()
    assert sorted(path.name for path in folder.iterdir()) == ["ranking.png", "ranking.svg"]


@pytest.mark.parametrize("module", [page, tables])
def test_a_full_disk_leaves_the_earlier_report(
    run: Run, monkeypatch: pytest.MonkeyPatch, module: object
) -> None:
    report = run.directory / "report"
    before = tree(report)
    if module is page:
        monkeypatch.setattr(page, "render_page", full)
    else:
        monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    with pytest.raises(StoreError, match=r"cannot write index\.html \(No space left.*stays"):
        run.report()
    assert tree(report) == before
    assert not list(run.directory.glob("report.*"))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_report_killed_at_a_rename_is_whole_after_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    report = run.directory / "report"
    before = tree(report)
    rename = Path.rename
    done = []

    def dying(self: Path, to: Path) -> Path:
        if len(done) == renames:
            raise Killed
        done.append(to)
        return rename(self, to)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dying)
        patched.setattr(storage.shutil, "rmtree", lambda *_, **__: None)
        if renames < 2:
            with pytest.raises(Killed):
                run.report()
        else:
            run.report()  # killed before the old one is gone
    assert len(done) == min(renames, 2)
    storage.restore(report)
    assert tree(report) == before
    run.report()
    assert tree(report) == before
    assert not list(run.directory.glob("report.*"))
