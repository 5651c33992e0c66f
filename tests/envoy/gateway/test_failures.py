"""Parts that fail: Bedrock, the credentials, a worker. The caller gets a response, or sees that it has none."""

import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

TITAN = "amazon.titan-embed-text-v2:0"
COUNT = "Count to 9. [[local: hold]]"

WAYS = {
    "chat": lambda client: client.chat("Hello!"),
    "stream": lambda client: client.rejected_stream("Hello!"),
    "one embedding": lambda client: client.embed("x"),
    "embeddings": lambda client: client.embed(["x", "y"]),
}


# Bedrock


@pytest.fixture(scope="module")
def cut_off(start_shared: Any, bedrock: Any) -> Any:
    """A gateway whose Bedrock is not there."""
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    kept = {name: value for name, value in bedrock.environment.items() if "ENDPOINT" not in name}
    return start_shared(env={**kept, **nowhere}, args=["--upstream", "aws", "--access-log"])


@pytest.fixture(scope="module")
def without_bedrock(cut_off: Any, client_of: Any) -> Any:
    return client_of(cut_off)


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_bedrock_that_cannot_be_reached_is_a_503(without_bedrock: Any, cut_off: Any, ask: Any) -> None:
    """The caller reads no word of Envoy's or of the operating system's; the access log has it."""
    response = ask(without_bedrock)
    assert response.status == 503
    assert response.error["code"] == "bedrock_unreachable"
    assert response.error["message"] == "Bedrock could not be reached. Try again."
    line = cut_off.wait_for(rf'.*"id":"{response.headers["x-request-id"]}".*')[0]
    reason = json.loads(line[line.index("{") :])["oai"]["bedrock_error"]
    assert "connect" in reason.lower()
    assert int(response.headers["retry-after"]) > 0


def test_without_bedrock_the_built_in_models_are_listed(without_bedrock: Any) -> None:
    listed = {model["id"] for model in without_bedrock.exchange("GET", "/oai/v1/models").json()["data"]}
    assert {"anthropic.claude-sonnet-4-6", "amazon.nova-micro-v1:0", TITAN} < listed


@pytest.fixture(scope="module")
def with_a_wrong_secret(start_shared: Any, client_of: Any, bedrock: Any) -> Any:
    """A client of a gateway whose credentials Bedrock does not take."""
    wrong = {**bedrock.environment, "AWS_SECRET_ACCESS_KEY": "another-secret"}
    return client_of(start_shared(env=wrong, args=["--upstream", "aws"]))


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_credentials_that_bedrock_rejects_are_no_fault_of_the_callers(with_a_wrong_secret: Any, ask: Any) -> None:
    response = ask(with_a_wrong_secret)
    assert response.status == 502
    assert response.error["code"] == "gateway_credentials"
    assert "not about your API key" in response.error["message"]
    for secret in ("AKIATEST", "another-secret", "Canonical", "Signature="):
        assert secret not in response.error["message"]


# A worker


@pytest.fixture(scope="module")
def fragile(start_shared: Any) -> Any:
    """A gateway with one worker, which will not live long."""
    gateway = start_shared()
    gateway.expect_restarts()
    return gateway


@pytest.fixture
def worker(fragile: Any, client_of: Any, local_of: Any, eventually: Any) -> Any:
    """The process of the worker, once all is well. These tests kill it five times at most: the sixth would be final."""
    eventually(lambda: works_well(client_of(fragile)))
    local_of(fragile.local_url).forget()
    [pid] = fragile.pids("extproc.worker.command")
    return pid


def works_well(client: Any) -> bool:
    """Return whether a row of requests succeeds: Envoy may still be about to notice that a worker was gone."""
    return all(client.chat("Hello!").status == 200 for _ in range(10)) and client.health() == 200


def kill(gateway: Any, worker: int) -> None:
    """End a worker for certain: with its last thread its sockets are closed, and its parent is notified."""
    since = len(gateway.log())
    os.kill(worker, signal.SIGKILL)
    gateway.wait_for("was ended by SIGKILL", since)


def test_a_stream_whose_worker_dies_breaks_visibly(fragile: Any, worker: int, client_of: Any, local_of: Any) -> None:
    client, local = client_of(fragile), local_of(fragile.local_url)
    with client.stream(COUNT) as stream:
        assert stream.delta()
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(http.client.IncompleteRead):
            stream.rest()
    local.wait_for("aborted")


