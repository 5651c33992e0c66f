"""What the operations share: one server's state, and one request as they see it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """One local Bedrock: what it has, whom it lets in, how fast it speaks (seconds between frames)."""

    shelf: Shelf
    verifier: Verifier
    pace: float
    calls: CallLog = field(default_factory=CallLog)
    holds: Holds = field(default_factory=Holds)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One verified request: the identifier in its path (decoded), its query and headers, its body, its log entry."""

    http: web.Request
    identifier: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    call: Call

    def require_json(self, default: str = "") -> None:
        """Raise SerializationException unless the body is declared, or by default taken, to be JSON."""
        declared = self.headers.get("content-type", default).partition(";")[0].strip().lower()
        if declared != "application/json":
            raise malformed(f"The Content-Type must be application/json, not {declared or 'absent'}.")


def reply(call_id: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> web.Response:
    """Give a 200 with a JSON body, as AWS sends it."""
    return _json(200, body, {"x-amzn-RequestId": call_id, **(headers or {})})


def refusal(call_id: str, error: AwsError) -> web.Response:
    """Give an error as AWS sends it; the name in the header is followed by where it comes from."""
    headers = {"x-amzn-RequestId": call_id, "x-amzn-ErrorType": f"{error.name}:{_ERROR_SOURCE}"}
    return _json(error.status, error.body(), headers)


def _json(status: int, body: Any, headers: Mapping[str, str]) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "application/json", **headers})
