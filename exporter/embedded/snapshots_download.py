"""Sending a snapshot: whole and gzipped, or a range of it and plain, as Qdrant does it."""

from __future__ import annotations

import asyncio
import os
import re
from email.utils import formatdate
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import web

PIECE_BYTES = 256 * 1024
NANOSECONDS = 1_000_000_000
# One range, or the first of several: "bytes=10-19", "bytes=10-", "bytes=-7".
RANGE = re.compile(r"bytes=(\d*)-(\d*)(?:,.*)?")


async def send_file(request: web.Request, path: Path) -> web.StreamResponse:
    """Answer with a file: 200, 206 for a range, 412 where If-Match names another, 416 for no such range.

    Like Qdrant this heeds no If-Range: only the ETag of a 206 tells whether it is still the same file.
    Raises OSError where it cannot be opened.
    """
    file = await asyncio.to_thread(path.open, "rb")
    try:
        return await _send(request, file, path.name)
    finally:
        file.close()


async def _send(request: web.Request, file: BinaryIO, name: str) -> web.StreamResponse:
    seen = os.fstat(file.fileno())
    headers = _headers(name, seen)
    if request.headers.get("If-Match", "*") not in ("*", headers["ETag"]):
        return web.Response(status=412, headers=headers)
    first, length, status = 0, seen.st_size, 200
    if (asked := request.headers.get("Range")) is not None:
        found = _range(asked, seen.st_size)
        if found is None:
            return web.Response(status=416, headers={**headers, "Content-Range": f"bytes */{seen.st_size}"})
        first, length, status = found[0], found[1], 206
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{seen.st_size}"
        headers["Content-Encoding"] = "identity"
    response = web.StreamResponse(status=status, headers=headers)
    if status == 200 and "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    else:
        response.content_length = length
    await response.prepare(request)
    file.seek(first)
    while length and (piece := await asyncio.to_thread(file.read, min(length, PIECE_BYTES))):
        length -= len(piece)
        await response.write(piece)
    await response.write_eof()
    return response


def _headers(name: str, seen: os.stat_result) -> dict[str, str]:
    seconds, nanoseconds = divmod(seen.st_mtime_ns, NANOSECONDS)
    plain = name.isascii() and name.isprintable() and '"' not in name
    file_name = f'filename="{name}"' if plain else f"filename*=UTF-8''{quote(name, safe='')}"
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; {file_name}",
        "ETag": f'"{seen.st_ino:x}:{seen.st_size:x}:{seconds:x}:{nanoseconds:x}"',
        "Last-Modified": formatdate(seconds, usegmt=True),
        "Accept-Ranges": "bytes",
    }


def _range(asked: str, size_bytes: int) -> tuple[int, int] | None:
    """Return first byte and length of what a Range header asks for; None where that is nothing."""
    match = RANGE.fullmatch(asked)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size_bytes)
        return (size_bytes - length, length) if length else None
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    return (first, last - first + 1) if first <= last else None
