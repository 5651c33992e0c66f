"""Callers with HTTP/1.0: by themselves, and behind Debian's nginx, which asks its upstreams in it by default."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI

from tests.inherited import default_signals

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0
PROXY = "location / {{ proxy_pass http://{upstream}; }}"
OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


class Caller:
    """A connection with one request in HTTP/1.0, and its response as it comes."""

    def __init__(self, gateway: Any, method: str, path: str, body: Any = None, *headers: str) -> None:
        host, _, port = gateway.origin.removeprefix("http://").rpartition(":")
        content = json.dumps(body).encode() if body is not None else b""
        fields = [f"authorization: Bearer {gateway.tokens['ci']}", f"content-length: {len(content)}", *headers]
        self._socket = socket.create_connection((host, int(port)), timeout=DEADLINE)
        self._socket.sendall("\r\n".join([f"{method} {path} HTTP/1.0", *fields, "", ""]).encode() + content)
        head = self._until(b"\r\n\r\n")
        line, *names = head.decode().strip().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in names)}

    def _until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            byte = self._socket.recv(1)
            assert byte, data
            data += byte
        return data

    def until(self, text: str) -> str:
        """What comes up to this text."""
        return self._until(text.encode()).decode()

    def rest(self) -> str:
        """What comes until the gateway closes the connection, in whatever way."""
        data = b""
        with contextlib.suppress(ConnectionResetError), self._socket:
            while piece := self._socket.recv(65536):
                data += piece
        return data.decode()


def question(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": NOVA, "messages": [{"role": "user", "content": text}], **fields}


def release(gateway: Any) -> None:
    request = urllib.request.Request(f"{gateway.local_url}/_local/release", method="POST")
    urllib.request.urlopen(request, timeout=DEADLINE).close()


@pytest.mark.parametrize("host", [(), ("host: gateway.test",)])
def test_a_whole_response_has_its_length(gateway: Any, host: tuple[str, ...]) -> None:
    for method, path, body in (
        ("GET", "/oai/v1/models", None),
        ("POST", "/oai/v1/chat/completions", question("Hello!")),
        ("POST", "/oai/v1/embeddings", {"model": "amazon.titan-embed-text-v2:0", "input": ["a", "b"]}),
    ):
        caller = Caller(gateway, method, path, body, *host)
        assert caller.status == 200
        text = caller.rest()
        assert caller.headers["content-length"] == str(len(text.encode()))
        assert "transfer-encoding" not in caller.headers
        assert json.loads(text)["object"]


def test_an_error_has_openais_shape(gateway: Any) -> None:
    for path, status in (("/oai/v1/models/nothing", 404), ("/elsewhere", 404)):
        caller = Caller(gateway, "GET", path)
        assert caller.status == status
        assert json.loads(caller.rest())["error"]["message"]


def test_a_stream_comes_in_pieces_and_ends_with_the_connection(gateway: Any) -> None:
    caller = Caller(gateway, "POST", "/oai/v1/chat/completions", question("Count to 5. [[local: hold]]", stream=True))
    assert caller.status == 200
    assert not {"transfer-encoding", "content-length"} & caller.headers.keys()
    assert caller.headers["connection"] == "close"
    caller.until('"content":"1')
    release(gateway)
    assert caller.rest().endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("directive", ["exception=throttlingException after=4", "end after=4", "corrupt after=4"])
def test_a_failure_of_bedrock_in_a_stream_is_an_error_in_it(gateway: Any, directive: str) -> None:
    fields = question(f"Count to 9. [[local: {directive}]]", stream=True)
    text = Caller(gateway, "POST", "/oai/v1/chat/completions", fields).rest()
    assert "[DONE]" not in text
    assert json.loads(text.strip().rpartition("\n\n")[2].removeprefix("data: "))["error"]["code"]


def test_a_stream_that_breaks_off_ends_without_its_last_event(start_gateway: Any) -> None:
    """HTTP/1.0 ends a body by closing the connection, so nothing else tells a cut from an end."""
    gateway = start_gateway()
    gateway.expect_restarts()
    path = "/oai/v1/chat/completions"
    assert (
        "[DONE]"
        not in Caller(gateway, "POST", path, question("Count to 9. [[local: cut after=4]]", stream=True)).rest()
    )
    caller = Caller(gateway, "POST", path, question("Count to 5. [[local: hold]]", stream=True))
    caller.until('"content":"1')
    [worker] = gateway.pids("extproc.worker.command")
    os.kill(worker, signal.SIGKILL)
    assert "[DONE]" not in caller.rest()
    release(gateway)


# nginx


class Nginx:
    """An nginx in front of a gateway, in a folder; all but its `location` is what it needs to run there."""

    def __init__(self, folder: Path, location: str) -> None:
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            pytest.skip("nginx is not installed: `make debian` does it")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        places = "".join(
            f"{kind}_temp_path {folder / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "nginx.conf").write_text(
            f"daemon off; master_process off; pid {folder / 'pid'}; error_log {folder / 'error.log'};\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{places}"
            f"server {{ listen 127.0.0.1:{self.port}; {location} }}\n}}\n"
        )
        command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
        self._process = subprocess.Popen(command, preexec_fn=default_signals)
        end = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE).close()
                return
            assert self._process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < end
            time.sleep(0.02)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(DEADLINE)


@pytest.fixture
def behind(gateway: Any, tmp_path: Path) -> Iterator[Any]:
    """Gives a client that talks to the gateway through nginx with this `location`."""
    with contextlib.ExitStack() as end:

        def start(location: str) -> OpenAI:
            upstream = gateway.origin.removeprefix("http://")
            nginx = Nginx(tmp_path, location.format(upstream=upstream))
            end.callback(nginx.close)
            url, key = f"http://127.0.0.1:{nginx.port}/oai/v1", gateway.tokens["ci"]
            return end.enter_context(OpenAI(base_url=url, api_key=key, max_retries=0, timeout=DEADLINE))

        yield start


def pieces(client: OpenAI, text: str) -> Iterator[str]:
    messages: Any = [{"role": "user", "content": text}]
    stream = client.chat.completions.create(model=NOVA, messages=messages, stream=True)
    return (piece for chunk in stream if (piece := chunk.choices[0].delta.content or ""))


def test_nginx_with_its_default_settings(behind: Any) -> None:
    client = behind(PROXY)
    messages: Any = [{"role": "user", "content": "Hello!"}]
    response = client.chat.completions.create(model=NOVA, messages=messages)
    assert "Hello!" in (response.choices[0].message.content or "")
    assert NOVA in {model.id for model in client.models.list()}
    assert "".join(pieces(client, "Count to 5.")) == "1 2 3 4 5"
    with pytest.raises(APIStatusError) as rejected:
        client.with_options(api_key="sk-wrong").models.list()
    assert (rejected.value.status_code, rejected.value.code) == (401, "invalid_api_key")


def documented() -> str:
    """The `location` of docs/operations.md."""
    [block] = re.findall(r"^```nginx\n(.*?)^```$", OPERATIONS, re.DOTALL | re.MULTILINE)
    assert "http://127.0.0.1:8080" in block
    return block.replace("{", "{{").replace("}", "}}").replace("127.0.0.1:8080", "{upstream}")


@pytest.mark.parametrize("location", [PROXY.replace("; }}", "; proxy_buffering off; }}"), documented()])
def test_a_stream_comes_in_pieces_where_nginx_does_not_buffer(behind: Any, gateway: Any, location: str) -> None:
    stream = pieces(behind(location), "Count to 5. [[local: hold]]")
    first = next(stream)
    release(gateway)
    assert first + "".join(stream) == "1 2 3 4 5"
