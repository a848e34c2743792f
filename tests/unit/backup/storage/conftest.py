"""Stores of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.backup.storage.bandwidth import Bandwidth
from exporter.backup.storage.local import LocalStore
from exporter.clock import SystemClock
from tests.kit.s3_server import S3Server, s3_server


@pytest.fixture(scope="session")
def running_s3() -> Iterator[S3Server]:
    """One S3 server for all tests of a worker; each test has a bucket of its own."""
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(running_s3: S3Server) -> S3Server:
    """The S3 server, without faults of another test."""
    running_s3.faults.clear()
    running_s3.requests.clear()
    return running_s3


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    """A store in a directory that is not there yet."""
    clock = SystemClock()
    return LocalStore(tmp_path / "store", bandwidth=Bandwidth(None, clock=clock), clock=clock)
