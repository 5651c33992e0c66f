"""`oai-extproc up` as its operator has it: it starts, survives crashes, finishes what is in flight, leaves nothing."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, InternalServerError, OpenAI

from tests.conftest import CONFIG
from tests.envoy.held_stream import HeldStream
from tests.inherited import default_signals

NOVA = "amazon.nova-micro-v1:0"
DEADLINE = 60.0


def user_messages(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def client(gateway: Any) -> OpenAI:
    return OpenAI(base_url=gateway.url, api_key=gateway.tokens["ci"], max_retries=0, timeout=DEADLINE)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def responds(gateway: Any) -> bool:
    try:
        client(gateway).models.list()
    except APIStatusError:
        return False
    return True


# The end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_and_leaves_nothing(start_gateway: Any, number: signal.Signals) -> None:
    gateway = start_gateway({"workers": 2})
    folder, children = gateway.run_directory, gateway.pids("")
    assert len(gateway.pids("extproc.worker.command")) == 2
    assert len(children) == 4
    assert gateway.stop(number) == 0
    assert not any(map(alive, children))
    assert not folder.exists()


@pytest.fixture
def in_background() -> Iterator[None]:
    """Ignore what a script's background job under `nohup` ignores."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("in_background")
def test_tests_that_run_in_the_background_can_interrupt_what_they_start(start_gateway: Any, tmp_path: Path) -> None:
    gateway, demo = start_gateway(), Demo(tmp_path)
    assert gateway.stop(signal.SIGINT) == 0
    assert demo.stop() == ""


def release(gateway: Any) -> None:
    subprocess.run(["curl", "-sf", "-X", "POST", f"{gateway.local_url}/_local/release"], check=True, timeout=DEADLINE)


def test_calls_in_flight_are_finished(start_gateway: Any) -> None:
    gateway = start_gateway()
    held = HeldStream(gateway)
    gateway.process.send_signal(signal.SIGINT)
    gateway.wait_for("waiting for calls in flight: 1")
    assert gateway.process.poll() is None
    release(gateway)
    assert held.rest() == "whole"
    assert gateway.process.wait(DEADLINE) == 0


def test_the_second_signal_cuts(start_gateway: Any) -> None:
    gateway = start_gateway()
    held = HeldStream(gateway)
    children = gateway.pids("")
    gateway.process.send_signal(signal.SIGINT)
    gateway.wait_for("waiting for calls in flight: 1")
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.wait(DEADLINE) == 0
    assert not any(map(alive, children))
    assert held.text == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_killed_it_takes_everything_along(start_gateway: Any) -> None:
    gateway = start_gateway()
    children, folder = gateway.pids(""), gateway.run_directory
    gateway.process.kill()
    gateway.process.wait(DEADLINE)
    until(lambda: not any(map(alive, children)))
    shutil.rmtree(folder)  # which no other process could do for it


# Crashes


def test_a_pattern_without_a_known_model_is_named_at_start(start_gateway: Any) -> None:
    acme = {"models": {"allow": ["amazon.nova-*", "amazon.nvoa-*"]}}
    gateway = start_gateway({"organisations": {**CONFIG["organisations"], "acme": acme}})
    gateway.wait_for(r"warning: organisation 'acme'.*`?amazon\.nvoa-\*")


def test_a_dead_worker_is_a_503_and_then_it_works_again(start_gateway: Any) -> None:
    gateway = start_gateway()
    gateway.expect_restarts()
    [worker] = gateway.pids("extproc.worker.command")
    os.kill(worker, signal.SIGKILL)
    until(lambda: not alive(worker))
    with pytest.raises(InternalServerError) as failed:
        client(gateway).chat.completions.create(model=NOVA, messages=user_messages("Hello!"))
    assert failed.value.status_code == 503
    assert failed.value.response.headers["retry-after"] == "1"
    assert failed.value.code == "processor_unavailable"
    until(lambda: responds(gateway))
    assert gateway.pids("extproc.worker.command") != [worker]


