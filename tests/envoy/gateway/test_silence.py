"""Bedrock that sends nothing for a while, in every phase of a call; and callers who pause, which is not the same.

The gateways here have short times; no test measures a duration. Where a test needs time to pass, it
waits for a sign of another call: comments of a stream, or its own end by silence.
"""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.envoy.gateway.servers import ThreadedServer

DONE = "[DONE]"
COUNT = "Count to 9."
COUNTED = "1 2 3 4 5 6 7 8 9"
KEEPALIVE = ": keepalive"
CLAUDE = "anthropic.claude-sonnet-4-6"
PLACES = ("answer", "headers", "start", "end")


def content(events: list[str]) -> str:
    """Return the text of all chunks; what ends the stream is left out."""
    chunks = [json.loads(event) for event in events if event != DONE]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk.get("choices"))


@pytest.fixture(scope="module")
def lively(start_shared: Any) -> Any:
    """A gateway that sends comments soon, and gives up late."""
    return start_shared({"streaming": {"keepalive_seconds": 0.25}}, args=["--access-log"])


@pytest.fixture(scope="module")
def hasty(start_shared: Any) -> Any:
    """A gateway that waits a second for Bedrock, but long for all the calls of one request."""
    streaming = {"keepalive_seconds": 0.25, "idle_seconds": 1}
    return start_shared({"streaming": streaming, "limits": {"request_bytes": 65_536}}, args=["--access-log"])


@pytest.fixture
def quiet(lively: Any, client_of: Any, local_of: Any) -> Iterator[Any]:
    """A client of it, and its Bedrock."""
    local = local_of(lively.local_url)
    local.forget()
    yield client_of(lively), local
    local.release()


@pytest.fixture
def timed_out(hasty: Any, client_of: Any, local_of: Any) -> Iterator[Any]:
    """A client of it, and its Bedrock."""
    local = local_of(hasty.local_url)
    local.forget()
    yield client_of(hasty), local
    local.release()


def wait_for_comments(client: Any, number: int = 4) -> None:
    """Wait until another call on this gateway has been sent so many comments."""
    with client.stream(f"{COUNT} [[local: hold=1]]") as stream:
        assert stream.delta()
        assert [stream.next() for _ in range(number)] == [KEEPALIVE] * number


# Before the first byte of a stream


@pytest.mark.parametrize("place", ["answer", "headers"])
def test_a_stream_whose_first_byte_is_late_is_whole(quiet: Any, place: str) -> None:
    """Envoy takes no comment before Bedrock's first byte: sending one would end the call."""
    client, local = quiet
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(client.stream, f"{COUNT} [[local: hold={place}]]")
        local.wait_for("running")
        wait_for_comments(client)
        assert not late.done()
        local.release()
        with late.result() as stream:
            events = stream.rest()
    assert content(events) == COUNTED
    assert events[-1] == DONE


def test_comments_come_once_bedrock_has_started_to_send(quiet: Any) -> None:
    client, local = quiet
    with client.stream(f"{COUNT} [[local: hold=start]]") as stream:
        assert [stream.next() for _ in range(3)] == [KEEPALIVE] * 3
        local.release()
        events = stream.rest()
    assert content(events) == COUNTED
    assert events[-1] == DONE


def test_comments_come_while_a_tools_input_is_kept(quiet: Any) -> None:
    """Events of Bedrock's that lead to no byte for the caller put off no comment."""
    client, _ = quiet
    tool = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}
    order = f"[[local: pace=0.15 call=shell arguments={json.dumps({'input': COUNT * 32})}]]"
    with client.stream(order, model=CLAUDE, tools=[tool]) as stream:
        events = list(iter(stream.next, None))
    calls = [number for number, event in enumerate(events) if '"custom":{' in event]
    first, last = calls[0], calls[-1]
    assert first < last
    assert KEEPALIVE in events[first:last]
    assert events[-1].endswith(DONE)


def test_an_exception_after_a_long_wait_for_the_first_byte_still_has_a_status(quiet: Any) -> None:
    client, local = quiet
    with ThreadPoolExecutor(1) as pool:
        order = "exception=throttlingException hold=headers"
        late = pool.submit(client.rejected_stream, f"{COUNT} [[local: {order}]]")
        local.wait_for("running")
        wait_for_comments(client)
        local.release()
        assert late.result().status == 429


# Silence of Bedrock


@pytest.mark.parametrize("place", PLACES)
def test_a_buffered_call_that_is_silent_is_a_504(timed_out: Any, place: str) -> None:
    client, local = timed_out
    assert_timed_out(client.chat(f"{COUNT} [[local: hold={place}]]"), local, 1)


@pytest.mark.parametrize("place", ["answer", "headers"])
def test_a_stream_that_is_silent_before_its_first_byte_is_a_504(timed_out: Any, place: str) -> None:
    client, local = timed_out
    assert_timed_out(client.rejected_stream(f"{COUNT} [[local: hold={place}]]"), local, 1)


