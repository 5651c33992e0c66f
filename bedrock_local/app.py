"""The server: finds the operation, lets nobody in without a signature, keeps the log, answers errors as AWS does.

First of all nothing may have leaked through a gateway. Then the order is AWS's: path (UnknownOperationException),
credentials, the operation. Paths under `/_local/` are this server's own and need no signature:

    GET /_local/calls         the last 200 calls as JSON, oldest first; with `?settled` only once none of them runs
    DELETE /_local/calls      forgets them
    POST /_local/release      lets answers go on that wait (see controls), gives {"released": how many}

With `?held=N` both GET and POST do so only once N answers wait, so that nobody needs to ask again and again.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from bedrock_local import calls, chat, control_plane, invoke
from bedrock_local.errors import AwsError, UnknownOperationError, malformed
from bedrock_local.signature import Received, refuse_leaks
from bedrock_local.state import Incoming, Local, refusal, reply

#: InvokeModel's limit of a body, in bytes; Converse gets the same.
MAX_BODY = 25_000_000

_log = logging.getLogger("bedrock_local")

Serve = Callable[[Local, Incoming], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of AWS: its method, its path with `*` for the identifier, and what serves it."""

    name: str
    method: str
    path: tuple[str, ...]
    serve: Serve

    def matches(self, method: str, segments: tuple[str, ...]) -> bool:
        """Whether a request is for this operation."""
        if method != self.method or len(segments) != len(self.path):
            return False
        return all(part in ("*", segment) and segment for part, segment in zip(self.path, segments, strict=True))


async def _list_models(local: Local, incoming: Incoming) -> web.StreamResponse:
    return reply(incoming.call.id, control_plane.list_models(local.shelf, incoming.query))


async def _get_model(local: Local, incoming: Incoming) -> web.StreamResponse:
    return reply(incoming.call.id, control_plane.get_model(local.shelf, incoming.identifier))


async def _list_profiles(local: Local, incoming: Incoming) -> web.StreamResponse:
    return reply(incoming.call.id, control_plane.list_profiles(local.shelf, incoming.query))


async def _get_profile(local: Local, incoming: Incoming) -> web.StreamResponse:
    return reply(incoming.call.id, control_plane.get_profile(local.shelf, incoming.identifier))


OPERATIONS = (
    Operation("Converse", "POST", ("model", "*", "converse"), chat.converse),
    Operation("ConverseStream", "POST", ("model", "*", "converse-stream"), chat.converse_stream),
    Operation("InvokeModel", "POST", ("model", "*", "invoke"), invoke.invoke_model),
    Operation("ListFoundationModels", "GET", ("foundation-models",), _list_models),
    Operation("GetFoundationModel", "GET", ("foundation-models", "*"), _get_model),
    Operation("ListInferenceProfiles", "GET", ("inference-profiles",), _list_profiles),
    Operation("GetInferenceProfile", "GET", ("inference-profiles", "*"), _get_profile),
)


def create(local: Local) -> web.Application:
    """Give the aiohttp application of one local Bedrock."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_get("/_local/calls", _show_calls)
    app.router.add_delete("/_local/calls", _clear_calls)
    app.router.add_post("/_local/release", _release)
    app.router.add_route("*", "/{path:(?s:.*)}", _serve)  # a line feed is part of a path too
    app[LOCAL] = local
    return app


LOCAL = web.AppKey("LOCAL", Local)


async def _show_calls(request: web.Request) -> web.Response:
    log = request.app[LOCAL].calls
    await _held(request)
    if "settled" in request.query:
        await log.settled()
    return web.json_response(log.as_json())


async def _clear_calls(request: web.Request) -> web.Response:
    request.app[LOCAL].calls.clear()
    return web.Response(status=204)


async def _held(request: web.Request) -> None:
    """Wait for as many held answers as the query says, if it does."""
    number = request.query.get("held", "")
    if "held" in request.query:
        if not number.isdecimal() or int(number) < 1:
            raise web.HTTPBadRequest(text="held is a number of answers, at least 1.")
        await request.app[LOCAL].holds.reach(int(number))


async def _release(request: web.Request) -> web.Response:
    await _held(request)
    return web.json_response({"released": request.app[LOCAL].holds.release()})


async def _serve(request: web.Request) -> web.StreamResponse:
    """Serve one request, and see that its log entry ends as the request did."""
    local = request.app[LOCAL]
    operation, identifier = _find(request)
    name = operation.name if operation else "Unknown"
    call = calls.Call(str(uuid.uuid4()), request.method, request.raw_path, name, identifier, _headers(request))
    local.calls.keep(call)
    try:
        response = await _answer(local, request, operation, identifier, call)
    except AwsError as error:
        call.end(calls.REFUSED, error.name)
        return refusal(call.id, error)
    except OSError:  # the caller is gone
        raise
    except RecursionError:
        call.end(calls.REFUSED, "SerializationException")
        return refusal(call.id, malformed("The request body is nested too deeply."))
    except Exception:
        _log.exception("bedrock_local failed on %s %s", request.method, request.raw_path)
        call.end(calls.REFUSED, "InternalServerException")
        return refusal(call.id, AwsError(500, "InternalServerException", "bedrock_local has a bug; see its log."))
    finally:
        call.end(calls.ABORTED)  # unless it has ended already
    return response


async def _answer(
    local: Local, request: web.Request, operation: Operation | None, identifier: str | None, call: calls.Call
) -> web.StreamResponse:
    body = await _read(request)
    call.keep_body(body)
    refuse_leaks(call.sent)
    if operation is None:
        raise UnknownOperationError
    local.verifier.verify(Received(request.method, request.raw_path, call.sent, body), datetime.now(UTC))
    query = dict(parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True))
    response = await operation.serve(local, Incoming(request, identifier or "", query, call.sent, body, call))
    call.end(calls.FINISHED)
    return response


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise AwsError(413, "RequestEntityTooLargeException", f"A body has at most {MAX_BODY} bytes.") from None


def _find(request: web.Request) -> tuple[Operation | None, str | None]:
    """The operation of a request and the identifier in its path, decoded once."""
    segments = tuple(request.raw_path.partition("?")[0].removeprefix("/").split("/"))
    for operation in OPERATIONS:
        if operation.matches(request.method, segments):
            identifier = unquote(segments[operation.path.index("*")]) if "*" in operation.path else None
            return operation, identifier
    return None, None


def _headers(request: web.Request) -> dict[str, str]:
    """The headers by lower-case name, repeated ones joined as a signature joins them.

    Bytes that are no UTF-8 are not kept: nothing that was signed with them fits.
    """
    joined: dict[str, str] = {}
    for name, received in request.headers.items():
        key, value = name.lower(), received.encode(errors="surrogateescape").decode(errors="replace")
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined
