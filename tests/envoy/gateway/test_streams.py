"""Streamed responses as they reach a client: piece by piece, and never an end that looks whole and is not."""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

DONE = "[DONE]"
COUNT = "Count to 9."
COUNTED = "1 2 3 4 5 6 7 8 9"


def content(events: list[str]) -> str:
    """Return the text of all chunks; what ends the stream is left out."""
    chunks = [json.loads(event) for event in events if event != DONE]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if "choices" in chunk)


def test_a_stream_is_chunks_and_then_done(client: Any) -> None:
    with client.stream(COUNT) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache"
        assert "content-length" not in stream.headers
        events = stream.rest()
    assert events[-1] == DONE
    assert events.count(DONE) == 1
    assert content(events) == COUNTED
    assert len(events) > 5


def test_the_first_chunk_arrives_while_the_model_is_still_producing(client: Any, local: Any) -> None:
    with client.stream(f"{COUNT} [[local: hold]]") as stream:
        first = stream.delta()
        assert COUNTED.startswith(first)
        assert len(first) < len(COUNTED)
        local.wait_for("running")
        local.release()
        events = stream.rest()
    assert first + content(events) == COUNTED
    assert events[-1] == DONE
    local.wait_for("finished")


def test_many_streams_at_once_keep_to_themselves(client: Any) -> None:
    def read(number: int) -> tuple[str, str]:
        with client.stream(f"Count to {number}.") as stream:
            events = stream.rest()
        return content(events), events[-1]

    with ThreadPoolExecutor(24) as pool:
        got = list(pool.map(read, range(1, 25)))
    assert got == [(" ".join(map(str, range(1, number + 1))), DONE) for number in range(1, 25)]


def test_a_stream_may_follow_a_stream_on_one_connection(client: Any) -> None:
    connection = client.connect()
    question = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": COUNT}], "stream": True}
    for _ in range(3):
        client.send(connection, "POST", "/oai/v1/chat/completions", json.dumps(question).encode())
        assert connection.getresponse().read().endswith(b"data: [DONE]\n\n")
    connection.close()


def test_a_long_response_streams_to_its_end(client: Any) -> None:
    with client.stream("Count to 3000. [[local: pace=0]]") as stream:
        events = stream.rest()
    assert content(events) == " ".join(map(str, range(1, 3001)))
    assert events[-1] == DONE


# Failures


@pytest.mark.parametrize(
    ("order", "status"),
    [
        ("exception=throttlingException", 429),
        ("exception=validationException", 400),
        ("exception=internalServerException", 500),
        ("exception=modelStreamErrorException", 502),
        ("exception=serviceUnavailableException", 503),
        ("exception=modelTimeoutException", 504),
        ("error=internalFailure", 500),
        ("corrupt", 502),
    ],
)
@pytest.mark.parametrize("after", [0, 1])
def test_a_stream_that_fails_before_its_first_text_is_a_failure_with_a_status(
    client: Any, order: str, status: int, after: int
) -> None:
    """`after=1`: messageStart alone has no text."""
    assert client.rejected_stream(f"{COUNT} [[local: {order} after={after}]]").status == status


@pytest.mark.parametrize(
    "order",
    ["exception=throttlingException", "exception=modelStreamErrorException", "error=internalFailure", "corrupt"],
)
@pytest.mark.parametrize("after", [2, 5])
def test_a_failure_in_the_middle_is_an_error_and_ends_the_stream_without_done(
    client: Any, order: str, after: int
) -> None:
    with client.stream(f"{COUNT} [[local: {order} after={after}]]") as stream:
        events = stream.rest()
    *before, last = map(json.loads, events)
    assert all("choices" in chunk for chunk in before)
    assert last.keys() == {"error"}
    assert last["error"].keys() == {"message", "type", "param", "code"}
    text = content(events)
    assert COUNTED.startswith(text)
    assert text != COUNTED


def test_a_stream_that_ends_without_its_usage_is_an_error(client: Any) -> None:
    with client.stream(f"{COUNT} [[local: nometadata]]") as stream:
        *before, last = stream.rest()
    assert content(before) == COUNTED
    assert json.loads(last)["error"]["code"] == "cut_off"


