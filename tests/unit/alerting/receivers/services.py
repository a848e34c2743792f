"""What receivers talk to, on real sockets of 127.0.0.1: HTTP of any manner, and a small SMTP server."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple, Self


class Posted(NamedTuple):
    """One request, whole. Names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Manner:
    """How a service answers from now on."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False  # reads the request and says nothing
    resets: bool = False  # reads the request and breaks the connection
    stops_in_body: bool = False  # announces more than it sends, and waits
    statuses: tuple[int, ...] = ()  # for the next requests, one each


class Service:
    """An HTTP server on a port of its own; `posted` holds every whole request."""

    def __init__(self, manner: Manner | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.manner = manner or Manner()
        self.posted: list[Posted] = []
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await end(self._talks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
                await self._serve(reader, writer)
        finally:
            self._talks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.posted.append(Posted(head[0].split(" ")[1], headers, body))
            manner = self.manner
            if manner.hangs:
                await asyncio.Event().wait()
            if manner.resets:
                reset(writer)
                return
            writer.write(self._answer())
            await writer.drain()
            if manner.stops_in_body:
                await asyncio.Event().wait()
            if self.manner.status < 200:
                return  # what follows an interim answer never comes

    def _answer(self) -> bytes:
        manner, status = self.manner, self.manner.status
        if manner.statuses:
            status, manner.statuses = manner.statuses[0], manner.statuses[1:]
        if status < 200:
            return f"HTTP/1.1 {status} X\r\n\r\n".encode()
        body = b"" if status in (204, 304) else manner.body
        announced = len(body) + (100 if manner.stops_in_body else 0)
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {announced}"]
        lines += [f"{name}: {value}" for name, value in manner.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and wait for them."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with RST, as a crashed machine or a firewall does."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Mailbox:
    """A small SMTP server. `codes` are what it answers to a step instead of yes.

    Steps: greeting, ehlo, starttls, auth, mail, rcpt, data, end (after the mail).
    """

    codes: dict[str, int] = field(default_factory=dict)
    refused_recipients: Mapping[str, int] = field(default_factory=dict)
    hangs_at: str = ""
    resets_at: str = ""
    tls: ssl.SSLContext | None = None
    tls_at_once: bool = False
    mails: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._talks: set[asyncio.Task[None]] = set()
        at_once = self.tls if self.tls_at_once else None
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, ssl=at_once)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await end(self._talks)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError)
        try:
            with suppress(*gone):
                await _SmtpTalk(self, reader, writer).serve()
        finally:
            self._talks.discard(task)
            writer.close()


class _SmtpTalk:
    """One connection of a Mailbox."""

    def __init__(self, box: Mailbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._box = box
        self._reader = reader
        self._writer = writer
        self._sender = ""
        self._recipients: list[str] = []
        self._is_encrypted = box.tls_at_once

    async def serve(self) -> None:
        """Answer commands until the client says goodbye."""
        if not await self._say("greeting", 220, "mailbox"):
            return
        while line := await self._reader.readline():
            words = line.decode().rstrip("\r\n")
            verb = words.split(" ")[0].upper()
            if verb == "QUIT" or not await self._obey(verb, words):
                return

    async def _obey(self, verb: str, words: str) -> bool:
        if verb == "EHLO":
            offers = ["AUTH PLAIN"] + (["STARTTLS"] if self._box.tls and not self._is_encrypted else [])
            return await self._say("ehlo", 250, *("mailbox", *offers))
        if verb == "STARTTLS":
            return await self._encrypt()
        if verb == "AUTH":
            self._box.logins.append(base64.b64decode(words.split(" ")[2]).decode())
            return await self._say("auth", 235, "in")
        if verb == "MAIL":
            self._sender, self._recipients = words[words.index("<") + 1 : words.index(">")], []
            return await self._say("mail", 250, "ok")
        if verb == "RCPT":
            to = words[words.index("<") + 1 : words.index(">")]
            if to not in self._box.refused_recipients:
                self._recipients.append(to)
            return await self._say("rcpt", self._box.refused_recipients.get(to, 250), "ok")
        if verb == "DATA":
            return await self._take_mail()
        return await self._say("", 500, "what?")

    async def _encrypt(self) -> bool:
        if not await self._say("starttls", 220, "go"):
            return False
        assert self._box.tls is not None
        await self._writer.start_tls(self._box.tls)
        self._is_encrypted = True
        return True

    async def _take_mail(self) -> bool:
        if not await self._say("data", 354, "go on"):
            return False
        if "data" in self._box.codes:
            return True
        mail = await self._reader.readuntil(b"\r\n.\r\n")
        if "end" not in self._box.codes:
            self._box.mails.append(mail[:-3].replace(b"\r\n..", b"\r\n."))
            self._box.envelopes.append((self._sender, self._recipients))
        return await self._say("end", 250, "taken")

    async def _say(self, step: str, code: int, *lines: str) -> bool:
        """Answer; False where the conversation ends instead."""
        if step and step == self._box.hangs_at:
            await asyncio.Event().wait()
        if step and step == self._box.resets_at:
            reset(self._writer)
            return False
        code = self._box.codes.get(step, code)
        rows = [f"{code}-{line}" for line in lines[:-1]] + [f"{code} {lines[-1]}"]
        self._writer.write("".join(f"{row}\r\n" for row in rows).encode())
        await self._writer.drain()
        return True
