"""The state of a server, and a request, as the operations take them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from bedrock_local.calls import Call, CallLog
from bedrock_local.errors import AwsError, malformed
from bedrock_local.holds import Holds
from bedrock_local.models import Shelf
from bedrock_local.signature import Verifier

_ERROR_SOURCE = "http://internal.amazon.com/coral/com.amazon.bedrock/"


@dataclass(frozen=True, slots=True)
class Local:
    """A local Bedrock: its models, its verifier, its pace (seconds between frames), its log and its holds.

    `shelf` has the models of its own region, `elsewhere` those of the others in whose place it stands.
    """

    shelf: Shelf
    verifier: Verifier
    pace: float
    calls: CallLog = field(default_factory=CallLog)
    holds: Holds = field(default_factory=Holds)
    elsewhere: Mapping[str, Shelf] = field(default_factory=dict)

    def of(self, region: str | None) -> "Local":
        """Return it with the models of the region that a request was signed for."""
        shelf = self.elsewhere.get(region or "")
        return self if shelf is None else replace(self, shelf=shelf)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A verified request: the identifier in its path (decoded), its query and headers, its body, its log entry."""

    http: web.Request
    identifier: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    call: Call

    def require_json(self, default: str = "") -> None:
        """Raise SerializationException unless the body is declared to be JSON, or `default` declares it."""
        declared = self.headers.get("content-type", default).partition(";")[0].strip().lower()
        if declared != "application/json":
            raise malformed(f"The Content-Type must be application/json, not {declared or 'absent'}.")


def reply(call_id: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a 200 with a JSON body, as AWS sends it."""
    return _json(200, body, {"x-amzn-RequestId": call_id, **(headers or {})})


def error_response(call_id: str, error: AwsError) -> web.Response:
    """Return an error as AWS sends it; the name in the header is followed by its origin."""
    headers = {"x-amzn-RequestId": call_id, "x-amzn-ErrorType": f"{error.name}:{_ERROR_SOURCE}"}
    return _json(error.status, error.body(), headers)


def _json(status: int, body: Any, headers: Mapping[str, str]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "application/json", **headers})
