"""Which program of an `up` has which secrets: each what it needs, and none in a command line."""

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
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0]
        process.terminate()


def seen(pid: int) -> tuple[str, str]:
    """A process's command line, which every user of the machine can read, and its environment."""
    place = Path(f"/proc/{pid}")
    return (place / "cmdline").read_text(), (place / "environ").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_who_has_the_aws_keys(start_gateway: Any, bedrock: str) -> None:
    """The workers, in their environment; not Envoy, and no command line."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "local-secret", "AWS_SESSION_TOKEN": "session-token", "OTHER_KEY": "other-key"}
    settings = {"AWS_ACCESS_KEY_ID": "local", **secrets, "AWS_ENDPOINT_URL": bedrock}
    gateway = start_gateway(env=settings, args=["--upstream", "aws"])
    for pid in gateway.pids(""):
        command, environment = seen(pid)
        assert not [value for value in secrets.values() if value in command]
        assert ("local-secret" in environment) == (pid in gateway.pids("extproc.worker.command"))
    [envoy] = gateway.pids("envoy -c")
    assert not [name for name in seen(envoy)[1].split("\0") if name.startswith(("AWS_", "OTHER_"))]
    assert f"PATH={os.environ['PATH']}" in seen(envoy)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_who_has_the_local_bedrocks_keys(start_gateway: Any) -> None:
    gateway = start_gateway(env={"AWS_SECRET_ACCESS_KEY": "users-own-secret", "OTHER_KEY": "other-key"})
    [local] = gateway.pids("bedrock_local")
    found = re.search(r"BEDROCK_LOCAL_SECRET_KEY=([^\0]+)", seen(local)[1])
    assert found
    for pid in (gateway.process.pid, *gateway.pids("")):
        command, environment = seen(pid)
        assert found[1] not in command
        assert (found[1] in environment) == (pid == local or pid in gateway.pids("extproc.worker.command"))
        assert ("users-own-secret" in environment) == (pid == gateway.process.pid)
    assert "other-key" not in seen(local)[1]