def test_of_two_workers_one_may_die(start_gateway: Any) -> None:
    gateway = start_gateway({"workers": 2})
    gateway.expect_restarts()
    os.kill(gateway.pids("extproc.worker.command")[0], signal.SIGKILL)
    for _ in range(20):
        client(gateway).models.list()


@pytest.mark.parametrize("program", ["envoy -c", "bedrock_local"])
def test_the_others_come_back_where_they_were(start_gateway: Any, program: str) -> None:
    gateway = start_gateway()
    gateway.expect_restarts()
    [pid] = gateway.pids(program)
    os.kill(pid, signal.SIGKILL)
    until(lambda: gateway.pids(program) not in ([], [pid]))

    def works() -> bool:
        try:
            return bool(client(gateway).chat.completions.create(model=NOVA, messages=user_messages("Hello!")).choices)
        except Exception:
            return False

    until(works)


def test_up_gives_up_on_a_worker_that_never_stays_up(start_gateway: Any) -> None:
    """A file that is no socket is put where it listens, between two of its lives."""
    gateway = start_gateway()
    gateway.expect_restarts()
    folder = gateway.run_directory
    [worker] = gateway.pids("extproc.worker.command")
    os.kill(worker, signal.SIGSTOP)
    (folder / "worker-0.sock").unlink()
    (folder / "worker-0.sock").mkdir()
    os.kill(worker, signal.SIGKILL)
    assert gateway.process.wait(DEADLINE) == 1
    assert re.search(
        r"Error: worker-0 ended with exit code 2, \d times in a row.*\n(.*\n)*.*is no socket", gateway.log()
    )
    assert not folder.exists()


def test_a_broken_file_and_a_worker_that_dies(start_gateway: Any) -> None:
    """The worker comes back with the settings that were in force, and takes over the file once it is repaired."""
    gateway = start_gateway()
    gateway.expect_restarts()
    good = gateway.config_path.read_text()
    since = len(gateway.log())
    gateway.config_path.write_text("nonsense: true")
    gateway.wait_for(r"nonsense.*the settings that were in force stay", since)
    for _ in range(2):
        [worker] = gateway.pids("extproc.worker.command")
        since = len(gateway.log())
        os.kill(worker, signal.SIGKILL)
        gateway.wait_for(
            r"gateway\.yaml: nonsense: .*; starting with the last good settings, gateway.yaml of 20", since
        )
        gateway.wait_for("serving on", since)
        until(lambda: responds(gateway))
    since = len(gateway.log())
    gateway.config_path.write_text(good.replace("name: ci", "name: mended"))
    gateway.wait_for("gateway.yaml has changed", since)
    assert responds(gateway)


# The start


def test_a_taken_port_is_named(gateway: Any) -> None:
    listen = gateway.origin.removeprefix("http://")
    done = up("--config", str(gateway.config_path), "--upstream", "local", "--listen", listen)
    assert done.returncode == 2
    assert f"{listen} is taken by another program" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_of_the_local_bedrock(gateway: Any) -> None:
    taken = gateway.local_url.removeprefix("http://")
    options = ["--upstream", "local", "--listen", "127.0.0.1:0", "--local-listen", taken]
    done = up("--config", str(gateway.config_path), *options)
    assert done.returncode == 1
    assert f"cannot listen on {taken}" in done.stderr
    assert "Traceback" not in done.stderr


def up(*options: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "extproc", "up", *options]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE, check=False)


