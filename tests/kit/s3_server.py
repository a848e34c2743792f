"""An S3 server on the loopback, moto's, that fails as told."""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Thread
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.objects import ObjectStore, Patience, Roads, client_of
from exporter.clock import SystemClock
from exporter.config.backup import S3Settings
from exporter.config.secret import Secret
from exporter.config.store_url import Bucket

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "very/secret+key"  # of a server that takes any

# As the real ones, with fewer tries.
SMALL = Patience(timedelta(seconds=20), timedelta(seconds=20), timedelta(seconds=5), retries=2)
IMPATIENT = Patience(timedelta(seconds=0.3), timedelta(seconds=0.3), timedelta(seconds=5), retries=1)
LARGE = Patience(timedelta(seconds=60), timedelta(seconds=60), timedelta(seconds=5), retries=2)
ONCE = Patience(timedelta(seconds=20), timedelta(seconds=20), timedelta(0), retries=0)


@dataclass
class Fault:
    """An answer in place of the server's own."""

    method: str
    path: str  # a regular expression, looked for in path and query
    status: int = 500
    code: str = "InternalError"
    times: int = 1
    is_done_first: bool = False  # the server does it, and its answer is lost
    delay_seconds: float = 0.0
    without_header: str = ""  # not an answer: the request is let through without this header


@dataclass
class S3Server:
    """A running server. `faults` are used up in order; `requests` holds all that came."""

    url: str
    client: Any
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=itertools.count)

    def new_bucket(self) -> str:
        """Make a bucket that no test has used."""
        name = f"bucket-{next(self._names)}"
        self.client.create_bucket(Bucket=name)
        return name

    def store(
        self,
        *,
        prefix: str = "some/prefix",
        exclusive: bool = True,
        bucket: str | None = None,
        small: Patience = SMALL,
    ) -> ObjectStore:
        """Make a store in a bucket, a new one where none is named."""
        place = Bucket(bucket or self.new_bucket(), prefix)
        settings = self.settings()
        roads = Roads(
            small=client_of(place, settings, small),
            once=client_of(place, settings, ONCE),
            large=client_of(place, settings, LARGE),
        )
        name = f"s3://{place.name}/{place.prefix}"
        return ObjectStore(name, roads, bandwidth=Bandwidth(None, clock=SystemClock()), exclusive=exclusive)

    def settings(self) -> S3Settings:
        """Return what a person would write to reach it."""
        return S3Settings(
            endpoint=self.url, region="us-east-1", access_key_id=Secret(KEY), secret_access_key=Secret(SECRET)
        )

    def unfinished(self, bucket: str) -> list[str]:
        """Return the keys of uploads that were begun and neither ended nor taken back."""
        listed = self.client.list_multipart_uploads(Bucket=bucket)
        return [upload["Key"] for upload in listed.get("Uploads", [])]

    def __call__(self, app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        """Stand between the server and the application."""

        def answered(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"] + "?" + environ["QUERY_STRING"]
            self.requests.append((method, path))
            fault = self._fault(method, path)
            if fault is None:
                return app(environ, start_response)
            time.sleep(fault.delay_seconds)
            if fault.without_header:
                environ.pop(fault.without_header, None)
                return app(environ, start_response)
            if fault.is_done_first:
                list(app(environ, lambda *_: None))
            else:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = f"<Error><Code>{fault.code}</Code><Message>{SECRET}</Message></Error>".encode()
            start_response(f"{fault.status} Said", [("Content-Length", str(len(body)))])
            return [body]

        return answered

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Run a server in a thread of this process."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # a line a request
    s3 = S3Server(url="", client=None)
    app = s3(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    s3.url = f"http://127.0.0.1:{server.server_port}"
    s3.client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name="us-east-1",
    )
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        s3.client.close()
