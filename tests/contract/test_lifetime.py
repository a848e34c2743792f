"""Connections and processes that end: what goes on, and what begins anew."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from exporter.embedded.server import EmbeddedServer
from exporter.qdrant.connection import KEEPALIVE_SECONDS
from tests.contract.ground import PACING, Qdrant
from tests.contract.look import gateway_to, key_of, look_at
from tests.kit.gateways import ask

# The server closes an idle connection after 5 s; this long afterwards it surely has.
IDLE_SECONDS = 6.5


async def test_a_connection_that_the_server_closed_meanwhile_costs_no_call(real: Qdrant) -> None:
    """The server closes it later than we would use it, and the next call just works."""
    async with gateway_to(real, **key_of(real)) as gateway:
        await ask(gateway, "/cluster")
        pause = asyncio.sleep(IDLE_SECONDS)
        closed_after_seconds, _ = await asyncio.gather(_idle_seconds(real.urls[0]), pause)
        await ask(gateway, "/cluster")
        counts = gateway.counts()

    assert KEEPALIVE_SECONDS + 1 < closed_after_seconds < IDLE_SECONDS
    assert {outcome: count for (_, outcome), count in counts.items() if count} == {"ok": 2}


async def _idle_seconds(url: str) -> float:
    """Return how long the server leaves a connection open after an answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: qdrant\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"passed")
        began = time.monotonic()
        async with asyncio.timeout(IDLE_SECONDS + 1):
            await reader.read()
        return time.monotonic() - began
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_restart_is_told_by_a_new_telemetry_id_and_keeps_the_data(tmp_path: Path) -> None:
    """Of the embedded server; a real one is not ours to restart."""
    looks = []
    ids = []
    prefix = None
    for _ in range(2):
        server = EmbeddedServer(pacing=PACING, data=tmp_path)
        await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                qdrant = Qdrant(urls=[server.url], api_key=None, session=session, embedded=server)
                if prefix is None:
                    prefix = qdrant.prefix
                    await qdrant.write(await qdrant.create(), 10)
                qdrant.prefix = prefix
                ids.append((await qdrant.telemetry(3))["id"])
                looks.append(await look_at(qdrant))
        finally:
            await server.stop()

    assert ids[0] != ids[1]
    assert [look.number("collection_points", f"{prefix}docs") for look in looks] == [10, 10]
    starts = [list(look.of("peer_start_time_seconds").values()) for look in looks]
    assert starts[0] < starts[1]
