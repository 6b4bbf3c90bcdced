"""Brings published data sets: `python -m data_prep.download imagenet-c --family noise --to DIR`.

Archives are continued where they were cut off, checked against their published MD5, and unpacked
into the folder; what was unpacked completely is not fetched again.
"""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from robustbench_aa.cli.main import run_command
from robustbench_aa.errors import DownloadError, UnknownName, UsageError, cause
from robustbench_aa.support.download import Download

ZENODO = "https://zenodo.org/records/{record}/files/{file}.tar"


@dataclass(frozen=True)
class Published:
    """A data set in a record of Zenodo's.

    Attributes:
        record: its number.
        archives: by family, the archive's name without `.tar` and its MD5.
    """

    record: int
    archives: dict[str, tuple[str, str]]

    def download(self, family: str) -> Download:
        """The archive of a family."""
        file, md5 = self.archives[family]
        return Download(ZENODO.format(record=self.record, file=file), "md5", md5)


DATASETS = {
    "imagenet-c": Published(
        2235448,
        {
            "noise": ("noise", "e80562d7f6c3f8834afb1ecf27252745"),
            "blur": ("blur", "2d8e81fdd8e07fef67b9334fa635e45c"),
            "weather": ("weather", "33ffea4db4d93fe4a428c40a6ce0c25d"),
            "digital": ("digital", "89157860d7b10d5797849337ca2e5c03"),
            "extra": ("extra", "d492dfba5fc162d8ec2c3cd8ee672984"),
        },
    ),
    "imagenet-p": Published(
        3565846,
        {
            "blur": ("blur", "869b2d2fb1604d1baa4316b5ecc9fdea"),
            "digital": ("digital", "8c1f73e4912812788e2fdb637cd55372"),
            "noise": ("noise", "619b37b5139ce764f77ce3bed3aee837"),
            "weather": ("weather", "a597ff6db8c6fb0dbcd6eb12ed620002"),
        },
    ),
    "cifar10-c": Published(2535967, {"all": ("CIFAR-10-C", "56bf5dcef84df0e2308c6dcbcbbd8499")}),
    "cifar100-c": Published(3555552, {"all": ("CIFAR-100-C", "11f0ed0f1191edbf9fa23466ae6021d3")}),
}


@click.command()
@click.argument("dataset")
@click.option("--family", "families", multiple=True, help="Only this archive; may be repeated.")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="The folder to fill.")
def main(dataset: str, families: tuple[str, ...], to: Path) -> None:
    """Downloads a DATASET (imagenet-c, imagenet-p, cifar10-c, cifar100-c) and unpacks it."""
    if dataset not in DATASETS:
        raise UnknownName("data set to download", dataset, DATASETS)
    published = DATASETS[dataset]
    for family in families:
        if family not in published.archives:
            raise UnknownName(f"family of {dataset}", family, published.archives)
    for family in families or published.archives:
        fetch(published.download(family), to)
        click.echo(f"{dataset} {family} is in {to}")


def fetch(download: Download, to: Path) -> None:
    """Downloads an archive and unpacks it, unless that was done before.

    Raises:
        UsageError: the disk is too small for the archive and what is in it.
        DownloadError: it cannot be fetched, is not the published one, or holds what it should not.
    """
    archive = to / download.url.rpartition("/")[2]
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
            f"{archive.parent} has {free / 1e9:.1f} GB free, {archive.name} takes "
            f"{needed / 1e9:.1f} GB with what is in it; make room or name another --to"
        )


def unpack(archive: Path, to: Path) -> None:
    """Unpacks a tar archive of plain files.

    Raises:
        DownloadError: a member lies outside the folder, or is no plain file; or it is no archive.
    """
    console = Console(stderr=True)
    try:
        with (
            tarfile.open(archive, "r:") as tar,  # the published ones are not compressed
            Progress(console=console, disable=not console.is_terminal) as bar,
        ):
            task = bar.add_task(f"unpacking {archive.name}", total=archive.stat().st_size)
            for member in tar:
                if not (member.isreg() or member.isdir()) or member.name.startswith("/"):
                    raise tarfile.TarError(f"{member.name} is a link, a device or an outer path")
                tar.extract(member, to, filter="data")
                bar.update(task, completed=tar.offset)
    except (tarfile.TarError, OSError) as error:
        raise DownloadError(f"{archive} cannot be unpacked ({cause(error)})") from error


if __name__ == "__main__":
    run_command(main)
