"""docker-compose.yml with the local Bedrock: it serves the client tests, it is locked up, its health is true."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("bedrock-local", "extproc", "envoy")

CLIENT_TESTS = ("chat", "embeddings", "errors", "models", "streaming", "structured_output", "tools", "reasoning")


def test_it_serves_the_client_tests(stack: Any) -> None:
    files = [f"tests/clients/test_{name}.py" for name in CLIENT_TESTS]
    assert all((ROOT / file).exists() for file in files)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    command += ["--gateway", stack.url, "--local-bedrock", stack.local_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


def test_everything_that_stays_is_healthy_and_what_ends_ended_well(stack: Any) -> None:
    assert {service: stack.health(service) for service in SERVICES} == dict.fromkeys(SERVICES, "healthy")
    ended = stack.container("envoy-config").attrs["State"]
    assert (ended["Status"], ended["ExitCode"]) == ("exited", 0)


@pytest.mark.parametrize("service", [*SERVICES, "envoy-config"])
def test_each_container_is_locked_up(stack: Any, service: str) -> None:
    attributes = stack.container(service).attrs
    host = attributes["HostConfig"]
    assert attributes["Config"]["User"] == "65532:65532"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("service", SERVICES)
def test_each_process_is_locked_up(stack: Any, service: str) -> None:
    _, status = stack.shell(service, "cat /proc/1/status")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["65532"] * 4
    assert fields["Gid"].split() == ["65532"] * 4
    assert {int(fields[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert fields["NoNewPrivs"].strip() == "1"
    code, output = stack.shell(service, "touch /opt/x /etc/x /tmp/x /x")
    assert code != 0
    assert output.count("Read-only file system") == 4


def test_only_envoy_is_published_and_only_here(stack: Any) -> None:
    ports = stack.container("envoy").attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert [binding["HostIp"] for binding in ports] == ["127.0.0.1"]
    assert not stack.container("extproc").attrs["NetworkSettings"]["Ports"]


def test_the_socket_belongs_to_the_group_alone(stack: Any) -> None:
    _, listed = stack.shell("extproc", "stat -c '%a %u %g %n' /run/oai /run/oai/w0.sock")
    assert listed.split("\n")[:2] == ["770 65532 65532 /run/oai", "660 65532 65532 /run/oai/w0.sock"]


def test_each_call_is_a_line_of_json_in_envoys_log(stack: Any) -> None:
    def logged() -> int:
        lines = stack.container("envoy").logs().decode().splitlines()
        calls = [json.loads(line) for line in lines if line.startswith("{")]
        return sum(call["status"] == 200 and (call["oai"] or {}).get("organisation") == "acme" for call in calls)

    before = logged()
    assert stack.responds()
    stack.until("the call is logged", lambda: logged() > before)


def test_the_health_of_a_worker_that_hangs(stack: Any) -> None:
    assert stack.shell("extproc", "oai-extproc health") == (0, "unix:/run/oai/w0.sock: serving\n")
    stack.container("extproc").kill("SIGSTOP")
    try:
        code, output = stack.shell("extproc", "oai-extproc health --timeout 0.5 unix:/run/oai/w0.sock")
        assert (code, output) == (1, "Error: unix:/run/oai/w0.sock: no response within 0.5 seconds\n")
        stack.wait_for("unhealthy", "extproc", "envoy")
    finally:
        stack.container("extproc").kill("SIGCONT")
    stack.wait_for("healthy")
    assert stack.responds()
