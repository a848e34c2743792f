"""Basic auth: passwords against bcrypt hashes, away from the event loop, each right one once."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping

import bcrypt
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.web.access import Access

# bcrypt reads no further, and the library refuses longer ones; htpasswd and Go cut off as well.
BCRYPT_BYTES = 72
# A hash as htpasswd writes it takes 50-100 ms. One at a time leaves the other core to the polls.
CHECKS_AT_ONCE = 1
# Who comes behind these would wait for seconds; a flood of guesses must not become a queue.
MAX_WAITING = 32
# Right passwords only: more than the scrapers and people any daemon has.
REMEMBERED = 100

_UNAUTHORIZED = "Say who you are: a user and password of basic_auth_users in --web.config.file.\n"


class PasswordCheck:
    """Checks passwords. An unknown user costs what a wrong password costs."""

    def __init__(self) -> None:
        self._digest_key = secrets.token_bytes(32)
        # Keyed digests, so that neither memory nor the time of a look-up tells a password.
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._gate = asyncio.Semaphore(CHECKS_AT_ONCE)
        self._waiting = 0

    async def is_right(self, users: Mapping[str, str], name: str, password: str) -> bool | None:
        """Return whether this is the user's password; None when too many are waiting already."""
        known = users.get(name)
        hashed = known if known is not None else _nobodys_hash(users)
        digest = self._digest(name, password, hashed)
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        if self._waiting >= MAX_WAITING:
            return None
        self._waiting += 1
        try:
            async with self._gate:
                matches = await asyncio.to_thread(_matches, password, hashed)
        finally:
            self._waiting -= 1
        if not matches or known is None:
            return False
        self._right[digest] = None
        if len(self._right) > REMEMBERED:
            self._right.popitem(last=False)
        return True

    def _digest(self, *parts: str) -> bytes:
        """Return a digest that a changed hash changes too, so that an old password is not remembered."""
        digest = hashlib.blake2b(key=self._digest_key)
        for part in parts:
            encoded = part.encode(errors="surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.digest()


def _matches(password: str, hashed: str) -> bool:
    try:
        return bcrypt.checkpw(password.encode()[:BCRYPT_BYTES], hashed.encode())
    except ValueError:  # a hash of the right shape whose salt is none
        return False


def _nobodys_hash(users: Mapping[str, str]) -> str:
    """Return a hash that nothing matches, as dear as the dearest real one."""
    cost = max(hashed.split("$")[2] for hashed in users.values())
    return f"$2b${cost}${'.' * 53}"


class BasicAuth:
    """ASGI middleware that lets in who is in the web file, or everybody when nobody is."""

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self._app = app
        self._access = access
        self._check = PasswordCheck()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401; 503 while too many passwords wait to be checked."""
        answer = await self._refusal(Headers(scope=scope).get("authorization", ""))
        await (answer or self._app)(scope, receive, send)

    async def _refusal(self, authorization: str) -> PlainTextResponse | None:
        users = self._access.users()
        if not users:
            return None
        credentials = _credentials(authorization)
        is_right = await self._check.is_right(users, *credentials) if credentials else False
        if is_right:
            return None
        if is_right is None:
            return PlainTextResponse("Too many logins wait.\n", status_code=503, headers={"retry-after": "5"})
        return PlainTextResponse(
            _UNAUTHORIZED,
            status_code=401,
            headers={"www-authenticate": 'Basic realm="qdrant-exporter", charset="UTF-8"'},
        )


def _credentials(authorization: str) -> tuple[str, str] | None:
    """Return user and password of an Authorization header, or None when it is no basic one."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
