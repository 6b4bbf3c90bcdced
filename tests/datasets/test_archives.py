"""The published archives, from a server on the loopback interface."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import shutil
import stat
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from robustbench_aa.cli.data import download
from robustbench_aa.datasets import DATASETS, Request, open_dataset
from robustbench_aa.datasets.archives import default_folder
from robustbench_aa.datasets.image_lists import PUBLISHED, read_image_list
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.natural_shifts import IMAGENET_A, IMAGENET_R
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.errors import DownloadError, UnknownName, UsageError
from robustbench_aa.support.download import Download
from robustbench_aa.types import Shard


class Server(NamedTuple):
    folder: Path
    asked: list[str]
    port: int

    def serve(self, file: str, content: bytes) -> Download:
        (self.folder / file).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        return Download(f"http://127.0.0.1:{self.port}/{file}", "sha256", digest)


def publish(monkeypatch: pytest.MonkeyPatch, name: str, archives: Mapping[str, Download]) -> None:
    entry = dataclasses.replace(DATASETS[name], archives=archives)
    monkeypatch.setitem(DATASETS._objects, name, entry)


@pytest.fixture
def loopback(tmp_path: Path) -> Iterator[Server]:
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
    yield Server(folder, asked, http.server_port)
    http.shutdown()
    http.server_close()


@pytest.fixture
def server(loopback: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Server]:
    """Publish an archive as ImageNet-C's noise."""

    def serve(archive: bytes) -> Server:
        publish(monkeypatch, "imagenet-c", {"noise": loopback.serve("noise.tar", archive)})
        return loopback

    return serve


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
    with pytest.raises(DownloadError, match="its sha256 does not begin with"):
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
    archives = {archive for entry in DATASETS.values() for archive in entry.archives.values()}
    urls = {archive.url for archive in archives}
    assert "https://zenodo.org/records/2235448/files/noise.tar" in urls
    assert len(urls) == len(archives) == 23
    for archive in archives:
        assert len(archive.digest) == {"md5": 32, "sha256": 64}[archive.algorithm]
        assert int(archive.digest, 16)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("imagenet-1k", r"https://image-net\.org/download"),
        ("imagenet-c-live", r"https://image-net\.org/download"),
        ("imagenet-c-bar", r"https://dl\.fbaipublicfiles\.com/inc_bar/imagenet_c_bar\.tar\.gz"),
        ("imagenet-3dcc", "https://github.com/EPFL-VILAB/3DCommonCorruptions"),
        ("cifar10-c-bar", "make_cifar10_c_bar.py"),
    ],
)
def test_a_data_set_that_is_not_public_says_where_to_get_it(
    tmp_path: Path, name: str, place: str
) -> None:
    with pytest.raises(UsageError, match=rf"{name} cannot be downloaded: .*{place}"):
        run(name, "--output-dir", str(tmp_path))


def test_every_data_set_of_files_can_be_downloaded_or_says_where_to_get_it() -> None:
    for name, entry in DATASETS.items():
        if entry.variable and entry.form != "files":
            assert bool(entry.archives) != bool(entry.obtain), name


# small archives of the true layouts


