"""The sums of usage while ledgers are rotated, readers killed and sums removed: no call is lost or counted twice."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Gateway
from tests.envoy.gateway.usage_api import CONFIG, NOVA, Eventually, sdk, used


class Counted:
    """Calls, and what they used by the counts that Bedrock sent."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.sums = (0, 0, 0)

    def call(self) -> None:
        # A call that no worker takes, just after all were killed, is tried again; Bedrock has not had it.
        client = sdk(self._gateway, "ci").with_options(max_retries=20)
        messages: Any = [{"role": "user", "content": "Hello!"}]
        usage: Any = client.chat.completions.create(model=NOVA, messages=messages).usage
        calls, read, written = self.sums
        self.sums = calls + 1, read + usage.prompt_tokens, written + usage.completion_tokens


@pytest.fixture
def rotating(start_gateway: Any) -> tuple[Gateway, Path]:
    gateway = start_gateway(CONFIG)
    return gateway, gateway.folder / "usage.jsonl"


def reopen(gateway: Gateway) -> None:
    [envoy] = gateway.pids("--disable-hot-restart")
    os.kill(envoy, signal.SIGUSR1)


def test_rotations_and_a_killed_reader_lose_no_call_and_count_none_twice(
    rotating: tuple[Gateway, Path], eventually: Eventually
) -> None:
    gateway, path = rotating
    counted = Counted(gateway)
    counted.call()
    eventually(lambda: used(gateway) == counted.sums)
    path.rename(path.with_name("usage.jsonl.1"))
    counted.call()  # Envoy writes into the renamed file
    eventually(lambda: used(gateway) == counted.sums)
    reopen(gateway)
    eventually(path.exists)
    counted.call()
    eventually(lambda: used(gateway) == counted.sums)
    gateway.expect_restarts()
    since = len(gateway.log())
    for pid in gateway.pids("extproc.worker.command"):
        os.kill(pid, signal.SIGKILL)  # whichever reads
    gateway.wait_for("was ended by SIGKILL(?s:.*)was ended by SIGKILL", since)
    path.rename(path.with_name("usage.jsonl-20261130"))  # and nobody sees it
    reopen(gateway)
    eventually(path.exists)
    gateway.wait_for("serving on(?s:.*)serving on", since)
    counted.call()
    eventually(lambda: used(gateway) == counted.sums)


def test_sums_that_were_removed_are_made_again_from_the_files_there_are(
    rotating: tuple[Gateway, Path], eventually: Eventually
) -> None:
    gateway, path = rotating
    counted = Counted(gateway)
    counted.call()
    eventually(lambda: used(gateway) == counted.sums)
    for each in path.parent.glob("usage.sqlite*"):
        each.unlink()
    assert used(gateway) in (None, counted.sums)
    eventually(lambda: used(gateway) == counted.sums)
