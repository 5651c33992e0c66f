"""Sending a whole answer, and spoiling it where a text orders that.

What a stream does after so many frames (see `controls`), a whole answer does after so many bytes of its body: end the
connection, end the body as if that were all, or go on with something that is no JSON.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bedrock_local.controls import Controls
from bedrock_local.state import Incoming, Local, reply


async def deliver(
    local: Local,
    incoming: Incoming,
    body: Mapping[str, Any],
    controls: Controls,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Give the 200 with a JSON body, when and how that was ordered, or what was ordered in its place."""
    response = reply(incoming.call.id, body, headers)
    if controls.hold in ("here", "answer"):
        await local.holds.wait(controls.pause)
    elif controls.hold is not None:
        return await _held(local, incoming, response, controls)
    if not controls.spoils:
        return response
    written = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if controls.cut:
        return await _cut(incoming, response, written, controls.after)
    rest = b"" if controls.end else b"\0" + written[controls.after + 1 :]
    response.body = written[: controls.after] + rest
    return response


async def _held(local: Local, incoming: Incoming, whole: web.Response, ordered: Controls) -> web.StreamResponse:
    """Announce the whole body, and wait before, within or at the end of it."""
    assert isinstance(whole.body, bytes)
    body, response = whole.body, web.StreamResponse(headers=whole.headers)
    response.content_length = len(body)
    with local.holds.point(True, ordered.pause) as point:
        assert point is not None
        await response.prepare(incoming.http)
        first = {"headers": 0, "start": 1}.get(ordered.hold or "", len(body) - 1)
        if first:
            await response.write(body[:first])
        await point.wait()
        await response.write(body[first:])
    return response


async def _cut(incoming: Incoming, whole: web.Response, body: bytes, after: int) -> web.StreamResponse:
    """Announce the whole body, send its beginning, and close; without any byte to send, only close."""
    response = web.StreamResponse(headers=whole.headers)
    response.content_length = len(body)
    if after:
        await response.prepare(incoming.http)
        await response.write(body[:after])
    if incoming.http.transport is not None:
        incoming.http.transport.close()
    return response
