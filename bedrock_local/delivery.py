"""Send a response that is not streamed, damaged if a directive orders that.

Faults that a stream has after N frames (see `controls`), a body has after N bytes: the connection closes, the body ends
as if it were complete, or continues with bytes that are not JSON.
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
    """Send a 200 with a JSON body, held or damaged as the directives order."""
    response = reply(incoming.call.id, body, headers)
    if controls.hold in ("here", "after", "answer"):
        await local.holds.wait(controls.pause)
    elif controls.hold is not None:
        return await _held(local, incoming, response, controls)
    if not controls.damages:
        return response
    written = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if controls.cut:
        return await _cut(incoming, response, written, controls.after)
    rest = b"" if controls.end else b"\0" + written[controls.after + 1 :]
    response.body = written[: controls.after] + rest
    return response


async def _held(local: Local, incoming: Incoming, whole: web.Response, directives: Controls) -> web.StreamResponse:
    """Send the headers of the complete body, and wait before, within or at the end of it."""
    assert isinstance(whole.body, bytes)
    body, response = whole.body, web.StreamResponse(headers=whole.headers)
    response.content_length = len(body)
    with local.holds.point(True, directives.pause) as point:
        assert point is not None
        await response.prepare(incoming.http)
        first = {"headers": 0, "start": 1}.get(directives.hold or "", len(body) - 1)
        if first:
            await response.write(body[:first])
        await point.wait()
        await response.write(body[first:])
    return response


async def _cut(incoming: Incoming, whole: web.Response, body: bytes, after: int) -> web.StreamResponse:
    """Send the headers of the complete body and its first `after` bytes, and close; with 0, only close."""
    response = web.StreamResponse(headers=whole.headers)
    response.content_length = len(body)
    if after:
        await response.prepare(incoming.http)
        await response.write(body[:after])
    if incoming.http.transport is not None:
        incoming.http.transport.close()
    return response
