"""A place that takes messages as Slack's incoming webhooks do, on loopback."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from aiohttp import web

HOST = "127.0.0.1"
PATH = "/services/demo"
LARGEST_BODY_BYTES = 1024 * 1024
STOP_SECONDS = 1.0  # an answer under way at the end may take so long

_LINK = re.compile(r"<([^|>]*)\|([^>]*)>")


class Chat:
    """One incoming webhook. `on_message` is called with each message as its lines, the headline first."""

    def __init__(self, *, on_message: Callable[[list[str]], None]) -> None:
        self._on_message = on_message
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The webhook's address."""
        return f"http://{HOST}:{self._port}{PATH}"

    async def start(self) -> None:
        """Listen on a free port."""
        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_post(PATH, self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, 0)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        """Answer as Slack does: 200 ok, or 400 with one word for why not."""
        try:
            message = msgspec.json.decode(await request.read())
        except msgspec.DecodeError:
            return web.Response(status=400, text="invalid_payload")
        lines = list(lines_of(message)) if isinstance(message, dict) else []
        if not lines:
            return web.Response(status=400, text="no_text")
        self._on_message(lines)
        return web.Response(text="ok")


def lines_of(message: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a person reads of a message: its text, then the texts of its attachments."""
    if isinstance(message.get("text"), str):
        yield from _shown(message["text"])
    for attachment in message.get("attachments") or ():
        for block in attachment.get("blocks") or ():
            texts = [block["text"]] if "text" in block else block.get("elements", [])
            for text in texts:
                yield from _shown(text.get("text", ""))


def _shown(text: str) -> Iterator[str]:
    """Yield the lines of a text in Slack's own markup as they look there."""
    plain = _LINK.sub(r"\2: \1", text).replace("```", "")
    for line in plain.splitlines():
        if line.strip():
            yield html.unescape(line).strip("*")