@pytest.mark.parametrize("place", ["start", "1"])
def test_a_stream_that_falls_silent_ends_in_an_error(timed_out: Any, place: str) -> None:
    client, local = timed_out
    with client.stream(f"{COUNT} [[local: hold={place}]]") as stream:
        events = stream.rest()
    error = json.loads(events[-1])["error"]
    assert (error["type"], error["code"]) == ("server_error", "timeout")
    assert error["message"].startswith("Bedrock sent nothing for 1")
    assert DONE not in events
    local.wait_for("aborted")


@pytest.mark.parametrize("texts", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_embeddings_that_are_silent_are_a_504(timed_out: Any, place: str, texts: int) -> None:
    """A single text goes through Envoy, several are calls of the worker's own: none of them is retried."""
    client, local = timed_out
    response = client.embed([f"[[local: hold={place}]] x"] * texts)
    assert_timed_out(response, local, texts)


def assert_timed_out(response: Any, local: Any, calls: int) -> None:
    """Check that the caller gets the error, and that Bedrock's side is ended."""
    assert response.status == 504
    assert response.error["type"] == "server_error"
    assert response.error["code"] == "timeout"
    assert response.error["message"].startswith("Bedrock sent nothing for 1")
    local.wait_for(*["aborted"] * calls)


def test_a_call_that_times_out_is_in_the_access_log_with_its_reason(timed_out: Any, hasty: Any) -> None:
    client, _ = timed_out
    response = client.chat(f"{COUNT} [[local: hold=headers]]")
    line = hasty.wait_for(rf'.*"id":"{response.headers["x-request-id"]}".*')[0]
    entry = json.loads(line[line.index("{") :])
    assert entry["status"] == 504
    assert entry["details"] == "oai_timeout"
    assert entry["oai"]["finish"] == "timeout"
    assert entry["oai"]["organisation"] == "acme"


# The end


def test_a_complete_stream_ends_although_its_body_stays_open(quiet: Any, lively: Any) -> None:
    client, local = quiet
    with client.stream(f"{COUNT} [[local: hold=end]]", stream_options={"include_usage": True}) as stream:
        events = stream.rest()
        identity = stream.headers["x-request-id"]
    assert content(events) == COUNTED
    assert events[-1] == DONE
    usage = json.loads(events[-2])["usage"]
    local.wait_for("aborted")
    line = lively.wait_for(rf'.*"id":"{identity}".*')[0]
    entry = json.loads(line[line.index("{") :])
    assert entry["oai"]["output_tokens"] == usage["completion_tokens"] > 0
    assert entry["oai"]["finish"] == "stop"


# The caller's own pause


def test_a_pause_while_the_request_is_sent_is_not_bedrocks_silence(timed_out: Any) -> None:
    client, _ = timed_out
    body = json.dumps({"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": COUNT}]}).encode()
    head = (
        f"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.tokens['ci']}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    with socket.create_connection((client.host, client.port), timeout=30) as connection:
        connection.sendall(head.encode() + body[:10])
        assert client.chat(f"{COUNT} [[local: hold=answer]]").status == 504, "it was longer than Bedrock may be silent"
        connection.sendall(body[10:])
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert COUNTED.encode() in received


def test_a_caller_who_stops_reading_does_not_get_bedrocks_silence_as_reason(hasty: Any, timed_out: Any) -> None:
    """Envoy stops reading Bedrock when its buffer for the caller is full, which to the worker looks like silence."""
    client, _ = timed_out
    question = {"model": CLAUDE, "messages": [{"role": "user", "content": "Count to 60000. [[local: pace=0]]"}]}
    body = json.dumps({**question, "stream": True}).encode()
    head = (
        f"POST /oai/v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.tokens['ci']}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect((client.host, client.port))
        connection.sendall(head.encode() + body)
        hasty.wait_for(f'"model":"{CLAUDE}"')  # the access log: the call is over, whatever Bedrock could still send
        received = b"".join(iter(lambda: connection.recv(1 << 20), b""))
    [error] = re.findall(rb'data: (\{"error".*?\})\n\n', received)
    details = json.loads(error)["error"]
    assert details["code"] == "timeout"
    assert "or the response was not read" in details["message"]
    assert b"[DONE]" not in received


# Informational responses, which are no response


async def send_hints(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send informational responses (RFC 9110 section 15.2) to whatever comes, until the other side leaves."""
    await reader.readuntil(b"\r\n\r\n")
    with suppress(ConnectionError):
        while not reader.at_eof():
            writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 20)
            await writer.drain()
            await asyncio.sleep(0.01)
    writer.close()


@pytest.fixture(scope="module")
def hinted(start_shared: Any, bedrock: Any) -> Iterator[Any]:
    """A gateway whose Bedrock sends nothing but informational responses."""
    server = ThreadedServer(send_hints)
    env = {**bedrock.environment, "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": f"http://127.0.0.1:{server.port}"}
    yield start_shared({"streaming": {"idle_seconds": 1}}, env=env, args=["--upstream", "aws"])
    server.close()


@pytest.mark.parametrize("stream", [False, True])
def test_informational_responses_without_an_end_are_silence(hinted: Any, client_of: Any, stream: bool) -> None:
    response = client_of(hinted).chat(COUNT, stream=stream)
    assert (response.status, response.error["code"]) == (504, "timeout")
