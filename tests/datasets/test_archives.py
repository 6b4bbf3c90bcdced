"""The published archives, from a server on the loopback interface."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from robustbench_aa.cli.data import download
from robustbench_aa.datasets import DATASETS
from robustbench_aa.datasets.archives import default_folder
from robustbench_aa.errors import DownloadError, UnknownName, UsageError
from robustbench_aa.support.download import Download


class Server(NamedTuple):
    folder: Path
    asked: list[str]

    def publish(self, monkeypatch: pytest.MonkeyPatch, port: int, archive: bytes) -> None:
        (self.folder / "noise.tar").write_bytes(archive)
        md5 = hashlib.md5(archive).hexdigest()
        noise = Download(f"http://127.0.0.1:{port}/noise.tar", "md5", md5)
        publish(monkeypatch, "imagenet-c", {"noise": noise})


def publish(monkeypatch: pytest.MonkeyPatch, name: str, archives: Mapping[str, Download]) -> None:
    entry = dataclasses.replace(DATASETS[name], archives=archives)
    monkeypatch.setitem(DATASETS._objects, name, entry)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    folder = tmp_path / "server"
    folder.mkdir()
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    serving = Server(folder, asked)
    yield lambda archive: serving.publish(monkeypatch, http.server_port, archive) or serving
    http.shutdown()
    http.server_close()


def tar(*members: tarfile.TarInfo | tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def run(*arguments: str) -> None:
    CliRunner().invoke(download, arguments, catch_exceptions=False)


def test_an_archive_is_fetched_checked_unpacked_and_not_fetched_again(
    server: Any, tmp_path: Path
) -> None:
    serving = server(tar(("gaussian_noise/1/n01440764/a.JPEG", b"pixels")))
    to = tmp_path / "to"
    for _ in range(2):
        run("imagenet-c", "--family", "noise", "--output-dir", str(to))
    assert (to / "gaussian_noise/1/n01440764/a.JPEG").read_bytes() == b"pixels"
    assert not (to / "noise.tar").exists()
    assert serving.asked == ["/noise.tar"] * 2  # its length, then itself
    (to / "noise.tar.unpacked").unlink()
    run("imagenet-c", "--output-dir", str(to))
    assert len(serving.asked) == 4


def test_the_default_folder_is_that_of_the_environment_or_named_like_the_data_set(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server(tar(("gaussian_noise/1/n01440764/a.JPEG", b"pixels")))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGENET_C_DIR", raising=False)
    run("imagenet-c")
    assert (tmp_path / "data/imagenet-c/gaussian_noise/1/n01440764/a.JPEG").exists()
    monkeypatch.setenv("IMAGENET_C_DIR", str(tmp_path / "named"))
    assert default_folder("imagenet-c") == tmp_path / "named"


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "member",
    [
        ("../outside", b"x"),
        ("a/../../outside", b"x"),
        ("/absolute", b"x"),
        link("link", "../outside", tarfile.SYMTYPE),
        link("link", "/etc/passwd", tarfile.LNKTYPE),
        link("device", "", tarfile.CHRTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_that_leaves_its_folder_is_refused(
    server: Any, tmp_path: Path, member: Any
) -> None:
    server(tar(member))
    to = tmp_path / "deep" / "to"
    with pytest.raises(DownloadError, match=r"noise\.tar cannot be unpacked \("):
        run("imagenet-c", "--output-dir", str(to))
    assert not (tmp_path / "deep" / "outside").exists()
    assert not Path("/absolute").exists()
    assert sorted(path.name for path in to.iterdir()) == ["noise.tar", "noise.tar.lock"]


def test_an_archive_that_is_not_the_published_one_is_refused(server: Any, tmp_path: Path) -> None:
    serving = server(tar(("a", b"x")))
    (serving.folder / "noise.tar").write_bytes(tar(("b", b"y")))
    with pytest.raises(DownloadError, match="its md5 does not begin with"):
        run("imagenet-c", "--output-dir", str(tmp_path / "to"))
    assert not (tmp_path / "to" / "b").exists()


def test_a_file_that_is_not_an_archive_is_refused(server: Any, tmp_path: Path) -> None:
    server(b"no tar at all")
    with pytest.raises(DownloadError, match=r"noise\.tar cannot be unpacked \("):
        run("imagenet-c", "--output-dir", str(tmp_path / "to"))


def test_a_disk_that_is_too_small_is_reported_before_the_download(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = server(tar(("a", b"x" * 10**6)))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1_500_000))
    with pytest.raises(UsageError, match=r"has 0\.0 GB free, noise\.tar needs 0\.0 GB"):
        run("imagenet-c", "--output-dir", str(tmp_path / "to"))
    assert serving.asked == ["/noise.tar"]
    assert not (tmp_path / "to" / "noise.tar").exists()


def test_an_unpublished_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown data set to download 'imagenet'"):
        run("imagenet", "--output-dir", str(tmp_path))
    with pytest.raises(UnknownName, match=r"unknown family of imagenet-c 'wether'.*weather"):
        run("imagenet-c", "--family", "wether", "--output-dir", str(tmp_path))


def test_an_unreachable_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Download("http://127.0.0.1:9/CIFAR-10-C.tar", "md5", "0")
    publish(monkeypatch, "cifar10-c", {"all": nowhere})
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/CIFAR-10-C.tar cannot be downl"):
        run("cifar10-c", "--output-dir", str(tmp_path))


def test_the_published_archives_are_named_in_full() -> None:
    archives = [archive for entry in DATASETS.values() for archive in entry.archives.values()]
    urls = {archive.url for archive in archives}
    assert "https://zenodo.org/records/2235448/files/noise.tar" in urls
    assert len(urls) == len(archives) == 11
    for archive in archives:
        assert archive.algorithm == "md5"
        assert len(archive.digest) == 32
        assert int(archive.digest, 16)
