"""What real clients were seen to send (tests/clients/data/client-requests.jsonl), through Envoy as it was recorded.

Each is answered, or refused with a message that says what is wrong; never with a 5xx. Replaced are only the key, the
host, the organisation, and names of models that were made up for the recording.
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

REFUSED: dict[int, tuple[int, str]] = {
    10: (404, "model"),  # GET of a model that was made up
    11: (404, "model"),
    28: (400, "messages[0].content[1].image_url.url"),  # "hi" is no PNG
    29: (400, "messages[0].content[1].file.file_data"),  # "hi" is no PDF
    32: (400, "dimensions"),  # 10 are none of Titan's
    34: (400, "guardrailConfig.a"),
}
"""Position in the file -> status and `param`."""


def named(recorded: Mapping[str, Any]) -> str:
    """A name for the test."""
    return f"{recorded['from'].split(' ')[0]} {recorded['line'].split(' ')[1]}"


def model(path: str, recorded: str) -> str:
    """A model that there is."""
    if path.endswith("/embeddings"):
        return "amazon.titan-embed-text-v2:0"
    return "anthropic.claude-sonnet-4-6" if recorded.startswith("anthropic") else "amazon.nova-micro-v1:0"


@pytest.mark.parametrize("position", range(len(RECORDED)), ids=[named(recorded) for recorded in RECORDED])
def test_it_is_answered_or_refused(gateway: Any, token: str, position: int) -> None:
    recorded = RECORDED[position]
    method, path, _ = recorded["line"].split(" ")
    body = recorded["body"]
    if body is not None:
        body["model"] = model(path, body["model"])
    status, headers, answer = send(gateway.url, method, path, {**recorded["headers"], **own(recorded, token)}, body)

    expected, param = REFUSED.get(position, (200, None))
    assert status == expected, answer
    assert headers["x-request-id"]
    if status != 200:
        error = json.loads(answer)["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["param"] == param
    elif (body or {}).get("stream"):
        assert answer.endswith("data: [DONE]\n\n")
        assert '"error"' not in answer
    else:
        assert json.loads(answer)["object"]


def own(recorded: Mapping[str, Any], token: str) -> dict[str, str]:
    """The headers that must be ours."""
    organisation = {"openai-organization": "acme"} if "openai-organization" in recorded["headers"] else {}
    return {"authorization": f"Bearer {token}", **organisation}


def send(url: str, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any, str]:
    """Status, headers and body of the answer; nothing is added to the headers but host and content-length."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    content = b"" if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body is not None:
        connection.putheader("content-length", str(len(content)))
    connection.endheaders(content)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text