@pytest.mark.parametrize("path", ["chat/completions", "embeddings"])
def test_a_response_whose_worker_dies_is_a_503_and_its_calls_are_ended(
    fragile: Any, worker: int, client_of: Any, local_of: Any, path: str
) -> None:
    client, local = client_of(fragile), local_of(fragile.local_url)
    body = {
        "chat/completions": {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": COUNT}]},
        "embeddings": {"model": TITAN, "input": [COUNT, COUNT]},
    }[path]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, path, body)
        calls = ["running"] * (2 if path == "embeddings" else 1)
        local.wait_for(*calls)
        os.kill(worker, signal.SIGKILL)
        response = waiting.result()
    assert response.status == 503
    assert response.error["code"] == "processor_unavailable"
    local.wait_for(*["aborted"] * len(calls))


def test_right_after_a_worker_died_requests_get_a_response_and_soon_they_work(
    fragile: Any, worker: int, client_of: Any, eventually: Any
) -> None:
    client = client_of(fragile)
    kill(fragile, worker)
    response = client.chat("Hello!")
    assert response.status == 503
    assert response.error["code"] == "processor_unavailable"
    assert int(response.headers["retry-after"]) > 0
    eventually(lambda: works_well(client))
    assert fragile.pids("extproc.worker.command") != [worker]


def test_health_is_503_while_no_worker_responds_and_so_are_requests(
    fragile: Any, worker: int, client_of: Any, eventually: Any
) -> None:
    """Stopped, not killed: a killed one is back before Envoy has noticed."""
    client = client_of(fragile)
    os.kill(worker, signal.SIGSTOP)
    try:
        eventually(lambda: client.health() == 503)
        response = client.chat("Hello!")
        assert response.status == 503
        assert response.error["code"] == "processor_unavailable"
        assert client.exchange("GET", "/oai/v1/models").status == 503
        assert client.exchange("GET", "/elsewhere").status == 404
    finally:
        os.kill(worker, signal.SIGCONT)
    eventually(lambda: client.health() == 200)
    assert client.chat("Hello!").status == 200, "what is said to be ready is"


def test_of_two_workers_the_death_of_one_breaks_its_streams_only(
    start_gateway: Any, client_of: Any, local_of: Any
) -> None:
    gateway = start_gateway({"workers": 2})
    gateway.expect_restarts()
    client, local = client_of(gateway), local_of(gateway.local_url)
    streams = [client.stream(COUNT) for _ in range(12)]
    for stream in streams:
        assert stream.delta()
    kill(gateway, gateway.pids("extproc.worker.command")[0])
    beside = [client.chat("Hello!").status for _ in range(10)]
    local.release()
    ends = [end_of(stream) for stream in streams]
    assert set(ends) == {"[DONE]", "broken"}
    assert beside == [200] * 10


def end_of(stream: Any) -> str:
    """Return how a stream ends: its last event, or broken."""
    try:
        return str(stream.rest()[-1])
    except http.client.IncompleteRead:
        return "broken"
    finally:
        stream.close()


# The end of it all


def test_calls_in_flight_at_sigterm_are_finished(start_gateway: Any, client_of: Any, local_of: Any) -> None:
    gateway = start_gateway()
    client, local = client_of(gateway), local_of(gateway.local_url)
    children = gateway.pids("")
    assert len(children) == 3
    stream = client.stream(COUNT)
    assert stream.delta()
    with ThreadPoolExecutor(2) as pool:
        chat = pool.submit(client.chat, "[[local: hold]] Hello!")
        vectors = pool.submit(client.embed, ["[[local: hold]] x", "y"])
        local.wait_for("running", "running", "running", "finished")
        gateway.process.send_signal(signal.SIGTERM)
        gateway.wait_for("waiting for calls in flight: 3")
        assert client.health() == 503
        assert client.chat("What about me?").status == 200
        local.release()
        assert "Hello!" in chat.result().content
        assert len(vectors.result().vectors) == 2
    assert stream.rest()[-1] == "[DONE]"
    stream.close()
    assert gateway.process.wait(60) == 0
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    assert client.health() == 0
