"""Submissions: a run's predictions and leaderboard in one archive, which anybody can check.

An archive is an uncompressed tar of `submission.json`, `run.json`, `leaderboard.csv` and the
prediction files. The same run makes the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Annotated, Any, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robustbench_aa.errors import DamagedShard, RobustbenchError, RunError, UsageError, cause
from robustbench_aa.report.rounding import format_full
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import RUN
from robustbench_aa.store.schema import LARGEST
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import patiently, write_whole
from robustbench_aa.support.version import package_version
from robustbench_aa.types import Shard

CONTENT = "submission.json"
"""The name of the list of files."""
BOARD = "leaderboard.csv"
CHUNK = 2**20
ROUNDING = 2e-6
"""The largest difference of equal values, which are written with six decimals."""
Sha256 = Annotated[str, Field(pattern="[0-9a-f]{64}")]


class Content(BaseModel):
    """What `submission.json` says.

    Attributes:
        submission: the version of the format.
        version: the version of this package that wrote the archive.
        baseline: the baseline of the leaderboard's normalised metrics.
        files: the SHA-256 of every other file.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    submission: Annotated[int, Field(ge=1, le=1)] = 1
    version: str = ""
    baseline: str | None = None
    files: dict[str, Sha256]


class Checked(NamedTuple):
    """A submission that has been unpacked and checked.

    Attributes:
        run: the run; it exists as long as the check's context. None if the archive lacks files.
        files: the number of files in the archive.
        problems: what is wrong, a line for each file.
    """

    run: Run | None
    files: int
    problems: list[str]


def write_submission(run: Run, path: Path, baseline: str | None = None) -> None:
    """Write a run's predictions, `run.json` and leaderboard into an archive.

    Args:
        run: the run.
        path: the archive to write, `.tar`.
        baseline: as in `Run.tables`.

    Raises:
        RunError: a prediction file is damaged.
        UsageError: the run has no predictions.
        OSError: the archive cannot be written.
    """
    store = Store.of_run(run.directory)
    files = {RUN: store.directory / RUN}
    for place in _places(store):
        try:
            if store.read_shard(*place) is not None:
                file = store.path(*place)
                files[_name(store, file)] = file
        except DamagedShard as error:
            raise RunError(f"{error}; evaluate it again first") from error
    if len(files) == 1:
        raise UsageError(f"{store.directory} has no predictions; evaluate it first")
    board = _leaderboard(run, baseline).encode()
    digests = {BOARD: hashlib.sha256(board).hexdigest()}
    digests |= {name: hashlib.sha256(_bytes(file)).hexdigest() for name, file in files.items()}
    content = Content(version=package_version(), baseline=baseline, files=digests)

    def write(beside: Path) -> None:
        with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, CONTENT, content.model_dump_json(indent=1).encode())
            _add(archive, BOARD, board)
            for name, file in files.items():
                _add(archive, name, _bytes(file))

    write_whole(path, write)


@contextmanager
def checked_submission(path: Path) -> Iterator[Checked]:
    """Unpack a submission into a temporary folder and check it.

    Every file must be listed and have its SHA-256, every prediction file must belong to the run,
    and the leaderboard that the predictions give must be the one in the archive.

    Raises:
        RunError: the file is no submission.
    """
    with TemporaryDirectory() as folder:
        here = Path(folder)
        try:
            with tarfile.open(path, "r:") as archive:
                content, digests, problems = _unpacked(archive, here)
        except (tarfile.TarError, OSError, ValueError) as error:
            advice = "give a file that robustbench-aa export wrote"
            raise RunError(f"{path} is no submission ({cause(error)}); {advice}") from error
        for name, digest in content.files.items():
            if name not in digests:
                problems.append(f"{name} is missing")
            elif digests[name] != digest:
                problems.append(f"{name} has been changed since the submission was written")
        lacking = {RUN, BOARD} - digests.keys()
        run = None
        if not lacking:
            try:
                run = Run(here)
                problems += _contradictions(run, here, content)
            except RobustbenchError as error:
                problems.append(f"{RUN} cannot be used: {error}".replace(f"{here}/", ""))
        yield Checked(run, len(digests), problems)


