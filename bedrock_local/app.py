"""The server: it finds the operation, authenticates, logs, and sends errors as AWS sends them.

Headers that must not leave a gateway are rejected first. Then the order is AWS's: path (UnknownOperationException),
credentials, the operation. Paths under `/_local/` are this server's own and need no signature:

    GET /_local/calls         returns the last 200 calls as JSON, oldest first; `?settled` waits until all have ended
    DELETE /_local/calls      clears the list
    POST /_local/release      releases held responses (see controls); returns {"released": their number}

With `?held=N`, GET and POST first wait until N responses are held, so that no test has to poll.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote

from aiohttp import web

from bedrock_local import calls, chat, control_plane, counting, invoke, sts
from bedrock_local.errors import AwsError, UnknownOperationError, malformed
from bedrock_local.signature import Received, region, reject_leaks
from bedrock_local.state import Incoming, Local, error_response, reply

#: Longest accepted body, in bytes: InvokeModel's limit, applied to Converse too.
MAX_BODY = 25_000_000

_log = logging.getLogger("bedrock_local")

Serve = Callable[[Local, Incoming], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of AWS: its method, its path with `*` for the identifier, and its handler."""

    name: str
    method: str
    path: tuple[str, ...]
    serve: Serve

    def matches(self, method: str, segments: tuple[str, ...]) -> bool:
        """Return whether a request is for this operation."""
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
    Operation("CountTokens", "POST", ("model", "*", "count-tokens"), counting.count_tokens),
    Operation("InvokeModel", "POST", ("model", "*", "invoke"), invoke.invoke_model),
    Operation("ListFoundationModels", "GET", ("foundation-models",), _list_models),
    Operation("GetFoundationModel", "GET", ("foundation-models", "*"), _get_model),
    Operation("ListInferenceProfiles", "GET", ("inference-profiles",), _list_profiles),
    Operation("GetInferenceProfile", "GET", ("inference-profiles", "*"), _get_profile),
)


def create(local: Local) -> web.Application:
    """Return the aiohttp application of one local Bedrock."""
    app = web.Application(client_max_size=MAX_BODY)
    app.router.add_get("/_local/calls", _show_calls)
    app.router.add_delete("/_local/calls", _clear_calls)
    app.router.add_post("/_local/release", _release)
    app.router.add_post("/", _assume_role)
    app.router.add_route("*", "/{path:(?s:.*)}", _serve)  # a path may contain a line feed
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
    """Wait for the number of held responses in the query, if it has one."""
    number = request.query.get("held", "")
    if "held" in request.query:
        if not number.isdecimal() or int(number) < 1:
            raise web.HTTPBadRequest(text="held must be a number of responses, 1 or more: ?held=1.")
        await request.app[LOCAL].holds.reach(int(number))


async def _release(request: web.Request) -> web.Response:
    await _held(request)
    return web.json_response({"released": request.app[LOCAL].holds.release()})


async def _assume_role(request: web.Request) -> web.Response:
    """Serve STS, which has one path for all."""
    local = request.app[LOCAL]
    received = Received(request.method, request.raw_path, _headers(request), await request.read())
    call = sts.new_call(received)
    local.calls.keep(call)
    return sts.assume_role(local, received, call, datetime.now(UTC))


async def _serve(request: web.Request) -> web.StreamResponse:
    """Serve one request, and complete its log entry."""
    local = request.app[LOCAL]
    operation, identifier = _find(request)
    name = operation.name if operation else "Unknown"
    call = calls.Call(str(uuid.uuid4()), request.method, request.raw_path, name, identifier, _headers(request))
    local.calls.keep(call)
    try:
        response = await _respond(local, request, operation, identifier, call)
    except AwsError as error:
        call.end(calls.REJECTED, error.name)
        return error_response(call.id, error)
    except OSError:  # the caller is gone
        raise
    except RecursionError:
        call.end(calls.REJECTED, "SerializationException")
        return error_response(call.id, malformed("The request body is nested too deeply."))
    except Exception:
        _log.exception("bedrock_local failed on %s %s", request.method, request.raw_path)
        call.end(calls.REJECTED, "InternalServerException")
        return error_response(
            call.id, AwsError(500, "InternalServerException", "bedrock_local has a bug; see its log.")
        )
    finally:
        call.end(calls.ABORTED)  # unless it has ended already
    return response


async def _respond(
    local: Local, request: web.Request, operation: Operation | None, identifier: str | None, call: calls.Call
) -> web.StreamResponse:
    body = await _read(request)
    call.keep_body(body)
    reject_leaks(call.sent)
    if operation is None:
        raise UnknownOperationError
    local.verifier.verify(Received(request.method, request.raw_path, call.sent, body), datetime.now(UTC))
    query = dict(parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True))
    local = local.of(region(call.sent))
    response = await operation.serve(local, Incoming(request, identifier or "", query, call.sent, body, call))
    call.end(calls.FINISHED)
    return response


async def _read(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise AwsError(413, "RequestEntityTooLargeException", f"A body has at most {MAX_BODY} bytes.") from None


def _find(request: web.Request) -> tuple[Operation | None, str | None]:
    """Return the operation of a request, and the identifier in its path, decoded once."""
    segments = tuple(request.raw_path.partition("?")[0].removeprefix("/").split("/"))
    for operation in OPERATIONS:
        if operation.matches(request.method, segments):
            identifier = unquote(segments[operation.path.index("*")]) if "*" in operation.path else None
            return operation, identifier
    return None, None


def _headers(request: web.Request) -> dict[str, str]:
    """Return the headers by lower-case name, repeated ones joined as for a signature.

    Bytes that are not UTF-8 are replaced: no signature over them verifies.
    """
    joined: dict[str, str] = {}
    for name, received in request.headers.items():
        key, value = name.lower(), received.encode(errors="surrogateescape").decode(errors="replace")
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined
