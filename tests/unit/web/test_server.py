"""Where it listens, and what it says when it cannot."""

from __future__ import annotations

import asyncio
import signal
import socket

import pytest

from exporter.clock import SystemClock
from exporter.errors import ListenError
from exporter.web.access import Access
from exporter.web.routes import web_app
from exporter.web.server import WebServer, _hosts, split_listen_address
from tests.unit.web.serving import Daemon, serving


def server_at(*listen_addresses: str) -> WebServer:
    """Return a server that is to listen there."""
    access = Access(path=None, clock=SystemClock())
    return WebServer(
        app=web_app(face=Daemon().face(), access=access, enable_lifecycle=False),
        access=access,
        listen_addresses=listen_addresses,
    )


async def test_it_tells_the_port_that_the_system_chose() -> None:
    """Port 0 is for tests and for people in a hurry."""
    server = server_at("127.0.0.1:0", "127.0.0.2:0")
    await server.start()
    try:
        assert [host for host, _ in server.addresses] == ["127.0.0.1", "127.0.0.2"]
        for host, port in server.addresses:
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
    finally:
        await server.stop()


async def test_it_listens_on_ipv6_too() -> None:
    """An address in brackets."""
    server = server_at("[::1]:0")
    try:
        await server.start()
    except ListenError:
        pytest.skip("this machine has no IPv6 loopback address; run where `ip -6 addr show lo` has ::1")
    try:
        assert server.addresses[0][0] == "::1"
    finally:
        await server.stop()


async def test_an_empty_host_means_every_interface() -> None:
    """IPv4, and IPv6 where Python knows it."""
    hosts = await _hosts(":10633", split_listen_address(":10633"))

    assert hosts[0] == (socket.AF_INET, "0.0.0.0")
    assert not socket.has_ipv6 or hosts[1] == (socket.AF_INET6, "::")


async def test_a_taken_port_is_named_with_what_to_do() -> None:
    """And no other address stays bound."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: port {port} is taken; stop what"):
            await server_at("127.0.0.2:0", f"127.0.0.1:{port}").start()


async def test_an_address_of_another_machine_is_named_as_such() -> None:
    """192.0.2.1 is nobody's, by RFC 5737."""
    with pytest.raises(ListenError, match="this machine has no such address"):
        await server_at("192.0.2.1:0").start()


async def test_signals_are_left_to_the_application() -> None:
    """uvicorn would take SIGINT and SIGTERM over."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with serving():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_the_port_is_free_again_after_the_stop() -> None:
    """A restart finds it."""
    async with serving() as site:
        host, port = site.address
    again = server_at(f"{host}:{port}")
    await again.start()
    await again.stop()

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)
