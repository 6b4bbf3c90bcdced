"""Published archives: download, check and unpack them.

An archive continues where an earlier download stopped, is checked against its published checksum,
and is unpacked into the folder. An archive that has been unpacked completely is not downloaded
again. A published file that is no archive, such as a list of images, stays as it is.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from rich.console import Console
from rich.progress import Progress

from robustbench_aa.datasets import DATASETS
from robustbench_aa.datasets.image_lists import PUBLISHED
from robustbench_aa.errors import DownloadError, UnknownName, UsageError, cause
from robustbench_aa.support.download import Download

PACKED = (".tar", ".tar.gz", ".zip")
"""The ends of the names of archives, which are unpacked."""


def download_dataset(dataset: str, to: Path, families: Sequence[str] = ()) -> Iterator[str]:
    """Download a published data set, or a list of images, and unpack it, archive by archive.

    Args:
        dataset: a data set with published archives, or a key of `image_lists.PUBLISHED`.
        to: the folder to fill.
        families: the archives to download; all if empty.

    Yields:
        The name of each archive once it is unpacked.

    Raises:
        UnknownName: there is no such data set or family to download.
        UsageError: the data set cannot be downloaded, or the disk is too small.
        DownloadError: an archive cannot be downloaded, or is not the published one.
    """
    published = {entry.name: entry.archives for entry in DATASETS.values() if entry.archives}
    published |= {name: {name: download} for name, download in PUBLISHED.items()}
    if dataset not in published:
        if dataset in DATASETS and (obtain := DATASETS[dataset].obtain):
            raise UsageError(f"{dataset} cannot be downloaded: {obtain}")
        raise UnknownName("data set to download", dataset, published)
    archives = published[dataset]
    for family in families:
        if family not in archives:
            raise UnknownName(f"family of {dataset}", family, archives)
    for family in families or archives:
        fetch(archives[family], to)
        yield family


def default_folder(dataset: str) -> Path:
    """Return the folder that a data set is downloaded into if none is named."""
    variable = DATASETS[dataset].variable if dataset in DATASETS else ""
    return Path(os.environ.get(variable) or Path("data") / dataset)


def fetch(download: Download, to: Path) -> None:
    """Download an archive and unpack it, unless it has been unpacked before.

    Raises:
        UsageError: the disk is too small for the archive and what is in it.
        DownloadError: the archive cannot be downloaded, is not the published one, or holds anything
            but plain files and folders.
    """
    archive = to / download.url.rpartition("/")[2]
    if not archive.name.endswith(PACKED):
        download.to(archive)
        return
    done = archive.with_name(f"{archive.name}.unpacked")
    if done.exists() and done.read_text() == download.digest:
        return
    _check_space(download, archive)
    download.to(archive)
    unpack(archive, to)
    done.write_text(download.digest)
    archive.unlink()


def _check_space(download: Download, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    length = download.length()
    part = archive.with_name(f"{archive.name}.part")
    there = max((path.stat().st_size for path in (archive, part) if path.exists()), default=0)
    needed = 2 * length - there  # the archive, and about as much unpacked
    free = shutil.disk_usage(archive.parent).free
    if free < needed:
        raise UsageError(
            f"{archive.parent} has {free / 1e9:.1f} GB free, {archive.name} needs "
            f"{needed / 1e9:.1f} GB with its content; make room or name another --output-dir"
        )


def unpack(archive: Path, to: Path) -> None:
    """Unpack a tar archive, compressed or not, or a zip archive, of plain files.

    Raises:
        DownloadError: a member is outside the folder or no plain file, or it is no such archive.
    """
    console = Console(stderr=True)
    unpacked = _unzipped if archive.suffix == ".zip" else _untarred
    try:
        with (
            archive.open("rb") as file,
            Progress(console=console, disable=not console.is_terminal) as bar,
        ):
            task = bar.add_task(f"unpacking {archive.name}", total=archive.stat().st_size)
            for _ in unpacked(file, to):
                bar.update(task, completed=file.tell())
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, zlib.error) as error:
        raise DownloadError(f"{archive} cannot be unpacked ({cause(error)})") from error


def _untarred(file: BinaryIO, to: Path) -> Iterator[str]:
    """Unpack a tar archive and yield the name of each member once it is unpacked."""
    # some published archives are named .tar.gz but not compressed
    with tarfile.open(fileobj=file, mode="r:*") as tar:
        for member in tar:
            if not (member.isreg() or member.isdir()) or member.name.startswith("/"):
                raise tarfile.TarError(f"{member.name} is a link, a device or an outer path")
            tar.extract(member, to, filter="data")
            yield member.name


def _unzipped(file: BinaryIO, to: Path) -> Iterator[str]:
    """Unpack a zip archive and yield the name of each member once it is unpacked."""
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            path = PurePosixPath(member.filename)
            outer = path.is_absolute() or ".." in path.parts or "\\" in member.filename
            if outer or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise zipfile.BadZipFile(f"{member.filename} is a link, a device or an outer path")
            archive.extract(member, to)
            yield member.filename
