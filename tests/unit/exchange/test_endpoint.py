"""A new endpoint is its own module and one entry of the registry: a toy, through a whole exchange."""

import json
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from extproc.bedrock.capabilities import Capabilities
from extproc.bedrock.catalogue import Target
from extproc.bedrock.sigv4 import model_path
from extproc.exchange import routes
from extproc.exchange.directives import Forward, Reply
from extproc.exchange.endpoint import (
    ApiEndpoint,
    AskContext,
    BedrockCall,
    Clock,
    Response,
    ResponseContext,
    TranslatedRequest,
)
from extproc.exchange.events import RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from extproc.exchange.exchange import Exchange
from extproc.exchange.gateway import Gateway
from extproc.openai.completion import Usage
from extproc.translate.completed import Completed
from extproc.translate.media import RemoteImage

NOW = 1_790_000_000.0
ROOT = Path(__file__).parents[3]


class CountPending(msgspec.Struct, frozen=True):
    """A pending request for the number of a text's tokens."""

    ignored: tuple[str, ...]
    streams: bool
    params: Mapping[str, str] = {}

    def complete(self, context: ResponseContext, responses: Sequence[Response]) -> Completed:
        [(_, body)] = responses
        tokens = json.loads(body)["inputTokens"]
        return Completed(json.dumps({"id": context.id, "tokens": tokens}).encode(), Usage(prompt=tokens), "stop")

    def is_large(self, responses: Sequence[Response]) -> bool:
        return False

    def stream(self, context: ResponseContext, clock: Clock) -> None:
        return None


class DecodedCount(msgspec.Struct):
    model: str
    text: str

    @property
    def images(self) -> Mapping[str, RemoteImage]:
        return {}

    def check_features(self, denied: int) -> None:
        return None

    def ask(self, target: Target, capabilities: Capabilities, context: AskContext) -> TranslatedRequest:
        body = json.dumps({"input": self.text}).encode()
        return TranslatedRequest(
            (BedrockCall(model_path(target.model_id, "count-tokens"), body),), CountPending(("hint",), False)
        )


def decode(body: bytes | bytearray, passed_over: Collection[str] = ()) -> DecodedCount:
    return msgspec.json.decode(body, type=DecodedCount)


COUNT = ApiEndpoint("count", "POST", "/toy/count", decode, msgspec.json.Decoder(CountPending).decode, "chat")


def test_a_toy_endpoint_needs_one_entry_of_the_registry(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(routes.ENDPOINTS, COUNT.path, COUNT)
    exchange = Exchange(gateway, "0" * 32)
    head = {":method": "POST", ":path": "/oai/v1/toy/count", "authorization": "Bearer qc_test"}
    exchange.receive(RequestHeaders(head), NOW)
    [forward] = exchange.receive(RequestBody(b'{"model": "amazon.nova-micro-v1:0", "text": "Hi"}'), NOW)
    assert isinstance(forward, Forward)
    assert forward.path == "/model/amazon.nova-micro-v1%3A0/count-tokens"
    assert {name for name, _ in forward.headers} >= {"authorization", "x-amz-date"}
    exchange.receive(ResponseHeaders({":status": "200"}), NOW)
    [reply] = exchange.receive(ResponseBody(b'{"inputTokens": 3}', end_of_stream=True), NOW)
    assert isinstance(reply, Reply)
    assert json.loads(reply.body) == {"id": "0" * 32, "tokens": 3}
    assert dict(reply.headers)["x-oai-ignored-params"] == "hint"
    assert forward.metadata is not None
    assert reply.metadata is not None
    assert "operation" not in reply.metadata, "Envoy has it already"
    merged = {**forward.metadata, **reply.metadata}
    assert (merged["operation"], merged["input_tokens"], merged["estimated"]) == ("count", 3, False)


def test_its_errors_are_those_of_any_endpoint(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(routes.ENDPOINTS, COUNT.path, COUNT)
    exchange = Exchange(gateway, "0" * 32)
    head = {":method": "POST", ":path": "/oai/v1/toy/count", "authorization": "Bearer qc_test"}
    exchange.receive(RequestHeaders(head), NOW)
    [reply] = exchange.receive(RequestBody(b'{"model": "no..such/../model", "text": "Hi"}'), NOW)
    assert isinstance(reply, Reply)
    assert (reply.status, json.loads(reply.body)["error"]["code"]) == (404, "model_not_found")


def test_an_error_names_each_path_that_is_served(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(routes.ENDPOINTS, COUNT.path, COUNT)
    exchange = Exchange(gateway, "0" * 32)
    [reply] = exchange.receive(RequestHeaders({":method": "POST", ":path": "/oai/v1/other"}), NOW)
    assert isinstance(reply, Reply)
    assert "POST /oai/v1/toy/count, GET /oai/v1/models" in json.loads(reply.body)["error"]["message"]


LACKING = """
from msgspec import Struct
from extproc.exchange.endpoint import Clock, ResponseContext, TranslatedRequest

class Lacking(Struct, frozen=True):
    ignored: tuple[str, ...]
    streams: bool

    def is_large(self, responses: object) -> bool:
        return False

    def stream(self, context: ResponseContext, clock: Clock) -> None:
        return None

TranslatedRequest((), Lacking((), False))
"""


@pytest.mark.timeout(300)
def test_mypy_finds_a_pending_request_that_cannot_be_completed(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(LACKING)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(module)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert '"Lacking" is missing following "Pending" protocol member' in checked.stdout
    assert "    complete" in checked.stdout
