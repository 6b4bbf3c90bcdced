"""A submission gives the same leaderboard elsewhere, and shows what was changed in it."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aa.errors import RunError, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.evaluation.spot_check import spot_check
from robustbench_aa.export import export
from robustbench_aa.export.submission import checked_submission
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite

MODEL, OTHER = "digits:resnet@lpf3-seed0", "digits:resnet@baseline-seed0"
CELL = f"predictions/{MODEL}/digits/clean/0-10.parquet"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    suite = Suite([MODEL, OTHER], ["digits", "digits-shift"], limit=20, shard_size=10)
    return prepare(suite, tmp_path_factory.mktemp("run"), "cpu").run()


@pytest.fixture(scope="module")
def submission(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("submission") / "submission.tar"
    export(run, file, "submission")
    return file


def changed(submission: Path, to: Path, change: Callable[[Files], None]) -> Path:
    """Write a copy of a submission with a change to its files."""
    with tarfile.open(submission) as archive:
        files = {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]
    change(files)
    with tarfile.open(to, "w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return to


def with_digests(files: Files) -> None:
    """Make the list of files fit to changed ones, as somebody who cheats would."""
    import hashlib

    content = json.loads(files["submission.json"])
    names = [name for name in files if name != "submission.json"]
    content["files"] = {name: hashlib.sha256(files[name]).hexdigest() for name in names}
    files["submission.json"] = json.dumps(content).encode()


def with_right_answers(files: Files) -> None:
    """Change all predictions of a file to the true class, with its checksums."""
    source = pq.read_table(io.BytesIO(files[CELL]))
    labels, classes = source["label"].to_pylist(), range(10)
    ranked = [[label, *(one for one in classes if one != label)] for label in labels]
    for rank in range(5):
        values = pa.array([row[rank] for row in ranked], pa.int32())
        source = source.set_column(3 + rank, source.schema.field(3 + rank), values)
    file = io.BytesIO()
    pq.write_table(source, file, write_page_checksum=True)
    files[CELL] = file.getvalue()


def problems(file: Path) -> list[str]:
    with checked_submission(file) as checked:
        return checked.problems


def test_a_submission_gives_the_same_leaderboard_elsewhere(run: Run, submission: Path) -> None:
    with checked_submission(submission) as checked:
        assert checked.problems == []
        assert checked.files == 10  # two models, two data sets, two shards; run.json and the table
        assert checked.run is not None
        assert checked.run.directory != run.directory
        found, expected = checked.run.leaderboard(), run.leaderboard()
        assert found.equals(expected)
    assert not checked.run.directory.exists()


def test_the_same_run_makes_the_same_bytes(run: Run, submission: Path, tmp_path: Path) -> None:
    shutil.copytree(run.directory, tmp_path / "copy")
    export(Run(tmp_path / "copy"), tmp_path / "again.tar", "submission")
    assert (tmp_path / "again.tar").read_bytes() == submission.read_bytes()


def test_a_submission_keeps_its_baseline(tmp_path: Path) -> None:
    suite = Suite([MODEL, OTHER], ["digits-c"], limit=5, severities=[3], corruptions=["fog"])
    run = prepare(suite, tmp_path / "run", "cpu").run()
    export(run, tmp_path / "submission.tar", "submission", baseline=OTHER)
    assert problems(tmp_path / "submission.tar") == []
    with tarfile.open(tmp_path / "submission.tar") as archive:
        board = archive.extractfile("leaderboard.csv")
        assert board is not None
        assert f"mce_subset_{OTHER}" in board.read().decode()


def flip(files: Files) -> None:
    files[CELL] = files[CELL][:-9] + bytes([files[CELL][-9] ^ 1]) + files[CELL][-8:]


def swap_board(files: Files) -> None:
    text = files["leaderboard.csv"].decode().splitlines()
    first = text[1].split(",")
    first[text[0].split(",").index("clean_error")] = "0.010000"
    files["leaderboard.csv"] = "\n".join([text[0], ",".join(first), *text[2:], ""]).encode()
    with_digests(files)


def cheat(files: Files) -> None:
    with_right_answers(files)
    with_digests(files)


def other_place(files: Files) -> None:
    files[CELL] = files[CELL.replace(MODEL, OTHER)]
    with_digests(files)


def add(name: str, listed: bool) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[name] = files[CELL]
        if listed:
            with_digests(files)

    return change


EXTRA = f"predictions/{MODEL}/digits/clean/20-30.parquet"
CHANGES: Mapping[str, tuple[Callable[[Files], None], str]] = {
    "flipped byte": (flip, f"{CELL} has been changed since the submission was written"),
    "removed": (lambda files: files.pop(CELL) and None, f"{CELL} is missing"),
    "leaderboard": (swap_board, "leaderboard.csv is not what the predictions give: clean_error of"),
    "foreign": (other_place, f"prediction file {CELL} belongs to another run"),
    "unlisted": (add(EXTRA, False), f"{EXTRA} is not listed in submission.json"),
    "superfluous": (add(EXTRA, True), f"{EXTRA} belongs to no part of the run"),
    "outside": (add("../x.parquet", True), "../x.parquet is not a file of a run"),
    "absolute": (add("/tmp/x.parquet", True), "/tmp/x.parquet is not a file of a run"),
    "no run": (lambda files: files.pop("run.json") and None, "run.json is missing"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_found_with_the_files_name(submission: Path, tmp_path: Path, name: str) -> None:
    change, message = CHANGES[name]
    found = problems(changed(submission, tmp_path / "changed.tar", change))
    assert [one for one in found if one.startswith(message)], found


def test_a_link_in_an_archive_is_not_followed(submission: Path, tmp_path: Path) -> None:
    file = changed(submission, tmp_path / "changed.tar", lambda files: files.pop(CELL) and None)
    with tarfile.open(file, "a") as archive:
        entry = tarfile.TarInfo(CELL)
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    assert f"{CELL} is not a plain file" in problems(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "is no submission"),
        (b"", "is no submission"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(RunError, match=message), checked_submission(tmp_path / "a.tar"):
        pass


@pytest.mark.parametrize(
    "text",
    ["{}", '{"files": {"a": "b"}}', '{"submission": 2, "files": {}}', "[", '{"files": {}, "x": 1}'],
)
def test_a_wrong_list_of_files_is_refused(submission: Path, tmp_path: Path, text: str) -> None:
    def change(files: Files) -> None:
        files["submission.json"] = text.encode()

    file = changed(submission, tmp_path / "changed.tar", change)
    with pytest.raises(RunError, match=r"is no submission \(submission\.json"):
        problems(file)


def test_damaged_predictions_are_not_exported(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.directory, tmp_path / "run")
    (tmp_path / "run" / CELL).write_bytes(b"half")
    with pytest.raises(RunError, match=r"damaged prediction file .*0-10\.parquet; evaluate it"):
        export(Run(tmp_path / "run"), tmp_path / "a.tar", "submission")


@pytest.mark.parametrize("seed", range(4))
def test_a_random_shard_is_evaluated_again(submission: Path, seed: int) -> None:
    with checked_submission(submission) as checked:
        assert checked.run is not None
        # recognised by its weights, whatever it is called
        table, found = spot_check(checked.run.directory, [f"mine={MODEL}"], seed=seed)
    assert found == []
    assert table.loc[0, ["model", "other_class"]].to_list() == [MODEL, 0]
    assert table.loc[0, "probability_difference"] < 1e-4


def test_seeds_choose_different_shards(run: Run) -> None:
    chosen = {
        tuple(spot_check(run.directory, [MODEL], seed=seed)[0].loc[0, ["cell", "shard"]])
        for seed in range(6)
    }
    assert len(chosen) > 2


def test_forged_predictions_are_found_by_evaluating_them(submission: Path, tmp_path: Path) -> None:
    def change(files: Files) -> None:
        # all answers are wrong now, and everything else in the archive fits to them
        table = pq.read_table(io.BytesIO(files[CELL]))
        swapped = table.set_column(3, table.schema.field(3), table["top2"])
        swapped = swapped.set_column(4, table.schema.field(4), table["top1"])
        file = io.BytesIO()
        pq.write_table(swapped, file, write_page_checksum=True)
        files[CELL] = file.getvalue()
        with_digests(files)

    file = changed(submission, tmp_path / "forged.tar", change)
    with checked_submission(file) as checked:
        assert len(checked.problems) == 1  # the leaderboard
        assert checked.run is not None
        (tmp_path / "rest").mkdir()
        shutil.copytree(checked.run.directory, tmp_path / "run")
    (tmp_path / "run" / CELL.replace("0-10", "10-20")).unlink()
    _, found = spot_check(tmp_path / "run", [MODEL], "digits", seed=0)
    assert found == [
        f"{MODEL} on digits clean, images 0-10: 10 of 10 predictions have another class"
    ]


@pytest.mark.parametrize(
    ("models", "dataset", "message"),
    [
        (["digits:resnet@lpf5-seed0"], None, "is none of the models of the run, digits:resnet@"),
        ([f"{OTHER}+lpf3"], None, "is none of the models of the run"),
        ([MODEL], "digits-c", "has no predictions of .* on digits-c; name others"),
    ],
)
def test_other_models_and_data_are_refused(
    run: Run, models: list[str], dataset: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        spot_check(run.directory, models, dataset)


def test_other_data_are_refused(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.directory, tmp_path / "run")
    file = tmp_path / "run" / "run.json"
    content = json.loads(file.read_text())
    content["datasets"]["digits"]["sha256"] = "0" * 64
    content["datasets"]["digits"]["pixels"] = "others"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"not the one .* it has another sha256, pixels; check"):
        spot_check(tmp_path / "run", [MODEL], "digits")
