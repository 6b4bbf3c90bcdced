"""Faults of object storages: an S3 server on this machine that fails or is slow."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.reliability.sandbox import Fault, Sandbox, expect, need

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
STATUS = {403: "403 Forbidden", 500: "500 Internal Server Error", 503: "503 Slow Down"}
FAILING, LATENCY = 0.3, 1.0
"""The share of requests that fail, and the seconds that a slow storage takes for each."""
BUCKET = "bucket"


def _serve(port: Connection, status: int, share: float, latency: float) -> None:
    """Serve S3 from memory; a share of the requests fails, and each takes some time."""
    import logging

    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    inner: Application = DomainDispatcherApplication(create_backend_app)
    drawn = random.Random(0)

    def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environment.get("REQUEST_METHOD") == "PUT" and environment["PATH_INFO"] == f"/{BUCKET}":
            return inner(environment, start)  # the bucket is there
        time.sleep(latency)
        if drawn.random() >= share:
            return inner(environment, start)
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start(STATUS[status], [("Content-Type", "application/xml")])
        return [b"<Error><Code>Failed</Code></Error>"]

    server = make_server("127.0.0.1", 0, application, threaded=True)
    port.send(server.port)
    server.serve_forever()


@contextmanager
def _server(status: int, share: float, latency: float) -> Iterator[dict[str, str]]:
    """Start a server with an empty bucket, and give the environment that leads to it."""
    need("moto", "s3fs", "upath", "tenacity")
    receiver, sender = get_context("fork").Pipe()
    process = get_context("fork").Process(target=_serve, args=(sender, status, share, latency))
    process.start()
    try:
        url = f"http://127.0.0.1:{receiver.recv()}"
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        process.kill()
        process.join()


def _make_bucket(url: str) -> None:
    import urllib.request

    request = urllib.request.Request(f"{url}/{BUCKET}", method="PUT", data=b"")
    with urllib.request.urlopen(request) as answer:
        expect(answer.status, 200, "the bucket")


def storage(sandbox: Sandbox, status: int, share: float, latency: float) -> Iterator[str]:
    """Use a storage that answers some requests with an error, or slowly."""
    with _server(status, share, latency) as environment:
        _make_bucket(environment["AWS_ENDPOINT_URL"])
        url = f"s3://{BUCKET}/run"
        start = time.perf_counter()
        ended = sandbox.benchmark(url, suite="small", environment=environment).wait()
        expect(ended.status, 0, f"{ended.last}")
        seconds = time.perf_counter() - start
        # the same command finds everything there; a merge brings it onto the disk
        output = f"storage-{status}-{latency:.0f}"
        again = sandbox.benchmark(url, suite="small", environment=environment).wait()
        expect(again.status, 0, again.last)
        for command in (("merge", url, "--output-dir", output), ("report", output)):
            ended = sandbox.run(*command, environment=environment).wait()
            expect(ended.status, 0, ended.last)
        sandbox.check_tables(sandbox.folder / output, "small")
    yield f"exit status 0 after {seconds:.0f} s"


FAULTS: dict[str, Fault] = {
    **{
        f"object storage answers {status} to 30% of requests": partial(
            storage, status=status, share=FAILING, latency=0
        )
        for status in STATUS
    },
    "object storage takes a second for each request": partial(
        storage, status=503, share=0, latency=LATENCY
    ),
}
