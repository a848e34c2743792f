"""The system's resolver, asked in threads that hold nobody up."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from exporter.observe.roster import SystemResolver


async def test_a_name_resolves_to_its_numeric_addresses() -> None:
    """localhost is known everywhere, without a network."""
    addresses = await SystemResolver()("localhost", 6333)

    assert set(addresses) <= {"127.0.0.1", "::1"}
    assert addresses


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example"])
async def test_a_name_that_does_not_resolve_is_an_error_with_its_reason(host: str) -> None:
    """Both what the resolver refuses and what is no name at all."""
    with pytest.raises(OSError, match=r"\w+"):
        await SystemResolver()(host, 6333)


async def test_look_ups_that_hang_use_one_thread_a_name_however_often_they_are_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Callers give up, threads cannot: asking again must not start another."""
    started: list[str] = []
    release = threading.Event()

    def hanging(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        started.append(host)
        release.wait(5.0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    resolver = SystemResolver()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(resolver("slow", 6333), 0.02)

    waiting = asyncio.create_task(resolver("slow", 6333))
    await asyncio.sleep(0)
    release.set()

    assert await asyncio.wait_for(waiting, 20.0) == ("10.0.0.1",)
    assert started == ["slow"]
