"""Content in logs: a marker in every place where a request or a response has text, and no log contains one of them.

The workers log at debug, Envoy at info, and the access log is on. Envoy's own debug log has content, of which
`--envoy-log-level` warns (tests/envoy/test_secrets.py).
"""

import base64
import http.client
import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

CLAUDE, NOVA, TITAN = "anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", "amazon.titan-embed-text-v2:0"
CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"


def marker(place: str) -> str:
    """Return a sentence that occurs nowhere else."""
    return f"heard from nobody in {place}"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


READ = ("system", "developer", "prompt", "description", "property", "argument", "result", "file", "schema", "stop")
"""Places whose text Bedrock gets."""


def tool(name: str) -> dict[str, Any]:
    properties = {"title": {"type": "string", "description": marker("property")}}
    parameters = {"type": "object", "properties": properties, "required": ["title"]}
    return {
        "type": "function",
        "function": {"name": name, "description": marker("description"), "parameters": parameters},
    }


def conversation() -> list[dict[str, Any]]:
    """Every kind of message, and of part that has text."""
    call = {"name": "look_up", "arguments": json.dumps({"title": marker("argument")})}
    document = {"filename": f"{marker('filename')}.txt", "file_data": encoded(marker("file"))}
    return [
        {"role": "system", "content": marker("system")},
        {"role": "developer", "content": marker("developer")},
        {"role": "user", "content": [{"type": "text", "text": marker("prompt")}, {"type": "file", "file": document}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call_1", "content": marker("result")},
        {"role": "user", "content": marker("prompt")},
    ]


def user_messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def image(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


def served() -> Iterator[tuple[str, Any]]:
    """Requests that are served: path and body."""
    schema = {"type": "object", "properties": {"title": {"type": "string", "description": marker("schema")}}}
    form = {"type": "json_schema", "json_schema": {"name": "book", "schema": schema}}
    thinking = f'[[local: reasoning="{marker("reasoning")}"]]'
    for stream in (False, True):
        chat = {"model": CLAUDE, "stream": stream}
        labels = {"user": marker("user"), "metadata": {"topic": marker("metadata")}}
        yield CHAT, {**chat, "messages": conversation(), "tools": [tool("look_up")], "stop": [marker("stop")], **labels}
        yield CHAT, {**chat, "messages": user_messages(f'"{marker("structured")}"'), "response_format": form}
        yield CHAT, {**chat, "messages": user_messages(f'look_up "{marker("called")}"'), "tools": [tool("look_up")]}
        yield CHAT, {**chat, "messages": user_messages(thinking)}
        yield CHAT, {**chat, "messages": user_messages(f"{marker('large')} Count to 3." + " word" * 20_000)}
    for texts in (marker("input"), [marker("input")] * 2):
        yield EMBEDDINGS, {"model": TITAN, "input": texts}


def broken() -> Iterator[tuple[str, Any]]:
    """Requests that Bedrock rejects, or whose response breaks off."""
    said = f'message="{marker("error")}"'
    for order in (
        f"status=400 type=ValidationException {said}",
        f"status=424 type=ModelErrorException {said}",
        f"status=429 type=ThrottlingException {said}",
        f"status=500 {said}",
        f"status=403 type=AccessDeniedException {said}",
        f"exception=throttlingException {said}",
        f"exception=modelStreamErrorException after=3 {said}",
        f"error=internalFailure after=3 {said}",
        "cut after=3",
        "end after=3",
        "corrupt after=2",
        "unknown",
    ):
        for stream in (False, True):
            text = f"{marker('prompt')} [[local: {order}]]"
            yield CHAT, {"model": NOVA, "messages": user_messages(text), "stream": stream}
    for order in (f"status=400 type=ValidationException {said}", f"status=500 {said}"):
        yield EMBEDDINGS, {"model": TITAN, "input": [f"{marker('input')} [[local: {order}]]", marker("input")]}


def rejected() -> Iterator[tuple[str, Any]]:
    """Requests that the gateway rejects; a body that is text is sent as it is."""
    text, messages = marker("rejected"), user_messages(marker("rejected"))
    fine = {"model": NOVA, "messages": messages}
    yield CHAT, f'{{"model": "{NOVA}", "messages": [{{"role": "user", "content": "{text}'
    yield CHAT, f"{text} is no JSON"
    yield CHAT, {**fine, "n": 2}
    yield CHAT, {**fine, text: text}
    yield CHAT, {**fine, "temperature": text}
    yield CHAT, {**fine, "tool_choice": text}
    yield CHAT, {**fine, "stop": [text] * 5000}
    yield CHAT, {**fine, "model": "amazon.no-such-model"}
    yield CHAT, {**fine, "messages": [{"role": text, "content": text}]}
    yield CHAT, {**fine, "messages": [*messages, {"role": "tool", "tool_call_id": text, "content": text}]}
    yield CHAT, {**fine, "tools": [{"type": text}]}
    yield CHAT, {**fine, "tools": [{"type": "function", "function": text}]}
    yield CHAT, {**fine, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": text}}}
    yield CHAT, {"model": CLAUDE, "messages": image(text)}
    yield CHAT, {"model": CLAUDE, "messages": image(f"data:image/png;base64,{encoded(text)}")}
    yield CHAT, {"model": CLAUDE, "messages": image(f"http://127.0.0.1/{marker('path')}".replace(" ", "%20"))}
    yield CHAT, {"model": CLAUDE, "messages": image(f"http://no.invalid/?{marker('query')}".replace(" ", "+"))}
    yield CHAT, {**fine, "messages": user_messages(text * 40_000)}
    yield CHAT, {**fine, "messages": user_messages(text * 40_000), "n": 2}
    yield CHAT, {**fine, "messages": user_messages(text * 2_000_000)}
    yield EMBEDDINGS, {"model": TITAN, "input": [text, {"text": text}]}
    yield EMBEDDINGS, {"model": TITAN, "input": text, "dimensions": 3}


@dataclass(frozen=True)
class Caller:
    """A caller with a token; `send` returns a status, or 0, and the text, empty where the connection breaks."""

    url: str
    token: str

    def send(self, path: str, body: Any) -> tuple[int, str]:
        url = urlsplit(self.url)
        connection = http.client.HTTPConnection(url.netloc, timeout=60)
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        data = body if isinstance(body, str) else json.dumps(body)
        status = 0
        try:
            connection.request("POST", url.path + path, data, headers)
            response = connection.getresponse()
            status = response.status
            return status, response.read().decode()
        except (http.client.HTTPException, ConnectionError):
            return status, ""
        finally:
            connection.close()


def received(gateway: Any) -> str:
    """What the local Bedrock has received."""
    with urllib.request.urlopen(f"{gateway.local_url}/_local/calls", timeout=60) as response:
        return str(response.read().decode())


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_no_log_contains_content(start_gateway: Any, transport: str) -> None:
    gateway = start_gateway(
        {"transport": transport}, args=["--log-level", "debug", "--envoy-log-level", "info", "--access-log"]
    )
    caller = Caller(gateway.url, gateway.tokens["ci"])

    responses = [caller.send(path, body) for path, body in served()]
    assert [status for status, _ in responses] == [200] * len(responses)
    sent_on, texts = received(gateway), "".join(text for _, text in responses)
    assert [place for place in READ if marker(place) not in sent_on and encoded(marker(place)) not in sent_on] == []
    assert [place for place in ("result", "called", "structured", "reasoning") if marker(place) not in texts] == []

    failures = [caller.send(path, body) for path, body in broken()]
    assert any(marker("error") in text for _, text in failures)
    assert {200, 400, 429, 502} <= {status for status, _ in failures}
    rejections = [caller.send(path, body) for path, body in rejected()]
    assert {400, 404} <= {status for status, _ in rejections} <= {0, 400, 404, 413}, "0: reset while it still sent"

    assert gateway.stop() == 0
    log = gateway.log().replace(marker("error"), "")  # AWS's own message, the access log's `bedrock_error`
    assert log.count('"status":') >= len(responses) + len(failures) + len(rejections), "the access log is there"
    assert "\nenvoy: " in log
    found = [line for line in log.splitlines() if "heard" in line or encoded("heard from")[:10] in line]
    assert found == [], "a log contains content of requests or responses"
