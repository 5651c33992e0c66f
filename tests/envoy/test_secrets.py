"""Secrets of the programs of an `up`: each has what it needs, and none is in a command line."""

import os
import re
import subprocess
import sys
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