@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_stream_that_breaks_off_never_looks_whole(client: Any, after: int) -> None:
    """Envoy resets what it cannot finish; the client sees an error, or no clean end, but never `[DONE]`."""
    connection = client.connect()
    question = {
        "model": "amazon.nova-micro-v1:0",
        "messages": [{"role": "user", "content": f"{COUNT} [[local: cut after={after}]]"}],
        "stream": True,
    }
    client.send(connection, "POST", "/oai/v1/chat/completions", json.dumps(question).encode())
    response = connection.getresponse()
    broken = False
    try:
        body = response.read()
    except http.client.IncompleteRead as error:
        broken, body = True, error.partial
    connection.close()
    assert b"[DONE]" not in body
    assert broken or response.status >= 500 or b'data: {"error"' in body


def test_a_stream_that_breaks_off_before_it_began_is_a_failure_with_a_status(client: Any) -> None:
    assert client.rejected_stream(f"{COUNT} [[local: cut after=0]]").status in (502, 503)


# Leaving


def test_a_client_that_leaves_a_stream_ends_the_call(client: Any, local: Any) -> None:
    stream = client.stream(f"{COUNT} [[local: hold]]")
    assert stream.delta()
    local.wait_for("running")
    stream.close()
    local.wait_for("aborted")


def test_a_client_that_leaves_before_it_has_read_anything_ends_the_call(client: Any, local: Any) -> None:
    leave_early(client, local, "chat/completions", {"stream": True})


def test_a_client_that_does_not_wait_for_a_buffered_response_ends_the_call(client: Any, local: Any) -> None:
    leave_early(client, local, "chat/completions", {})


def leave_early(client: Any, local: Any, path: str, fields: dict[str, object]) -> None:
    """Send a request, and leave when it has arrived."""
    connection = client.connect()
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "[[local: hold]] x"}], **fields}
    client.send(connection, "POST", f"/oai/v1/{path}", json.dumps(body).encode())
    local.wait_for("running")
    connection.close()
    local.wait_for("aborted")


@pytest.mark.parametrize("texts", [["[[local: hold]] x"], ["[[local: hold]] x", "[[local: hold]] y"]])
def test_a_client_that_does_not_wait_for_embeddings_ends_all_their_calls(
    client: Any, local: Any, texts: list[str]
) -> None:
    connection = client.connect()
    body = {"model": "amazon.titan-embed-text-v2:0", "input": texts}
    client.send(connection, "POST", "/oai/v1/embeddings", json.dumps(body).encode())
    local.wait_for(*["running"] * len(texts))
    connection.close()
    local.wait_for(*["aborted"] * len(texts))


# Silence


@pytest.fixture(scope="module")
def lively(start_shared: Any) -> Any:
    """A gateway that speaks while the model thinks."""
    return start_shared({"streaming": {"keepalive_seconds": 0.25}})


@pytest.fixture
def held(lively: Any, client_of: Any, local_of: Any) -> Iterator[Any]:
    """A stream whose model thinks, and its Bedrock."""
    local = local_of(lively.local_url)
    local.forget()
    with client_of(lively).stream(f"{COUNT} [[local: hold]]") as stream:
        assert stream.delta()
        yield stream, local
    local.release()


def test_comments_come_while_the_model_thinks(held: Any) -> None:
    stream, local = held
    assert [stream.next() for _ in range(3)] == [": keepalive"] * 3
    local.wait_for("running")
    local.release()
    events = stream.rest()
    assert COUNTED.endswith(content(events))
    assert events[-1] == DONE


def test_a_client_that_leaves_while_the_model_thinks_ends_the_call(held: Any) -> None:
    stream, local = held
    assert stream.next() == ": keepalive"
    stream.close()
    local.wait_for("aborted")


def test_too_long_a_silence_is_an_error_and_ends_the_call(strict: Any, client_of: Any, local_of: Any) -> None:
    local = local_of(strict.local_url)
    local.forget()
    with client_of(strict).stream(f"{COUNT} [[local: hold]]") as stream:
        events = stream.rest()
    assert json.loads(events[-1])["error"]["code"] == "timeout"
    assert DONE not in events
    local.wait_for("aborted")
