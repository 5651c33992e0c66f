"""Requests of real clients (tests/clients/data/client-requests.jsonl), sent through Envoy as they were recorded.

Each gets a response, or an error whose message names what is wrong; never a 5xx. Replaced are only the key, the
host, the organisation, and names of models that were made up for the recording. `from` names the client, and says so
where it could not run here and its request was written by hand: docs/clients.md has what was tried.
"""

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

RECORDED = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "client-requests.jsonl").read_text("utf-8").splitlines()
]

REJECTED: dict[int, tuple[int, str | None]] = {
    10: (404, "model"),  # GET of a model that was made up
    11: (404, "model"),
    28: (400, "messages[0].content[1].image_url.url"),  # "hi" is no PNG
    29: (400, "messages[0].content[1].file.file_data"),  # "hi" is no PDF
    32: (400, "dimensions"),  # 10 are none of Titan's
    34: (400, "guardrailConfig.a"),
    40: (400, None),  # 32,000 tokens of a model that has 10,000: AWS's message has the limit
    44: (400, None),
    49: (404, None),
    54: (404, None),
    56: (400, "input"),
    57: (400, "tools[1].name"),
    58: (400, "system"),
    59: (400, "messages[2].content[0].type"),
}
"""Position in the file -> status and `param`."""

ADVICE: dict[int, str] = {
    49: "An operator can switch this one on",
    54: "none of OpenAI's other endpoints",
    56: "choose chat completions in the client's settings",
    57: 'Here a tool is {"type": "function"',
    58: "the system prompt is a message of the role `system`",
    59: "its result is a message of the role `tool`",
}
"""Position in the file -> what the message tells users of a client whose request has another form."""


def named(recorded: Mapping[str, Any]) -> str:
    """A name for the test."""
    return f"{recorded['from'].split(' ')[0]} {recorded['line'].split(' ')[1]}"


def model(path: str, recorded: str) -> str:
    """A model that there is."""
    if path.endswith("/embeddings"):
        return "amazon.titan-embed-text-v2:0"
    return "anthropic.claude-sonnet-4-6" if recorded.startswith("anthropic") else "amazon.nova-micro-v1:0"


@pytest.mark.parametrize("position", range(len(RECORDED)), ids=[named(recorded) for recorded in RECORDED])
def test_a_recorded_request_is_served_or_rejected(gateway: Any, token: str, position: int) -> None:
    recorded = RECORDED[position]
    method, path, _ = recorded["line"].split(" ")
    body = recorded["body"]
    if body is not None:
        body["model"] = model(path, body["model"])
    status, headers, response = send(gateway.url, method, path, {**recorded["headers"], **own(recorded, token)}, body)

    expected, param = REJECTED.get(position, (200, None))
    assert status == expected, response
    assert headers["x-request-id"]
    if status != 200:
        error = json.loads(response)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["param"] == param
        assert ADVICE.get(position, "") in error["message"]
    elif (body or {}).get("stream"):
        assert response.endswith("data: [DONE]\n\n")
        assert '"error"' not in response
    else:
        assert json.loads(response)["object"]


def own(recorded: Mapping[str, Any], token: str) -> dict[str, str]:
    """The headers that must be ours."""
    organisation = {"openai-organization": "acme"} if "openai-organization" in recorded["headers"] else {}
    return {"authorization": f"Bearer {token}", **organisation}


def send(url: str, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any, str]:
    """Return status, headers and body of the response; nothing is added to the headers but host and content-length."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    content = b"" if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(content)))
    connection.endheaders(content)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, response.headers, text
