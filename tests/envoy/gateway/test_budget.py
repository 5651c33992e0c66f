"""Memory of a real Envoy and its worker: bounded in all, whatever callers send at once, and however calls end."""

import json
import re
import select
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from extproc.config.capacity import STREAM_BYTES, envoy_memory

CHAT = "/oai/v1/chat/completions"
NOVA = "amazon.nova-micro-v1:0"
NOVA_LITE = "amazon.nova-lite-v1:0"
HOLD = "[[local: hold=1]]"
LIMIT = 1_000_000
UNSIZED = LIMIT * 5 // 4 + STREAM_BYTES
"""Size that counts for a request without a length: all that an organisation of `tight` may have."""

DEADLINE = 30.0


def padded(text: str, size: int, **fields: object) -> bytes:
    """A chat request of so many bytes."""
    body = {"model": NOVA, "messages": [{"role": "user", "content": text}], "max_tokens": 100, **fields}
    data = json.dumps(body).encode()
    return data + b" " * (size - len(data))


def announced(client: Any, size: int, *, token: str = "ci", more: str = "") -> socket.socket:
    """A request that has sent its headers and no byte of its body."""
    connection = socket.create_connection((client.host, client.port), timeout=DEADLINE)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {client.tokens[token]}\r\n{more}"
    connection.sendall(f"{head}content-length: {size}\r\n\r\n".encode())
    return connection


def status_of(connection: socket.socket) -> int:
    """Return the status of the response; the connection is closed."""
    with connection, connection.makefile("rb") as response:
        return int(response.readline().split()[1])


@pytest.fixture(scope="module")
def tight(start_shared: Any) -> Any:
    """A gateway in which one organisation can have one request without a length at a time.

    Two can have one of `LIMIT` bytes each; what they leave is too little for a third.
    """
    limits = {"request_bytes": LIMIT, "in_flight_bytes": 6 * UNSIZED, "organisation_in_flight_bytes": UNSIZED}
    return start_shared({"limits": limits, "embeddings": {"seconds": 5}})


@pytest.fixture
def client(tight: Any, client_of: Callable[[Any], Any]) -> Iterator[Any]:
    yield client_of(tight)
    assert "Traceback" not in tight.log()
    assert "ended in error" not in tight.log()


@pytest.fixture
def local(tight: Any, local_of: Callable[[str], Any]) -> Iterator[Any]:
    local = local_of(tight.local_url)
    local.forget()
    yield local
    local.release()


@pytest.fixture
def assert_nothing_held(client: Any, eventually: Callable[..., Any]) -> Callable[[], None]:
    """Passes once an organisation has its whole share again: a request without a length takes all of it."""

    def check() -> None:
        body = padded("Hello", 200)
        eventually(
            lambda: client.exchange("POST", CHAT, iter([body])).status == 200, "some of the budget was not released"
        )

    return check


