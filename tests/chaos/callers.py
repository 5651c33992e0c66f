"""A caller on a socket of its own, which can stop anywhere in its request, leave, and report what it saw.

What a caller sees is one of `KINDS`. `SHORT` and `SILENCE` are what must never be: a response that looks whole and is
not, and nothing at all.
"""

import contextlib
import http.client
import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from tests.chaos.upstream import TEXT

WHOLE = "whole"
ERROR = "error"
"""An HTTP error with OpenAI's shape."""
ERROR_EVENT = "error event"
"""An error within the stream, and then its end, without [DONE]."""
BROKEN = "broken"
"""The connection ends before the response does: the SDKs raise a connection error."""
NO_RESPONSE = "no answer"
"""The connection ends before a response begins: the SDKs raise a connection error, and try again."""
SHORT = "short"
SILENCE = "silence"
KINDS = (WHOLE, ERROR, ERROR_EVENT, BROKEN, NO_RESPONSE, SHORT, SILENCE)

MODEL = "amazon.nova-micro-v1:0"
DEADLINE = 30.0


@dataclass(frozen=True)
class Outcome:
    """The outcome of a call."""

    kind: str
    status: int | None = None
    code: str | None = None
    seconds: float = 0.0
    """From the fault, or where there is none from the request, to the end."""


class Caller:
    """A caller with one call over HTTP/1.1."""

    def __init__(
        self, address: tuple[str, int], token: str, prompt: str, *, stream: bool, body: bytes | None = None
    ) -> None:
        """`body` is sent instead of the prompt."""
        self.stream = stream
        request = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream}
        self.body = json.dumps(request).encode() if body is None else body
        self.head = (
            f"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: here\r\nauthorization: Bearer {token}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(self.body)}\r\n"
            "cookie: caller=1\r\nx-envoy-caller: 1\r\n\r\n"
        ).encode()
        self.socket = socket.create_connection(address, timeout=DEADLINE)
        self._sent = 0
        self._response: http.client.HTTPResponse | None = None
        self._read = b""
        self.since = time.monotonic()

    def send(self, size: int | None = None) -> None:
        """Send the request up to this many bytes, or the rest of it."""
        request = self.head + self.body
        end = len(request) if size is None else size
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(request[self._sent : end])
        self._sent = end

    def read_delta(self) -> None:
        """Read until some of the response's text has arrived."""
        while b'"content":"one' not in self._read:
            data = self._begin().read1()
            assert data, f"it ended before: {self._read!r}"
            self._read += data

    def wait_quietly(self, seconds: float) -> None:
        """Let time pass, which is what the fault is made of; nothing is synchronised by it."""
        time.sleep(seconds)

    def struck(self) -> None:
        """Count the seconds from here."""
        self.since = time.monotonic()

    def leave(self) -> None:
        """End the connection at once, as a process does that is killed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Let go of everything."""
        if self._response is not None:
            self._response.close()
        self.socket.close()

    def finish(self) -> Outcome:
        """Read to the end."""
        try:
            kind, status, code = self._finish()
        except TimeoutError:
            kind, status, code = SILENCE, None, None
        finally:
            self.close()
        return Outcome(kind, status, code, round(time.monotonic() - self.since, 3))

    def _begin(self) -> http.client.HTTPResponse:
        if self._response is None:
            self._response = http.client.HTTPResponse(self.socket, method="POST")
            self._response.begin()
        return self._response

    def _finish(self) -> tuple[str, int | None, str | None]:
        try:
            response = self._begin()
        except (ConnectionError, http.client.HTTPException):
            return NO_RESPONSE, None, None
        try:
            while data := response.read1():
                self._read += data
        except (ConnectionError, http.client.HTTPException):
            return BROKEN, response.status, None
        length = response.getheader("content-length")
        if length is not None and len(self._read) < int(length):
            return BROKEN, response.status, None
        return judged(response.status, self._read, stream=self.stream)


def judged(status: int, body: bytes, *, stream: bool) -> tuple[str, int, str | None]:
    """Return what a response is that ended well on the wire."""
    if status >= 400:
        return ERROR, status, json.loads(body)["error"]["code"]
    if not stream:
        text = json.loads(body)["choices"][0]["message"]["content"]
        return (WHOLE if text == TEXT else SHORT), status, None
    events = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event.startswith(b"data: ")]
    if events and events[-1] == b"[DONE]":
        text = "".join(_delta(json.loads(event)) for event in events[:-1])
        return (WHOLE if text == TEXT else SHORT), status, None
    last: Any = json.loads(events[-1]) if events else {}
    if "error" in last:
        return ERROR_EVENT, status, last["error"]["code"]
    return SHORT, status, None


def _delta(event: Any) -> str:
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])
