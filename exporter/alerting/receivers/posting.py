"""One HTTP POST with a total deadline: no redirect, no reused connection, no secret in what it says."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from exporter import __version__
from exporter.alerting.receivers.answers import REASON_CHARACTERS, Answer, NoAnswer, no_answer
from exporter.alerting.receivers.own_threads import in_own_thread
from exporter.alerting.words import Outcome
from exporter.config.addresses import is_ip_address
from exporter.config.quantities import format_duration
from exporter.logs import spellings_of
from exporter.qdrant.names import HostLookup

USER_AGENT = f"qdrant-exporter/{__version__}"
JSON_HEADERS: Mapping[str, str] = {"Content-Type": "application/json"}

NAME_HANGS = "nobody answered within {} what address the host has: look at the name servers"
# Services say no in a line or two; what a wrong address answers may have no end.
ANSWER_BYTES = 8_192
# A part of a URL shorter than this is a word such as "hooks", and blotting it out would only puzzle.
SECRET_PART_CHARACTERS = 8

# These log each request's URL, which is the secret of most receivers, and headers that may repeat it.
_TALKATIVE = ("httpx", "httpcore")

# Never through a proxy, as no program does it.
_DIRECT_HOSTS = ("localhost", "127.0.0.1", "::1")
_DIRECT = ("all://localhost", "all://127.0.0.1", "all://[::1]")


class Poster:
    """The HTTP door of one receiver; connects when it first sends.

    Each POST has a connection of its own: an idle one may die as we write to it, and then
    nobody knows whether the message arrived. A few notifications a minute can afford it.
    """

    def __init__(
        self,
        *,
        deadline_seconds: float,
        secrets: Iterable[str],
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        ours = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"}
        self._headers = {**(headers or {}), **ours}
        self._auth = auth
        known = {*secrets, *_of_basic_auth(auth)}
        spelt = {spelling for secret in known for spelling in spellings_of(secret)}
        self._secrets = sorted(spelt, key=len, reverse=True)  # one may be the beginning of another
        self._client: httpx.AsyncClient | None = None
        self._making = asyncio.Lock()
        self._lookup = HostLookup()

    async def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] = JSON_HEADERS
    ) -> Answer | NoAnswer:
        """Send once and return what came of it. Raises nothing for what the network or the service does."""
        way = _Way()
        try:
            _check(url)
            async with asyncio.timeout(self._deadline_seconds):
                client = await self._ready_client()
                request = client.build_request(
                    "POST", url, content=body, headers=headers, extensions={"trace": way.note}
                )
                await self._look_up(request.url)
                way.looked_up = True
                await way.go(client, request)
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if isinstance(error, TimeoutError) and not way.looked_up:
                return NoAnswer(Outcome.RETRY, NAME_HANGS.format(format_duration(self._deadline_seconds)))
            if way.answer is None:
                return no_answer(error, written=way.written, deadline_seconds=self._deadline_seconds)
        assert way.answer is not None
        return way.answer

    def shown(self, body: bytes) -> str:
        """Return a server's words on one line, cut, without secrets, in whatever case it echoes them."""
        text = body.decode("utf-8", "replace")
        for secret in self._secrets:
            text = re.sub(re.escape(secret), "***", text, flags=re.IGNORECASE)
        words = "".join(letter if letter.isprintable() else " " for letter in text)
        line = " ".join(words.split())
        return line if len(line) <= REASON_CHARACTERS else line[: REASON_CHARACTERS - 1] + "…"

    async def close(self) -> None:
        """Close the client. A later `post` makes a new one."""
        await self._lookup.close()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ready_client(self) -> httpx.AsyncClient:
        async with self._making:
            if self._client is None:
                for talkative in _TALKATIVE:
                    logging.getLogger(talkative).setLevel(logging.WARNING)
                # Off the loop: reading the system's authorities takes some ten milliseconds.
                context = await in_own_thread(ssl.create_default_context)
                self._client = self._new_client(context)
            return self._client

    async def _look_up(self, url: httpx.URL) -> None:
        """Ask for the addresses of the host that will be connected to. Raises OSError where it has none.

        httpx asks again, in the event loop's pool of few threads, where a name server that says nothing
        would leave no thread for anybody else. So it asks only for what was answered a moment ago; here
        a name that hangs holds one thread of its own, whatever the number of attempts.
        """
        host = host_connected_to(url)
        if not is_ip_address(host):
            await self._lookup.resolve(host)

    def _new_client(self, context: ssl.SSLContext) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(
                verify=context,
                headers=self._headers,
                auth=self._auth,
                timeout=self._timeouts(),
                follow_redirects=False,
                limits=httpx.Limits(max_keepalive_connections=0),
                mounts=dict.fromkeys(_DIRECT),
            )
        except (ValueError, ImportError):  # of what the environment says of proxies
            raise httpx.InvalidURL("proxy") from None

    def _timeouts(self) -> httpx.Timeout:
        """Return the time of each step. The total is held by `post`, but httpx leaves a socket open
        where a TLS handshake is cancelled, so connecting has its own end before that."""
        return httpx.Timeout(self._deadline_seconds, connect=self._deadline_seconds / 2)


def _check(url: str) -> None:
    """Raise InvalidURL where httpx would only find out as it connects."""
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise httpx.InvalidURL("no such port")


def host_connected_to(url: httpx.URL) -> str:
    """Return the host of a URL, or of the proxy that the environment names for it."""
    if url.host in _DIRECT_HOSTS:
        return url.host
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(url.netloc.decode("ascii")):
        return url.host
    named = httpx.URL(proxy if "://" in proxy else f"http://{proxy}")
    return named.host or url.host


class _Way:
    """How far one request came."""

    def __init__(self) -> None:
        self.looked_up = False
        self.written = False
        self.answer: Answer | None = None

    async def note(self, event: str, _: Mapping[str, object]) -> None:
        """Hear of httpcore's steps. A TLS handshake that follows means that it spoke to a proxy so far."""
        if event.endswith("send_request_body.complete"):
            self.written = True
        elif event.endswith("start_tls.started"):
            self.written = False

    async def go(self, client: httpx.AsyncClient, request: httpx.Request) -> None:
        """Send; `answer` is there from the moment that its status is, and then its body as it comes."""
        response = await client.send(request, stream=True)
        try:
            retry_after = response.headers.get("Retry-After", "")
            self.answer = Answer(response.status_code, retry_after, b"")
            async for chunk in response.aiter_raw():
                self.answer = self.answer._replace(body=(self.answer.body + chunk)[:ANSWER_BYTES])
                if len(self.answer.body) == ANSWER_BYTES:
                    break
        finally:
            await response.aclose()


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield what of a secret URL may be echoed by itself: password, path, its long parts, long values."""
    yield url
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return
    pieces = (parts.path, parts.path.lstrip("/"), parts.query, *parts.path.split("/"))
    values = (value for _, value in parse_qsl(parts.query))
    for piece in (*pieces, *values):
        if len(piece) >= SECRET_PART_CHARACTERS:
            yield piece
    if password:
        yield password
        yield from _of_basic_auth((parts.username or "", password))


def _of_basic_auth(auth: tuple[str, str] | None) -> Iterator[str]:
    if auth is not None:
        yield auth[1]
        yield base64.b64encode(":".join(auth).encode()).decode("ascii")
