"""The bytes of a workload's request, in the API of a stack, and the marks of a good response.

A stack without a translator (bare Envoy, the no-op) gets Bedrock's request, unsigned; the others get that of OpenAI's
SDKs. Both requests are of the same length, so that each stack carries the same.
"""

import base64
import json
from dataclasses import dataclass
from typing import Any, Literal

from bench.workloads import Workload

Api = Literal["bedrock", "openai"]

MODEL = "anthropic.claude-sonnet-4-6"
TITAN = "amazon.titan-embed-text-v2:0"
COHERE = "cohere.embed-english-v3"
TEXTS = 100

LONGEST_TEXT = 100_000
"""Characters of text in a request; more than that is an image."""

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the contents of a good response: exactly `expected` of the `marks` (0: any number), and `end`."""

    method: str
    path: str
    body: bytes
    marks: tuple[str, str]
    end: str
    expected: int

    def wire(self, port: int, token: str) -> bytes:
        """Return the HTTP/1.1 request."""
        head = [f"{self.method} {self.path} HTTP/1.1", f"host: 127.0.0.1:{port}", f"authorization: Bearer {token}"]
        if self.body:
            head += ["content-type: application/json", f"content-length: {len(self.body)}"]
        return "\r\n".join([*head, "accept: application/json", "user-agent: bench", "", ""]).encode() + self.body


def supported(workload: Workload, api: Api) -> bool:
    """Return whether this API serves the workload: Bedrock's runtime has no lists, and other embeddings."""
    return api == "openai" or workload.operation in ("chat", "stream")


def call(workload: Workload, api: Api, prefix: str = "") -> Call:
    """Return the request of `workload`; `prefix` comes before OpenAI's paths."""
    match workload.operation:
        case "chat" | "stream" if api == "bedrock":
            return _converse(workload)
        case "chat" | "stream":
            return _chat(workload, prefix)
        case "titan" | "cohere":
            return _embeddings(TITAN if workload.operation == "titan" else COHERE, prefix)
        case "models":
            return Call("GET", f"{prefix}/models", b"", ('"id"', '"id"'), "", 0)


def _chat(workload: Workload, prefix: str) -> Call:
    request: dict[str, Any] = {"model": MODEL, "messages": [], "temperature": 0.5, "max_tokens": 500}
    if workload.streams:
        request["stream"] = True
    body = _filled(workload, request, _openai_parts)
    end = "[DONE]" if workload.streams else ""
    return Call("POST", f"{prefix}/chat/completions", body, ("tick", "tock"), end, workload.frames or 1)


def _converse(workload: Workload) -> Call:
    request: dict[str, Any] = {"messages": [], "inferenceConfig": {"temperature": 0.5, "maxTokens": 500}}
    body = _filled(workload, request, _bedrock_parts)
    operation = "converse-stream" if workload.streams else "converse"
    end = "ageStop" if workload.streams else ""  # of messageStop
    return Call("POST", f"/model/us.{MODEL}/{operation}", body, ("tick", "tock"), end, workload.frames or 1)


def _embeddings(model: str, prefix: str) -> Call:
    texts = [f"Text number {index} of a hundred that want vectors" for index in range(TEXTS)]
    body = json.dumps({"model": model, "input": texts}).encode()
    return Call("POST", f"{prefix}/embeddings", body, ('"index"', '"index"'), "", TEXTS)


def _filled(workload: Workload, request: dict[str, Any], parts: Any) -> bytes:
    """Return the request with one user message that makes it as long as the workload requires."""
    settings = f"frames={workload.frames} every={workload.every} " if workload.streams else ""

    def encode(text: int, image: int) -> bytes:
        data = base64.b64encode(_PNG + bytes(image * 3 // 4)).decode() if image else ""
        return json.dumps({**request, "messages": [parts(settings + "w" * text, data)]}).encode()

    image = max(0, workload.body_bytes - LONGEST_TEXT)
    missing = workload.body_bytes - len(encode(0, image))
    return encode(max(0, missing), image)


def _openai_parts(text: str, image: str) -> dict[str, Any]:
    if not image:
        return {"role": "user", "content": text}
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    return {"role": "user", "content": [{"type": "text", "text": text}, picture]}


def _bedrock_parts(text: str, image: str) -> dict[str, Any]:
    picture = {"image": {"format": "png", "source": {"bytes": image}}}
    return {"role": "user", "content": [{"text": text}, *([picture] if image else [])]}
