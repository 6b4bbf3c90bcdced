"""Downloads from a server on the loopback interface, whose answers each test configures."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from robustbench_aa.errors import DownloadError
from robustbench_aa.support.download import Download

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT.

    Attributes:
        cuts: how many bytes of its answer each of the next requests gets, before it is cut off.
        ranges: whether it can continue.
        content: what it serves.
        asked: the Range header of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.cuts: list[int] = []
        self.ranges = True
        self.content = CONTENT
        self.asked: list[str | None] = []

    def download(self, path: str = "weights.pth", digest: str = SHA256[:8]) -> Download:
        return Download(f"http://127.0.0.1:{self.server_port}/{path}", "sha256", digest)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/weights.pth":
            return self.send_error(403)
        start = 0
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(self.server.content):
                return self.send_error(416)
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        self.wfile.write(body[:cut])
        return None

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_file_arrives_whole_and_only_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "weights.pth"
    for _ in range(2):
        assert server.download().to(path) == path
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert not path.with_name("weights.pth.part").exists()


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_continued(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.cuts, server.ranges = [1000, 2000, 5000], ranges
    if not ranges:
        server.cuts = [1000]  # each answer starts again, and must get further than the last
    path = server.download().to(tmp_path / "weights.pth")
    assert path.read_bytes() == CONTENT
    continued = ["bytes=1000-", "bytes=3000-", "bytes=8000-"] if ranges else ["bytes=1000-"]
    assert server.asked == [None, *continued]


def test_the_next_call_continues_too(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 0]
    path = tmp_path / "weights.pth"
    with pytest.raises(DownloadError, match=r"weights\.pth cannot be downloaded \(.*\); fetch it"):
        server.download().to(path)
    assert not path.exists()
    assert path.with_name("weights.pth.part").read_bytes() == CONTENT[:1000]
    server.download().to(path)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000-"


@pytest.mark.parametrize("part", [CONTENT, b"x" * len(CONTENT), CONTENT + b"more"])
def test_a_part_that_is_long_enough_is_checked(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "weights.pth.part").write_bytes(part)
    assert server.download().to(tmp_path / "weights.pth").read_bytes() == CONTENT


def test_other_bytes_are_refused(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(DownloadError, match=rf"its sha256 does not begin with {SHA256[:8]}"):
        server.download().to(tmp_path / "weights.pth")
    assert not list(tmp_path.glob("weights.pth*[!k]"))


def test_a_part_of_other_bytes_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "weights.pth.part").write_bytes(b"x" * 100)
    with pytest.raises(DownloadError, match="does not begin with"):
        server.download().to(tmp_path / "weights.pth")
    server.download().to(tmp_path / "weights.pth")


def test_a_damaged_file_in_the_cache_is_named(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT[:100])
    with pytest.raises(DownloadError, match=r"weights\.pth is not the published file .* delete it"):
        server.download().to(path)
    assert path.read_bytes() == CONTENT[:100]


@pytest.mark.parametrize("closed", [False, True])
def test_a_failing_download_names_the_path_for_the_file(tmp_path: Path, closed: bool) -> None:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        download = server.download("forbidden.pth")
        if not closed:
            with pytest.raises(DownloadError, match=r"\(HTTP Error 403: Forbidden\); fetch it"):
                download.to(tmp_path / "a.pth")
        server.shutdown()
    if closed:
        message = (
            rf"{download.url} cannot be downloaded \(.*refused\); .* save it as {tmp_path}/a.pth"
        )
        with pytest.raises(DownloadError, match=message):
            download.to(tmp_path / "a.pth")


def test_a_folder_that_cannot_be_made_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DownloadError, match=r"file/weights\.pth cannot be written"):
        server.download().to(tmp_path / "file" / "weights.pth")


def test_several_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: server.download().to(tmp_path / "weights.pth"), range(8)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.asked) == 1
