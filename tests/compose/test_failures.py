"""Clients' view of containers that die, and the stack's recovery: Envoy is never restarted for another container."""

import os
import signal
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.containers import Containers

HELLO: Any = [{"role": "user", "content": "Hello!"}]
NOVA = "amazon.nova-micro-v1:0"
SHAPE = {"message", "type", "param", "code"}


def error_response(client: OpenAI) -> openai.APIStatusError:
    with pytest.raises(openai.InternalServerError) as rejected:
        client.chat.completions.create(model=NOVA, messages=HELLO)
    body = rejected.value.response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == SHAPE
    assert body["error"]["type"] == "server_error"
    return rejected.value


def started(stack: Any, service: str) -> str:
    return str(stack.container(service).attrs["State"]["StartedAt"])


def test_the_worker_is_killed(stack: Any) -> None:
    before = started(stack, "envoy")
    with stack.client() as client:
        stack.container("extproc").kill()  # by Docker, which then does not start it again
        for _ in range(5):
            error = error_response(client)
            assert (error.status_code, error.code) == (503, "processor_unavailable")
            assert error.response.headers["retry-after"] == "1"
        stack.container("extproc").start()
        stack.wait_for("healthy", "extproc", "envoy")
        assert client.chat.completions.create(model=NOVA, messages=HELLO).choices
    assert started(stack, "envoy") == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may kill a container's process from outside")
def test_the_worker_crashes_and_is_started_again(stack: Any, containers: Containers) -> None:
    containers.restarts = True
    before = started(stack, "extproc"), started(stack, "envoy")
    os.kill(stack.container("extproc").attrs["State"]["Pid"], signal.SIGKILL)
    stack.until("it is started again", lambda: started(stack, "extproc") != before[0])
    stack.wait_for("healthy")
    assert stack.responds()
    assert started(stack, "envoy") == before[1]


def test_the_local_bedrock_is_killed(stack: Any) -> None:
    before = started(stack, "envoy"), started(stack, "extproc")
    with stack.client() as client:
        stack.container("bedrock-local").kill()
        error = error_response(client)
        assert (error.status_code, error.code) == (503, "bedrock_unreachable")
        assert len(client.models.list().data) > 10  # routes without Bedrock are still served
        stack.container("bedrock-local").start()
        stack.wait_for("healthy", "bedrock-local")
        assert client.chat.completions.create(model=NOVA, messages=HELLO).choices
    assert (started(stack, "envoy"), started(stack, "extproc")) == before


def test_envoy_is_restarted(stack: Any) -> None:
    stack.container("envoy").restart()
    stack.wait_for("healthy", "envoy")
    assert stack.responds()


def test_a_stream_that_loses_its_worker_ends_in_an_error(stack: Any) -> None:
    with stack.client() as client:
        stream = client.chat.completions.create(
            model=NOVA, messages=[{"role": "user", "content": "Count to 2000."}], stream=True
        )
        next(iter(stream))
        stack.container("extproc").kill()
        try:
            with pytest.raises(openai.APIConnectionError):
                list(stream)
        finally:
            stack.container("extproc").start()
    stack.wait_for("healthy")
    assert stack.responds()


@pytest.mark.parametrize("service", ["extproc", "bedrock-local", "envoy"])
def test_each_stops_on_sigterm(stack: Any, service: str) -> None:
    container = stack.container(service)
    container.stop(timeout=30)
    state = stack.container(service).attrs["State"]
    assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False)
    container.start()
    stack.wait_for("healthy")
    assert stack.responds()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may signal a container's process from outside")
def test_a_crash_in_a_container_fails_the_test(stack: Any, containers: Containers) -> None:
    container = stack.container("envoy")
    os.kill(container.attrs["State"]["Pid"], signal.SIGSEGV)
    stack.until("Envoy reports it", lambda: b"Segmentation fault" in container.logs())
    containers.restarts = True
    container.restart()
    stack.wait_for("healthy")
    # Only now has it reported all of it: later lines would fail the test at its end.
    with pytest.raises(AssertionError, match="Segmentation fault"):
        containers.check()
    assert stack.responds()
