"""The body of a request: read within bounds of bytes and time, and unpacked within the same bound."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from assay.gateway.limits import Caps
from assay.gateway.reject import Rejected

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]

_STEP = 1 << 16


async def read_body(receive: Receive, headers: dict[bytes, bytes], caps: Caps) -> bytes:
    """Return the whole body, unpacked. Raises Rejected 400, 408, 413 or 415; memory stays within the cap."""
    declared = headers.get(b"content-length")
    if declared is not None and (not declared.isdigit() or len(declared) > 18 or int(declared) > caps.body_bytes):
        raise _large(caps)
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in {b"identity", b"gzip", b""}:
        raise Rejected(415, "encoding", "the body may be plain or gzip")
    try:
        async with asyncio.timeout(caps.seconds):
            body = await _collect(receive, caps)
    except TimeoutError:
        raise Rejected(408, "slow", "the body did not arrive in time") from None
    return gunzip(body, caps) if encoding == b"gzip" else body


def gunzip(data: bytes, caps: Caps) -> bytes:
    """Return the content of one gzip member of at most ``caps.body_bytes``. Raises Rejected 400 or 413."""
    state = zlib.decompressobj(31)
    parts, total = [], 0
    try:
        while data and not state.eof:
            part = state.decompress(data, _STEP)
            total += len(part)
            if total > caps.body_bytes:
                raise _large(caps)
            parts.append(part)
            data = state.unconsumed_tail
        while not state.eof and (part := state.decompress(b"", _STEP)):
            total += len(part)
            if total > caps.body_bytes:
                raise _large(caps)
            parts.append(part)
    except zlib.error as error:
        raise Rejected(400, "gzip", f"the body is not valid gzip ({error})") from None
    if not state.eof or state.unused_data:
        raise Rejected(400, "gzip", "the body is not one complete gzip member")
    return b"".join(parts)


async def _collect(receive: Receive, caps: Caps) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    if len(body) > caps.body_bytes:
        raise _large(caps)
    if not message.get("more_body") and message["type"] == "http.request":
        return body
    parts, total = [body], len(body)
    while message.get("more_body") or message["type"] != "http.request":
        if message["type"] == "http.disconnect":
            raise Rejected(400, "disconnected", "the client went away")
        message = await receive()
        part = message.get("body", b"")
        total += len(part)
        if total > caps.body_bytes:
            raise _large(caps)
        parts.append(part)
    return b"".join(parts)


def _large(caps: Caps) -> Rejected:
    return Rejected(413, "bytes", f"the body is larger than {caps.body_bytes} bytes")