def image(side: int) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(side).integers(256, size=(side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def video(frames: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mp4")
        encode_video(torch.zeros(frames, 3, 224, 224, dtype=torch.uint8), path, {})
        return path.read_bytes()


def array(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def cells(corruption: str, classes: list[str], side: int, top: str = "") -> bytes:
    return tar(
        *(
            (f"{top}{corruption}/{severity}/{wnid}/a.JPEG", image(side))
            for severity in range(1, 6)
            for wnid in classes
        )
    )


def folders(top: str, classes: list[Any], name: str = "a.jpg") -> list[tuple[str, bytes]]:
    return [(f"{top}/{one}/{name}", image(9)) for one in classes]


def of(subset: str) -> list[str]:
    return [wnids()[int(place)] for place in subset.split()]


def arrays(top: str) -> bytes:
    labels, images = np.tile([3, 8], 5), np.zeros((10, 32, 32, 3), np.uint8)
    return tar((f"{top}/labels.npy", array(labels)), (f"{top}/fog.npy", array(images)))


def annotated(classes: list[str]) -> bytes:
    lines = [f"val_{place}.JPEG\t{wnid}\t0\t0\t9\t9\n" for place, wnid in enumerate(classes)]
    top = "tiny-imagenet-200/val"
    images = [(f"{top}/images/val_{place}.JPEG", image(64)) for place in range(len(classes))]
    return zipped((f"{top}/val_annotations.txt", "".join(lines).encode()), *images)


TEST_BATCH = pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [3, 8]})
TWO_HUNDRED = wnids()[::5]
CIFAR_10 = gzip.compress(tar(("cifar-10-batches-py/test_batch", TEST_BATCH)))
ARCHIVES: dict[str, tuple[str, Callable[[], bytes], int]] = {
    "imagenet-c": ("noise", lambda: cells("gaussian_noise", wnids()[:2], 224), 2),
    "imagenet-p": (
        "noise",
        lambda: tar((f"gaussian_noise/{wnids()[0]}/a.mp4", video(31))),
        1,
    ),
    "imagenet-a": ("all", lambda: tar(*folders("imagenet-a", of(IMAGENET_A))), 200),
    "imagenet-r": ("all", lambda: tar(*folders("imagenet-r", of(IMAGENET_R))), 200),
    "imagenet-v2": (
        "all",  # named .tar.gz, but published uncompressed
        lambda: tar(*folders("imagenetv2-matched-frequency-format-val", [0, 10], "a.jpeg")),
        2,
    ),
    "imagenet-v2-threshold": (
        "all",
        lambda: gzip.compress(tar(*folders("imagenetv2-threshold0.7-format-val", [7], "a.jpeg"))),
        1,
    ),
    "imagenet-v2-top": (
        "all",
        lambda: tar(*folders("imagenetv2-top-images-format-val", [7, 8, 9], "a.jpeg")),
        3,
    ),
    "imagenet-sketch": (
        "all",
        lambda: zipped(*folders("sketch", wnids()[:3], "sketch_0.JPEG")),
        3,
    ),
    "tiny-imagenet-c-live": ("all", lambda: annotated(TWO_HUNDRED), 200),
    "tiny-imagenet-p-live": ("all", lambda: annotated(TWO_HUNDRED), 200),
    "tiny-imagenet-shift": ("all", lambda: annotated(TWO_HUNDRED), 200),
    "tiny-imagenet-c": (
        "all",
        lambda: cells("gaussian_noise", TWO_HUNDRED, 64, "Tiny-ImageNet-C/"),
        200,
    ),
    "cifar10-c-live": ("all", lambda: CIFAR_10, 2),
    "cifar10-p-live": ("all", lambda: CIFAR_10, 2),
    "cifar10-shift": ("all", lambda: CIFAR_10, 2),
    "cifar10-c": ("all", lambda: arrays("CIFAR-10-C"), 2),
    "cifar100-c": ("all", lambda: arrays("CIFAR-100-C"), 2),
    "cifar10-p": (
        "all",
        lambda: tar(("CIFAR-10-P/tilt.npy", array(np.zeros((2, 31, 32, 32, 3), np.uint8)))),
        2,
    ),
}
"""By data set: an archive, its content, and the number of its images."""


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_downloaded_archive_opens_where_it_was_unpacked(
    loopback: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    family, content, images = ARCHIVES[name]
    file = DATASETS[name].archives[family].url.rpartition("/")[2]
    publish(monkeypatch, name, {family: loopback.serve(file, content())})
    to = tmp_path / "to"
    to.mkdir()
    if name == "cifar10-p":  # its archive has no labels
        np.save(to / "labels.npy", np.array([3, 8]))
    run(name, "--output-dir", str(to))
    assert not (to / file).exists()
    dataset = open_dataset(name, Request(data_dir=str(to)))
    assert dataset.images == images
    distortion = next(cell for cell in dataset.distortions if cell not in dataset.missing)
    (batch,) = dataset.read(distortion, Shard(0, 1), 100, torch.device("cpu"))
    assert batch.frames.shape[-2:] == (dataset.size, dataset.size)


def test_published_files_that_are_no_archives_stay_as_they_are(
    loopback: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = json.dumps([[7]] * 50_000).encode()
    publish(monkeypatch, "imagenet-real", {"all": loopback.serve("real.json", labels)})
    to = tmp_path / "val"
    (to / wnids()[7]).mkdir(parents=True)
    (to / wnids()[7] / "ILSVRC2012_val_00000001.JPEG").write_bytes(image(9))
    for _ in range(2):
        run("imagenet-real", "--output-dir", str(to))
    assert loopback.asked == ["/real.json"]
    assert open_dataset("imagenet-real", Request(data_dir=str(to))).images == 1
    names = b"n01440764/ILSVRC2012_val_00000293.JPEG"
    file = loopback.serve("imagenet_test_image_ids.txt", names)
    monkeypatch.setitem(PUBLISHED, "robustbench-5k", file)
    run("robustbench-5k", "--output-dir", str(tmp_path / "lists"))
    found = read_image_list(tmp_path / "lists" / "imagenet_test_image_ids.txt")
    assert found.names == (names.decode(),)


def linked(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "archive",
    [
        zipped(("../outside", b"x")),
        zipped(("a/../../outside", b"x")),
        zipped(("/absolute", b"x")),
        zipped(("..\\outside", b"x")),
        linked("link"),
        b"no zip at all",
    ],
)
def test_a_zip_archive_that_leaves_its_folder_is_refused(
    loopback: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: bytes
) -> None:
    publish(monkeypatch, "imagenet-sketch", {"all": loopback.serve("sketch.zip", archive)})
    to = tmp_path / "deep" / "to"
    with pytest.raises(DownloadError, match=r"sketch\.zip cannot be unpacked \("):
        run("imagenet-sketch", "--output-dir", str(to))
    assert sorted(path.name for path in to.iterdir()) == ["sketch.zip", "sketch.zip.lock"]
    assert not (tmp_path / "deep" / "outside").exists()
