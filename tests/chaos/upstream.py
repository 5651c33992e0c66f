"""A Bedrock that a test plays step by step: what it sends, when it waits, and how it breaks.

A call finds its script by a number in the prompt (`chaos-7`), so that each of several calls at once has its own. Every
request is looked at: one that no worker translated and signed is remembered in `untranslated`, and fails the scenario.
"""

import contextlib
import json
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import count
from typing import Any
from zlib import crc32

WORDS = ("one ", "two ", "three")
TEXT = "".join(WORDS)
LONGEST = 120.0
"""Seconds after which a connection is given up, so that no test hangs."""

KEY = "AKIACHAOS"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "chaos-secret", "AWS_EC2_METADATA_DISABLED": "true"}


class Act(Enum):
    """A step that sends nothing."""

    HOLD = auto()
    """Wait until the test releases it; `Script.reached` shows that it waits."""
    RESET = auto()
    """End the connection with a RST."""
    CLOSE = auto()
    """End the connection with a FIN, in both directions."""
    HALF_CLOSE = auto()
    """Send a FIN, and go on reading."""


@dataclass(frozen=True)
class Drip:
    """Bytes that go out one by one."""

    data: bytes


Step = bytes | Act | Drip


@dataclass(eq=False)
class Script:
    """The script of one call."""

    number: int
    steps: Sequence[Step]
    arrived: threading.Event = field(default_factory=threading.Event)
    """The request is here, whole."""
    reached: threading.Event = field(default_factory=threading.Event)
    """The script waits."""
    go: threading.Event = field(default_factory=threading.Event)
    left: threading.Event = field(default_factory=threading.Event)
    """Envoy has closed the connection before the script was over."""

    @property
    def prompt(self) -> str:
        """Return the prompt that selects this script."""
        return f"chaos-{self.number}"


class Upstream:
    """The server."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._scripts: dict[int, Script] = {}
        self._numbers = count(1)
        self.untranslated: list[str] = []
        """Requests that no worker wrote."""
        self.troubles: list[str] = []
        """Connections that could not be served, and why."""
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections, and let all scripts go on."""
        self._listener.close()
        for script in self._scripts.values():
            script.go.set()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment that leads a gateway here, as to AWS."""
        url = f"http://127.0.0.1:{self.port}"
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url, "AWS_ENDPOINT_URL_BEDROCK": url}

    def script(self, *steps: Step) -> Script:
        """Return a script for one call."""
        script = Script(next(self._numbers), steps)
        self._scripts[script.number] = script
        return script

    def _accept(self) -> None:
        """Take connections until the listener is closed; one that cannot be served does not end that."""
        while self._listener.fileno() >= 0:
            try:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
            except (OSError, RuntimeError) as error:  # no more descriptors, or threads
                self.troubles.append(repr(error))
                time.sleep(0.01)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(LONGEST)
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as reader:
            while (request := _request(reader)) is not None:
                head, headers, body = request
                if not head.startswith("POST /model/"):
                    connection.sendall(NOTHING_HERE)
                    continue
                self._read_directives(head, headers, body)
                number = re.search(rb"chaos-(\d+)", body)
                script = self._scripts.get(int(number[1])) if number else None
                if script is None:
                    connection.sendall(b"".join(whole_stream() if "stream" in head else whole_response()))
                elif not _play(connection, script):
                    return

    def _read_directives(self, head: str, headers: dict[str, str], body: bytes) -> None:
        """Remember what must not come: something else than what a worker writes."""
        signed = headers.get("authorization", "").startswith(f"AWS4-HMAC-SHA256 Credential={KEY}/")
        try:
            translated = bool(json.loads(body).keys() & {"messages", "inputText"}) and b'"model"' not in body
        except ValueError:
            translated = False
        foreign = [name for name in headers if name in ("cookie", "x-api-key", "x-envoy-caller")]
        if not signed or not translated or foreign or "qc_" in str(headers):
            self.untranslated.append(f"{head} {headers} {body[:200]!r}")


def _request(reader: Any) -> tuple[str, dict[str, str], bytes] | None:
    """Read one request; None at the end of the connection."""
    head = reader.readline().decode("latin-1").strip()
    if not head:
        return None
    headers: dict[str, str] = {}
    while line := reader.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return head, headers, reader.read(int(headers.get("content-length", 0)))


def _play(connection: socket.socket, script: Script) -> bool:
    """Send a script's steps; return whether the connection goes on."""
    script.arrived.set()
    try:
        for step in script.steps:
            if isinstance(step, Act):
                if not _act(connection, step, script):
                    return False
            elif isinstance(step, Drip):
                for at in range(len(step.data)):
                    connection.sendall(step.data[at : at + 1])
                    time.sleep(0.001)
            else:
                connection.sendall(step)
    except OSError:
        script.left.set()
        raise
    return True


def _act(connection: socket.socket, act: Act, script: Script) -> bool:
    """Carry out a step; return whether the connection goes on."""
    match act:
        case Act.HOLD:
            script.reached.set()
            return _waited(connection, script)
        case Act.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        case Act.HALF_CLOSE:
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):
                pass
        case Act.CLOSE:
            connection.shutdown(socket.SHUT_RDWR)
    return False


def _waited(connection: socket.socket, script: Script) -> bool:
    """Wait for the test; False where Envoy leaves before."""
    end = time.monotonic() + LONGEST
    while not script.go.is_set() and time.monotonic() < end:
        readable, _, _ = select.select([connection], [], [], 0.02)
        if readable and not connection.recv(1, socket.MSG_PEEK):
            script.left.set()
            return False
        script.go.wait(0.02 if readable else 0)
    script.go.clear()  # for the next step that waits
    return True


# Bedrock's messages

NOTHING_HERE = b"HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
END = b"0\r\n\r\n"
RESPONSE = json.dumps(
    {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 4},
        "metrics": {"latencyMs": 1},
    }
).encode()


def head(kind: str = "application/vnd.amazon.eventstream", length: int | None = None, status: str = "200 OK") -> bytes:
    """Return the head of a response; one without a length is chunked."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{framing}\r\nx-amzn-requestid: aws-1\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def frame(kind: str, payload: object, message: str = "event") -> bytes:
    """Return a message of an event stream."""
    names = {":message-type": message, f":{message}-type": kind, ":content-type": "application/json"}
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in names.items()
    )
    content = json.dumps(payload).encode()
    prelude = struct.pack(">II", len(block) + len(content) + 16, len(block))
    checked = prelude + struct.pack(">I", crc32(prelude)) + block + content
    return checked + struct.pack(">I", crc32(checked))


def deltas() -> list[bytes]:
    """Return a chunk for each word of the response."""
    return [chunk(frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})) for word in WORDS]


START = chunk(frame("messageStart", {"role": "assistant"}))
STOP = chunk(frame("contentBlockStop", {"contentBlockIndex": 0})) + chunk(
    frame("messageStop", {"stopReason": "end_turn"})
)
METADATA = chunk(
    frame("metadata", {"usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 4}, "metrics": {"latencyMs": 1}})
)


def whole_stream() -> list[bytes]:
    """Return the pieces of a whole streamed response."""
    return [head(), START, *deltas(), STOP, METADATA, END]


def whole_response() -> list[bytes]:
    """Return the pieces of a whole buffered response."""
    return [head("application/json", len(RESPONSE)), RESPONSE]