class Demo:
    """`up` in an empty folder."""

    def __init__(self, folder: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "extproc", "up", "--listen", "127.0.0.1:0"],
            cwd=folder,
            env={**clean, "HOME": str(folder), "AWS_EC2_METADATA_DISABLED": "true"},
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=default_signals,
        )
        assert self.process.stderr is not None
        self.banner = ""
        for line in self.process.stderr:
            self.banner += line
            if line.startswith("  curl"):
                break
        self.pasted = line.strip()
        self._reader = threading.Thread(target=self.process.stderr.read)
        self._reader.start()

    def stop(self) -> str:
        """End it, and return its standard output."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.stdout is not None
        output = self.process.stdout.read()
        assert self.process.wait(DEADLINE) == 0
        self._reader.join()
        return output


def test_the_demo(tmp_path: Path) -> None:
    token_file = tmp_path / ".run" / "demo-token"
    demo = Demo(tmp_path)
    try:
        token = token_file.read_text().strip()
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        assert f"token       {token}" in demo.banner
        assert "local Bedrock (no AWS credentials found), http://127.0.0.1:" in demo.banner
        assert "region      us-east-1 (chosen by nobody: set AWS_REGION" in demo.banner
        pasted = subprocess.run(["sh", "-c", demo.pasted], capture_output=True, text=True, timeout=DEADLINE, check=True)
        assert '"object":"chat.completion"' in pasted.stdout
    finally:
        output = demo.stop()
    assert output == "", "standard output is for the access log"
    again = Demo(tmp_path)
    again.stop()
    assert token in again.banner


def test_up_names_the_demos_token_as_invalid_beside_a_configuration(tmp_path: Path) -> None:
    (tmp_path / ".run").mkdir()
    (tmp_path / ".run" / "demo-token").write_text("qc_of-the-demo\n")
    command = [sys.executable, "-m", "extproc", "init"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    made = subprocess.run(
        command, cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=DEADLINE, check=True
    )
    own = Demo(tmp_path)
    try:
        assert "one of gateway.yaml; that in .run/demo-token is for the demo, and not valid here" in own.banner
        command = ["sh", "-c", own.pasted]
        token = {"OPENAI_API_KEY": made.stdout.strip(), **clean}
        listed = subprocess.run(command, env=token, capture_output=True, text=True, timeout=DEADLINE, check=True)
        assert '"object":"list"' in listed.stdout
    finally:
        own.stop()


def test_health_and_metrics_have_a_listener_of_their_own(start_gateway: Any) -> None:
    gateway = start_gateway(args=["--health", "127.0.0.1:0"])
    url = gateway.wait_for(r"health +(http://\S+)/healthz, and /metrics")[1]
    assert responds(gateway)
    with urllib.request.urlopen(f"{url}/healthz", timeout=DEADLINE) as response:
        assert response.status == 200
    with urllib.request.urlopen(f"{url}/metrics", timeout=DEADLINE) as response:
        assert b"envoy_http_downstream_rq_xx" in response.read()


@pytest.mark.parametrize(("hops", "address"), [(0, "127.0.0.1"), (1, "203.0.113.7"), (2, "198.51.100.9")])
def test_the_access_log(start_gateway: Any, hops: int, address: str) -> None:
    """The caller's address is the connection's, or the one that the trusted proxies have appended."""
    gateway = start_gateway({"trusted_hops": hops}, args=["--access-log"])
    forwarded = {"x-forwarded-for": "192.0.2.1, 198.51.100.9, 203.0.113.7"}
    client(gateway).chat.completions.create(model=NOVA, messages=user_messages("Hello!"), extra_headers=forwarded)
    gateway.stop()
    [line] = [line for line in gateway.log().splitlines() if line.startswith("{")]
    assert f'"client":"{address}"' in line
    assert '"organisation":"acme"' in line
    assert '"status":200' in line


def works(gateway: Any) -> None:
    """Chat by Envoy, embeddings by the worker itself, the list of models in the background."""
    chat = client(gateway).chat.completions.create(model=NOVA, messages=user_messages("Hello!"))
    assert "Hello!" in (chat.choices[0].message.content or "")
    two = client(gateway).embeddings.create(model="amazon.titan-embed-text-v2:0", input=["a", "b"])
    assert len(two.data) == 2
    assert NOVA in {model.id for model in client(gateway).models.list()}