def test_over_its_share_an_organisation_gets_a_429_and_the_others_are_served(
    client: Any, local: Any, assert_nothing_held: Any
) -> None:
    with ThreadPoolExecutor() as pool:
        held = pool.submit(client.post, "chat/completions", padded(HOLD, LIMIT))
        local.wait_for("running")
        response = client.post("chat/completions", padded("Hello", LIMIT))
        assert (response.status, response.headers["retry-after"]) == (429, "1")
        assert (response.error["type"], response.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert "`acme`" in response.error["message"]
        assert client.chat("Hello").status == 200, "what fits is served"
        assert client.post("chat/completions", padded("Hello", LIMIT), token="limited").status == 200
        assert len(local.calls()) == 3
        local.release()
        assert held.result().status == 200
    assert_nothing_held()


def test_over_the_whole_budget_every_organisation_has_to_wait(
    client: Any, local: Any, assert_nothing_held: Any
) -> None:
    umbrella = [("openai-organization", "umbrella")]
    with ThreadPoolExecutor() as pool:
        body = padded(HOLD, LIMIT)
        held = [pool.submit(client.post, "chat/completions", body, token=token) for token in ("ci", "limited")]
        local.wait_for("running", "running")
        response = client.post("chat/completions", padded("Hello", LIMIT), token="both", headers=umbrella)
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert (response.error["type"], response.error["code"]) == ("server_error", "overloaded")
        local.release()
        assert [each.result().status for each in held] == [200, 200]
    assert_nothing_held()


def test_it_is_decided_by_the_headers_before_a_byte_of_the_body_is_sent(client: Any, assert_nothing_held: Any) -> None:
    with announced(client, LIMIT) as one, announced(client, LIMIT) as other:
        [second], _, _ = select.select([one, other], [], [], DEADLINE)
        assert status_of(second) == 429
    assert_nothing_held()


def test_a_body_without_a_length_counts_as_the_longest_until_it_has_arrived(
    client: Any, local: Any, assert_nothing_held: Any
) -> None:
    connection = client.connect()
    pieces: Iterator[bytes] = iter([padded(HOLD, 200)])
    with ThreadPoolExecutor() as pool:
        held = pool.submit(client.exchange, "POST", CHAT, pieces, connection=connection)
        local.wait_for("running")
        assert client.post("chat/completions", padded("Hello", LIMIT)).status == 200
        local.release()
        assert held.result().status == 200
    connection.close()
    assert_nothing_held()


# Every end


def served(client: Any, local: Any) -> None:
    assert client.chat("Hello").status == 200


def streamed(client: Any, local: Any) -> None:
    with client.stream("Hello") as stream:
        assert stream.rest()[-1] == "[DONE]"


def rejected_by_us(client: Any, local: Any) -> None:
    assert client.post("chat/completions", b"{").status == 400


def rejected_by_bedrock(client: Any, local: Any) -> None:
    assert client.chat("[[local: status=400 type=ValidationException message=no]]").status == 400


def cut_by_bedrock(client: Any, local: Any) -> None:
    assert client.chat("[[local: cut after=0]]").status == 503


def broken_off_by_bedrock(client: Any, local: Any) -> None:
    with client.stream("[[local: exception=throttlingException after=3]] Hello") as stream:
        assert "error" in stream.rest()[-1]


def rejected_by_envoy(client: Any, local: Any) -> None:
    """Without a length it is Envoy that finds a body too long."""
    assert client.exchange("POST", CHAT, iter([b"x" * 65_536] * 20)).status == 413


def left_while_sending(client: Any, local: Any) -> None:
    with announced(client, LIMIT) as connection:
        connection.sendall(b"x" * 1000)


def reset_while_sending(client: Any, local: Any) -> None:
    with announced(client, LIMIT) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def left_while_waiting(client: Any, local: Any) -> None:
    body = padded(HOLD, LIMIT)
    with announced(client, len(body)) as connection:
        connection.sendall(body)
        local.wait_for("running")
    local.wait_for("aborted")


def left_in_mid_stream(client: Any, local: Any) -> None:
    with client.stream(f"{HOLD} Hello") as stream:
        assert stream.delta()
    local.wait_for("aborted")


def embedded(client: Any, local: Any) -> None:
    assert client.embed(["a", "b"]).status == 200


def left_while_embedding(client: Any, local: Any) -> None:
    body = json.dumps({"model": "amazon.titan-embed-text-v2:0", "input": [HOLD, "b"]}).encode()
    connection = client.connect()
    client.send(connection, "POST", "/oai/v1/embeddings", body)
    local.wait_for("running", "finished")
    connection.close()


def not_fetched(client: Any, local: Any) -> None:
    content = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/cat.png"}}]
    messages = [{"role": "user", "content": content}]
    assert client.post("chat/completions", {"model": NOVA_LITE, "messages": messages}).status in (400, 429)


ENDS = [
    served,
    streamed,
    rejected_by_us,
    rejected_by_bedrock,
    cut_by_bedrock,
    broken_off_by_bedrock,
    rejected_by_envoy,
    left_while_sending,
    reset_while_sending,
    left_while_waiting,
    left_in_mid_stream,
    embedded,
    left_while_embedding,
    not_fetched,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: str(end.__name__))
def test_nothing_stays_behind(
    end: Callable[[Any, Any], None], client: Any, local: Any, assert_nothing_held: Any
) -> None:
    end(client, local)
    assert_nothing_held()


# Memory


def memory_of(pid: int) -> int:
    """The most that a process has had, in bytes."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[0]) * 1024


@pytest.mark.parametrize(("requests", "size"), [(14, 10_000_000), (48, 3_000_000)])
def test_a_flood_of_large_bodies_stays_within_the_memory_and_others_are_served(
    requests: int,
    size: int,
    start_gateway: Any,
    client_of: Callable[[Any], Any],
    local_of: Callable[[str], Any],
    eventually: Callable[..., Any],
) -> None:
    """A third of what took 1 and 6 GB, with a third of the budget that 1 GiB of Envoy leads to.

    How many are served depends on how many arrive at once: those that are slow count more.
    """
    in_flight = 3 * (10_000_000 + STREAM_BYTES)
    gateway = start_gateway(
        {"limits": {"in_flight_bytes": in_flight + 2 * LIMIT, "organisation_in_flight_bytes": in_flight}}
    )
    client, local = client_of(gateway), local_of(gateway.local_url)
    [envoy] = gateway.pids("envoy.yaml")
    image = "data:image/png;base64," + "iVBORw0KGgo" + "A" * (size // 12 * 4 - 11)
    content = [{"type": "text", "text": HOLD}, *[{"type": "image_url", "image_url": {"url": image}}] * 3]
    body = json.dumps({"model": NOVA_LITE, "messages": [{"role": "user", "content": content}]}).encode()
    with ThreadPoolExecutor(requests) as pool:
        calls = [pool.submit(client.post, "chat/completions", body) for _ in range(requests)]
        eventually(lambda: any(call["state"] == "running" for call in local.calls()), "none is served")
        assert client.chat("Hello", token="limited").status == 200
        while not all(call.done() for call in calls):
            local.release()
        statuses = Counter(call.result().status for call in calls)
    assert statuses.keys() == {200, 429}
    assert memory_of(envoy) < envoy_memory(in_flight)


def test_a_flood_of_embeddings_is_bounded_by_their_responses_and_others_are_served(
    start_gateway: Any, client_of: Callable[[Any], Any], local_of: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    """A request of 500 bytes counts 1.8 MB: a share of 5.2 MB holds two."""
    gateway = start_gateway({"limits": {"request_bytes": LIMIT, "in_flight_bytes": 10_400_000}})
    client, local = client_of(gateway), local_of(gateway.local_url)
    body = {"model": "amazon.nova-2-multimodal-embeddings-v1:0", "input": [HOLD, *["x"] * 31], "dimensions": 3072}
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.post, "embeddings", body) for _ in range(8)]
        eventually(lambda: sum(call.done() for call in calls) == 6, "there is room for others than two")
        assert client.chat("Hello", token="limited").status == 200
        while not all(call.done() for call in calls):
            local.release()
        assert Counter(call.result().status for call in calls) == {200: 2, 429: 6}
    assert client.post("embeddings", {**body, "input": ["x"] * 200}).error["code"] == "request_too_large"