def _unpacked(archive: tarfile.TarFile, folder: Path) -> tuple[Content, dict[str, str], list[str]]:
    """Write the listed files of an archive into a folder.

    Returns:
        The list of files, the SHA-256 of each file that is there, and the problems.

    Raises:
        ValueError: the archive does not begin with a valid list of files.
    """
    first = archive.next()
    file = archive.extractfile(first) if first is not None and first.name == CONTENT else None
    if file is None or first is None or first.size > LARGEST:
        raise ValueError(f"it does not begin with {CONTENT}")
    try:
        content = Content.model_validate_json(file.read())
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        raise ValueError(f"{CONTENT}: {where} {found['msg']}") from error
    digests: dict[str, str] = {}
    problems = []
    while (member := archive.next()) is not None:
        name = member.name
        source = archive.extractfile(member) if member.isreg() and not member.issparse() else None
        if source is None:
            problems.append(f"{name} is not a plain file")
        elif name not in content.files:
            problems.append(f"{name} is not listed in {CONTENT}")
        elif name in digests:
            problems.append(f"{name} is there twice")
        elif not _is_expected(name):
            problems.append(f"{name} is not a file of a run")
        else:
            digests[name] = _copied(source, folder / name)
    return content, digests, problems


def _is_expected(name: str) -> bool:
    path = PurePosixPath(name)
    inside = not path.is_absolute() and ".." not in path.parts and str(path) == name
    return name in (RUN, BOARD) or (
        inside and path.parts[0] == "predictions" and path.suffix == ".parquet"
    )


def _copied(source: IO[bytes], to: Path) -> str:
    """Write a file and return its SHA-256."""
    to.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with to.open("wb") as file:
        while part := source.read(CHUNK):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def _contradictions(run: Run, folder: Path, content: Content) -> list[str]:
    """Return what in an unpacked submission contradicts its predictions."""
    store = Store.of_run(folder)
    own = {store.path(*place): place for place in _places(store)}
    problems = []
    for file in sorted((folder / "predictions").rglob("*.parquet")):
        if file not in own:
            problems.append(f"{_name(store, file)} belongs to no part of the run")
            continue
        try:
            store.read_shard(*own[file])
        except DamagedShard as error:
            problems.append(str(error).replace(f"{folder}/", ""))
    claimed = (folder / BOARD).read_bytes().decode(errors="replace")
    if difference := _difference(claimed, _leaderboard(run, content.baseline)):
        other = content.version not in ("", package_version())
        by = f"; it was written by version {content.version}" if other else ""
        problems.append(f"{BOARD} is not what the predictions give: {difference}{by}")
    return problems


def _difference(claimed: str, found: str) -> str:
    """Return the first difference between two leaderboards in words; empty if there is none."""
    try:
        one, two = (pd.read_csv(io.StringIO(text), dtype=str) for text in (claimed, found))
    except ValueError:
        return "it cannot be read"
    if [*one] != [*two] or one["model"].to_list() != two["model"].to_list():
        return "it has other columns or rows"
    for column in two:
        for model, here, there in zip(two["model"], one[column], two[column], strict=True):
            if not _are_equal(here, there):
                return f"{column} of {model} is {here}, and they give {there}"
    return ""


def _are_equal(one: Any, other: Any) -> bool:
    """Return whether two cells are equal, or numbers that another processor may round so."""
    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) and pd.isna(other))
    try:
        return bool(abs(float(one) - float(other)) <= ROUNDING)
    except ValueError:
        return bool(one == other)


def _leaderboard(run: Run, baseline: str | None) -> str:
    board = run.tables(baseline).leaderboard
    text: str = board.to_csv(index=False, float_format=format_full, lineterminator="\n")
    return text


def _places(store: Store) -> Iterator[tuple[str, Cell, Shard]]:
    for model in store.manifest.models:
        for dataset in store.manifest.datasets:
            for cell in store.cells(dataset):
                for shard in store.shards(dataset):
                    yield model, cell, shard


def _name(store: Store, file: Path) -> str:
    return file.relative_to(store.directory).as_posix()


def _bytes(file: Path) -> bytes:
    return patiently(file, file.read_bytes)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file whose entry does not depend on who writes it, or when."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
