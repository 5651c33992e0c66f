"""Secrets of the programs of an `up`: each has what it needs, and none is in a command line."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bedrock() -> Iterator[str]:
    """A Bedrock that the gateway did not start, as an emulator would be."""
    command = [sys.executable, "-m", "bedrock_local", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"http://\S+", process.stdout.readline())
        assert match
        yield match[0]
        process.terminate()


def command_and_environment(pid: int) -> tuple[str, str]:
    """A process's command line, which every user of the machine can read, and its environment."""
    place = Path(f"/proc/{pid}")
    return (place / "cmdline").read_text(), (place / "environ").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_only_the_worker_has_the_aws_keys(start_gateway: Any, bedrock: str) -> None:
    """The workers, in their environment; not Envoy, and no command line."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "local-secret", "AWS_SESSION_TOKEN": "session-token", "OTHER_KEY": "other-key"}
    settings = {"AWS_ACCESS_KEY_ID": "local", **secrets, "AWS_ENDPOINT_URL": bedrock}
    gateway = start_gateway(env=settings, args=["--upstream", "aws"])
    for pid in gateway.pids(""):
        command, environment = command_and_environment(pid)
        assert not [value for value in secrets.values() if value in command]
        assert ("local-secret" in environment) == (pid in gateway.pids("extproc.worker.command"))
    [envoy] = gateway.pids("envoy -c")
    assert not [name for name in command_and_environment(envoy)[1].split("\0") if name.startswith(("AWS_", "OTHER_"))]
    assert f"PATH={os.environ['PATH']}" in command_and_environment(envoy)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_only_the_worker_and_the_local_bedrock_have_its_keys(start_gateway: Any) -> None:
    gateway = start_gateway(env={"AWS_SECRET_ACCESS_KEY": "users-own-secret", "OTHER_KEY": "other-key"})
    [local] = gateway.pids("bedrock_local")
    match = re.search(r"BEDROCK_LOCAL_SECRET_KEY=([^\0]+)", command_and_environment(local)[1])
    assert match
    for pid in (gateway.process.pid, *gateway.pids("")):
        command, environment = command_and_environment(pid)
        assert match[1] not in command
        assert (match[1] in environment) == (pid == local or pid in gateway.pids("extproc.worker.command"))
        assert ("users-own-secret" in environment) == (pid == gateway.process.pid)
    assert "other-key" not in command_and_environment(local)[1]


PROMPT = "a prompt of nobody else"
SESSION = "session-token-of-this-test"


def send(gateway: Any, path: str, body: dict[str, Any], token: str, **headers: str) -> int:
    """POST, read the whole response, and return its status."""
    data = json.dumps(body).encode()
    fields = {"authorization": f"Bearer {token}", "content-type": "application/json", **headers}
    request = urllib.request.Request(gateway.url + path, data, fields)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_no_log_contains_a_secret_or_a_prompt_at_any_level(start_gateway: Any, bedrock: str, transport: str) -> None:
    """Every kind of response, with the workers at debug, Envoy at info and the access log on."""
    keys = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-secret", "AWS_SESSION_TOKEN": SESSION}
    levels = ["--log-level", "debug", "--envoy-log-level", "info", "--access-log"]
    gateway = start_gateway(
        {"transport": transport}, env={**keys, "AWS_ENDPOINT_URL": bedrock}, args=["--upstream", "aws", *levels]
    )
    messages = [{"role": "user", "content": PROMPT}]
    model, unknown = "amazon.nova-micro-v1:0", "amazon.no-such-model"
    token, expired = gateway.tokens["ci"], gateway.tokens["expired"]
    large = [{"role": "user", "content": PROMPT * 40_000}]
    vectors = {"model": "amazon.titan-embed-text-v2:0", "input": [PROMPT, PROMPT]}
    chat = "/chat/completions"
    assert [
        send(gateway, chat, {"model": model, "messages": messages}, token, cookie="crumb-of-this-test"),
        send(gateway, chat, {"model": model, "messages": messages, "stream": True}, token),
        send(gateway, chat, {"model": model, "messages": large}, token),
        send(gateway, chat, {"model": unknown, "messages": messages}, token),
        send(gateway, chat, {"model": model, "messages": messages, "n": 2}, token),
        send(gateway, chat, {"model": model, "messages": messages}, expired),
        send(gateway, chat, {"model": model, "messages": messages}, "qc_not-a-token-of-this-gateway"),
        send(gateway, "/embeddings", vectors, token),
    ] == [200, 200, 400, 404, 400, 401, 401, 200], "the third is too long for the model"
    assert gateway.stop() == 0
    log = gateway.log()
    assert log.count('"status":') >= 8, "the access log is there"
    assert "\nenvoy: " in log
    secrets = (token, expired, "qc_not-a-token-of-this-gateway", SESSION, "local-secret", "crumb-of-this-test", PROMPT)
    assert not [secret for secret in (*secrets, "You said", "AWS4-HMAC-SHA256") if secret in log]


@pytest.mark.parametrize(("level", "warns"), [("debug", True), ("info", False)])
def test_envoys_own_level_warns_of_what_its_log_contains(start_gateway: Any, level: str, warns: bool) -> None:
    gateway = start_gateway(args=["--envoy-log-level", level])
    body = {"model": "amazon.nova-micro-v1:0", "messages": [{"role": "user", "content": "Hello!"}]}
    assert send(gateway, "/chat/completions", body, gateway.tokens["ci"]) == 200
    assert gateway.stop() == 0
    assert ("Envoy's log now contains callers' tokens" in gateway.log()) == warns
    assert (gateway.tokens["ci"] in gateway.log()) == warns
